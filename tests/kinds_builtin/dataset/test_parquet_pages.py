"""Pages of Parquet files with wrong headers: the right answer, or an error."""

import pyarrow as pa
import pytest

from tests.kinds_builtin.dataset.answers import parquet, refused
from tests.kinds_builtin.dataset.parquet_edits import (
    DICTIONARY_HEADER,
    HEADERS,
    ONE,
    ONE_SPEC,
    ROWS,
    SUM,
    pages,
    put,
    right_or_refused,
    with_first_header,
)
from tests.kinds_builtin.dataset.thrift import I32, Struct


@pytest.mark.slow
@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip", "lz4", "brotli"])
def test_wrong_page_headers_change_no_answer(header: str, compression: str) -> None:
    content = parquet(ONE, compression=compression, use_dictionary=False)
    right_or_refused(with_first_header(content, HEADERS[header]), ONE_SPEC, [[SUM]])


def test_an_index_beyond_the_dictionary_is_refused() -> None:
    """Bits of the indices are turned, so that they point behind the dictionary's last entry."""
    table = pa.table({"v": pa.array([n % 33 for n in range(ROWS)], pa.int64())})
    content = parquet(table, compression="none", use_dictionary=True)
    (_, data) = pages(content)
    damaged = bytearray(content)
    damaged[data[1] - 40 : data[1]] = b"\xff" * 40
    assert refused(bytes(damaged), **ONE_SPEC).code == "parquet-broken"


@pytest.mark.slow
def test_a_wrong_size_of_a_dictionary_changes_no_answer() -> None:
    content = parquet(
        pa.table({"v": pa.array([n % 33 for n in range(ROWS)], pa.int64())}), compression="none"
    )
    for size in (0, 1, 32, 34, 2**31 - 1, -1):

        def change(header: Struct, size: int = size) -> None:
            put(header[DICTIONARY_HEADER][1], 1, I32, size)

        changed = with_first_header(content, change)
        right_or_refused(changed, ONE_SPEC, [[sum(n % 33 for n in range(ROWS))]])
