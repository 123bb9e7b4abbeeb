"""Files that are cut, encrypted or of another format than Parquet."""

import pytest

from tests.kinds_builtin.dataset.answers import parquet, refused, run
from tests.kinds_builtin.dataset.parquet_edits import SPEC, TABLE, WRITINGS


@pytest.mark.slow
@pytest.mark.parametrize("writing", ["snappy", "plain"])
def test_a_file_cut_anywhere_is_refused(writing: str) -> None:
    content = parquet(TABLE, **WRITINGS[writing])
    for size in range(4, len(content), 64):
        assert refused(content[:size], **SPEC).code == "parquet-broken", size
    for size in range(len(content) - 12, len(content)):
        assert refused(content[:size], **SPEC).code == "parquet-broken", size


def encrypted(*, plaintext_footer: bool, columns: list[str]) -> bytes:
    import pyarrow.parquet.encryption as pe

    # pyarrow has no types.
    class Keys(pe.KmsClient):  # type: ignore[misc]
        def wrap_key(self, key: bytes, master: str) -> bytes:
            return key

        def unwrap_key(self, wrapped: bytes, master: str) -> bytes:
            return wrapped

    factory = pe.CryptoFactory(lambda configuration: Keys())
    configuration = pe.EncryptionConfiguration(
        footer_key="footer", column_keys={"column": columns}, plaintext_footer=plaintext_footer
    )
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), configuration)
    return parquet(TABLE, encryption_properties=properties)


def test_an_encrypted_file_is_named_as_such() -> None:
    content = encrypted(plaintext_footer=False, columns=["v"])
    assert content.endswith(b"PARE")
    error = refused(content, **SPEC)
    assert error.code == "parquet-encrypted"
    assert "encrypted" in error.detail
    assert refused(content, format="parquet", **SPEC).code == "parquet-encrypted"


def test_an_encrypted_column_is_named_as_such() -> None:
    content = encrypted(plaintext_footer=True, columns=["v"])
    assert content.endswith(b"PAR1")
    error = refused(content, aggregates=[{"op": "sum", "column": "v", "name": "s"}])
    assert error.code == "parquet-encrypted"
    assert "encrypted" in error.detail


@pytest.mark.parametrize("name", ["PAR1", "PARENT_ID", "PARE", "ORCID", "BZh"])
def test_a_header_may_begin_like_another_format(name: str) -> None:
    assert run(f"{name},v\na,1\n".encode(), group_by=[name]).rows == [["a", 1]]
