"""Bins of decimals and of long integers are those of Python's decimal and integers."""

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pyarrow
import pytest

from tests.kinds_builtin.dataset.answers import parquet, refused, run

D = Decimal


def ends(numbers: list[Any], width: str, origin: str = "0") -> dict[Fraction, int]:
    """The lower ends of the bins, with the count of each."""
    found: dict[Fraction, int] = {}
    step, begin = Fraction(width), Fraction(origin)
    for number in numbers:
        end = math.floor((Fraction(number) - begin) / step) * step + begin
        found[end] = found.get(end, 0) + 1
    return found


def bins(source: bytes, column: str, width: float, origin: float = 0, **spec: Any) -> Any:
    key = {"op": "bin", "column": column, "width": width, "origin": origin, "name": "bin"}
    output = run(source, group_by=[key], **spec)
    return {Fraction(end): int(count) for end, count in output.rows}, output.result.columns[0].dtype


@pytest.mark.parametrize(
    ("type_", "numbers", "width", "origin"),
    [
        (
            pyarrow.decimal128(20, 2),
            [D("9007199254740992.10"), D("9007199254740993.10")],
            "1",
            "0",
        ),
        (pyarrow.decimal128(18, 6), [D("-0.000001"), D("0"), D("-5.000000")], "5", "0"),
        (pyarrow.decimal128(38, 20), [D("0.29999999999999999999"), D("0.3")], "0.1", "0"),
        (pyarrow.decimal128(38, 30), [D("0.7"), D("0." + "6" * 29)], "0.7", "-0.00000001"),
        (pyarrow.decimal128(38, 38), [D("-0." + "9" * 37), D("0." + "1" * 38)], "0.5", "0"),
        (pyarrow.decimal128(38, 0), [D(10**36 + 1), D(10**36 - 1)], "2.5", "0.5"),
        (pyarrow.decimal128(9, 0), [D(12), D(13), D(-1)], "2.5", "0"),
        (pyarrow.int64(), [2**60, 2**60 + 1, 2**60 + 24], "0.5", "0"),
        (pyarrow.int64(), [2**63 - 1, 2**63 - 2, -(2**63)], "1.5", "0.000000001"),
        (pyarrow.uint64(), [2**64 - 1, 2**64 - 3], "0.000000003", "0"),
        (pyarrow.int32(), [2**31 - 1, 7, -(2**31)], "2.5", "0"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_parquet_columns_are_binned_exactly(
    type_: Any, numbers: list[Any], width: str, origin: str
) -> None:
    source = parquet(pyarrow.table({"v": pyarrow.array([*numbers, *numbers[:1]], type_)}))
    found, _ = bins(source, "v", float(width), float(origin), output_format="csv")
    assert found == ends([*numbers, numbers[0]], width, origin)


@pytest.mark.parametrize(
    ("texts", "kind", "width"),
    [
        (["9007199254740992", "9007199254740993"], None, "0.5"),
        (["99999999999999999999", "100000000000000000001", "-1"], None, "0.3"),
        (["99999999999999999999", "99999999999999999998"], None, "2"),
        (["0.29999999999999999999", "0.3"], "decimal(38,20)", "0.1"),
        (["123.45", "123.44", "-0.01"], "decimal(5,2)", "0.05"),
        (["12", "13", "-1"], "integer", "0.1"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_csv_columns_are_binned_exactly(texts: list[str], kind: str | None, width: str) -> None:
    content = "v,w\n" + "".join(f"{text},1\n" for text in texts)
    types = {"types": {"v": kind}} if kind else {}
    found, _ = bins(content.encode(), "v", float(width), csv=types)
    assert found == ends(texts, width)


@pytest.mark.parametrize(
    ("texts", "kind", "width", "wanted"),
    [
        (["12", "13"], None, 2, "BIGINT"),
        (["12", "13"], None, 2.5, "DOUBLE"),
        (["12", str(2**53)], None, 2.5, "DECIMAL(38,1)"),
        (["1.25", "13"], None, 2.5, "DOUBLE"),
        (["1.25", "13"], "decimal(8,3)", 2, "DECIMAL(38,3)"),
        (["1.25", "13"], "decimal(8,3)", 0.0001, "DECIMAL(38,4)"),
    ],
)
def test_the_key_of_a_bin_has_the_type_of_its_column(
    texts: list[str], kind: str | None, width: float, wanted: str
) -> None:
    content = "v,w\n" + "".join(f"{text},1\n" for text in texts)
    types = {"types": {"v": kind}} if kind else {}
    assert bins(content.encode(), "v", width, csv=types)[1] == wanted


@pytest.mark.parametrize(
    ("text", "kind", "width"),
    [
        ("9" * 38, "decimal(38,0)", 0.5),
        ("-" + "9" * 38, "decimal(38,0)", 7),
        ("1" * 38, "integer", 0.000000001),
        (str(-(2**127)), "integer", 0.5),
        (str(2**127 - 1), "integer", 0.1),
    ],
)
def test_a_bin_beyond_38_digits_is_refused(text: str, kind: str, width: float) -> None:
    key = {"op": "bin", "column": "v", "width": width, "name": "bin"}
    options = {"types": {"v": kind}}
    error = refused(f"v,w\n{text},1\n".encode(), group_by=[key], csv=options)
    assert (error.code, "38 digits" in error.detail) == ("integer-overflow", True)
