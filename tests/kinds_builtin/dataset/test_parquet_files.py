"""Parquet files that cannot be read, or not as asked."""

from pathlib import Path

import pytest

from tests.kinds_builtin.dataset.conftest import TABLE, Run, refused, write


def broken_parquets(whole: bytes) -> dict[str, bytes]:
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    return {
        "cut": whole[: len(whole) // 2],
        "only its magic": b"PAR1",
        "page": whole[:50] + b"\xff" * 200 + whole[250:],
        "footer": whole[: footer + 5] + b"\xff" * 20 + whole[footer + 25 :],
        "footer length": whole[:-8] + b"\xff\xff\xff\x7fPAR1",
    }


@pytest.mark.parametrize("how", broken_parquets(bytes(600)))
def test_a_damaged_parquet_file_is_refused(run: Run, tmp_path: Path, how: str) -> None:
    path = write(tmp_path / "whole.parquet", a=range(10_000))
    spec = {"aggregates": [{"op": "sum", "column": "a", "name": "s"}]}
    assert run(path, **spec).preview == [[49_995_000]]
    error = refused(run, broken_parquets(path.read_bytes())[how], **spec)
    assert error.code == "parquet-broken"


def test_a_csv_file_that_is_read_as_parquet_is_refused(run: Run) -> None:
    assert refused(run, TABLE, format="parquet").code == "parquet-broken"


def test_nested_columns_are_refused(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "nested.parquet"
    write(path, a=[[1], [2]], b=[1, 2])
    error = refused(run, path, group_by=["a"])
    assert error.code == "column-type"
    assert run(path, group_by=["b"]).rows_out == 2
