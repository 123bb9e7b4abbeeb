"""Parquet files that cannot be read, or not as asked."""

from decimal import Decimal
from pathlib import Path

import pyarrow
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


def test_rows_are_counted_whatever_the_columns_hold(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "binary.parquet"
    write(path, b=[b"\xff\x00", b"\xfe"])
    assert run(path).preview == [[2]]
    write(path, b=[b"\xff\x00", b"\xfe", None], l=[[1], None, [2, 3]])
    assert run(path).preview == [[3]]
    write(path, l=[[1], None, [2, 3]])
    assert run(path).preview == [[3]]


def test_a_file_without_columns_is_named_as_such(run: Run, tmp_path: Path) -> None:
    error = refused(run, write(tmp_path / "empty.parquet"))
    assert error.code == "file-empty"


def test_decimals_of_more_digits_than_can_be_read_are_named(run: Run, tmp_path: Path) -> None:
    amount = pyarrow.array([Decimal(10) ** 39], pyarrow.decimal256(40, 0))
    path = write(tmp_path / "long.parquet", a=amount, b=[1])
    for spec in (
        {"group_by": ["a"]},
        {"aggregates": [{"op": "max", "column": "a", "name": "m"}]},
    ):
        error = refused(run, path, **spec)
        assert error.code == "column-type"
        assert "38 digits" in error.detail
    assert run(path, group_by=["b"]).preview == [[1, 1]]


def test_an_unknown_column_of_a_parquet_file_is_not_a_matter_of_headers(
    run: Run, tmp_path: Path
) -> None:
    error = refused(run, write(tmp_path / "a.parquet", a=[1]), group_by=["b"])
    assert error.code == "column-unknown"
    assert "csv" not in error.detail
