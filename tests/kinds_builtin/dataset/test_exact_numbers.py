"""Numbers that a double can't hold: their order and comparisons are those of Python's decimal."""

import math
import random
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy
import pyarrow
import pytest

from tests.kinds_builtin.dataset.answers import parquet, run
from worker.kinds.dataset import digits

# Each list has texts whose doubles are equal, or whose order as texts is another.
LONG = [
    ["99999999999999999999", "100000000000000000000", "100000000000000000001"],
    ["10000000000000000.5", "9999999999999999.9"],
    ["09007199254740993", "9007199254740992"],
    ["-18446744073709551617", "-18446744073709551616", "-018446744073709551618"],
    ["0.123456789012345671", "0.123456789012345672", "0.12345678901234567"],
    ["1.000000000000000001", "1.0", "0.999999999999999999"],
    ["-0.300000000000000000001", "-0.3", "-0.30", "-0.29999999999999999999999"],
    ["1" * 60, "1" * 59 + "2", "2" + "1" * 58],
    ["12345678901234567890e5", "12345678901234567891E5", "1234567890123456789000001"],
    ["1e-400", "2e-400", "0", "-1e-400"],
]


def top(column: str, *, descending: bool = True) -> dict[str, Any]:
    return {"sort": [{"column": column, "descending": descending}], "limit": 1}


def rows_of(texts: list[str]) -> bytes:
    return ("k,v\n" + "".join(f"k{n},{text}\n" for n, text in enumerate(texts))).encode()


# Order


@pytest.mark.parametrize("texts", LONG, ids=lambda texts: texts[0][:20])
def test_the_top_row_is_that_of_the_greatest_number(texts: list[str]) -> None:
    last = [{"op": "last", "column": "v", "name": "v"}]
    highest, lowest = max(texts, key=Decimal), min(texts, key=Decimal)
    for source in (rows_of(texts), rows_of(texts[::-1])):
        assert run(source, group_by=["v"], **top("v")).rows[0][0] == highest
        assert run(source, group_by=["v"], limit=1).rows[0][0] == lowest
        by_key = run(source, group_by=["k"], aggregates=last, **top("v")).rows
        assert [row[1] for row in by_key] == [highest]
        each = run(source, group_by=["k"], aggregates=last, limit_per=["v"], **top("v")).rows
        ordered = [Decimal(row[1]) for row in each]
        assert ordered == sorted(map(Decimal, texts), reverse=True)


def test_the_top_row_is_that_of_the_greatest_number_with_separators() -> None:
    content = b"k;v\na;1.234.567.890.123.456.789.012,05\nb;1.234.567.890.123.456.789.012,5\n"
    options = {"decimal_separator": ",", "thousands_separator": "."}
    last = [{"op": "last", "column": "v", "name": "v"}]
    found = run(content, csv=options, group_by=["k"], aggregates=last, **top("v"))
    assert [row[0] for row in found.rows] == ["b"]


def test_the_text_of_a_number_sorts_as_the_number() -> None:
    import duckdb

    chosen = random.Random(7)
    texts = ["0", "-0.0e5", "+1", " 1.00\t", ".5", "5.", "1e-5", "1E5", "-1e308", "1e-400"]
    for _ in range(400):
        text = chosen.choice(["", "-", "+"]) + "".join(chosen.choices("0019", k=9))
        text += "." + "".join(chosen.choices("0019", k=chosen.randint(0, 25)))
        text += chosen.choice(["", "", f"e{chosen.randint(-9, 9)}"])
        texts.append(text)
    order = digits.order("t")
    found = dict(
        duckdb.execute(f"SELECT t, {order} FROM (SELECT unnest($1) AS t)", [texts]).fetchall()
    )
    numbers = {text: Decimal(text.strip()) for text in texts}
    assert found == {text: digits.place(number) for text, number in numbers.items()}
    ordered = sorted(texts, key=found.__getitem__)
    for before, after in pairwise(ordered):
        assert numbers[before] <= numbers[after]
        assert (numbers[before] == numbers[after]) == (found[before] == found[after])


# Comparisons and extremes


@pytest.mark.parametrize("texts", LONG, ids=lambda texts: texts[0][:20])
def test_extremes_are_those_of_decimal_arithmetic(texts: list[str]) -> None:
    extremes = [{"op": op, "column": "v", "name": op} for op in ("min", "max")]
    for source in (rows_of(texts), rows_of(texts[::-1])):
        (found,) = run(source, aggregates=extremes).rows
        numbers = [Decimal(text) for text in texts]
        assert list(map(Decimal, found)) == [min(numbers), max(numbers)]


COMPARES: dict[str, Any] = {
    "eq": Decimal.__eq__,
    "ne": Decimal.__ne__,
    "lt": Decimal.__lt__,
    "le": Decimal.__le__,
    "gt": Decimal.__gt__,
    "ge": Decimal.__ge__,
}


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["1.000000000000000001", "1.000000000000000002", "1.0", "", "-1"], [1, 1.0, -1]),
        (["0.29999999999999999999", "0.3", "0.30", "0.30000000000000000001"], [0.3, 0]),
        (["-2.00000000000000000001", "-2", "-1.99999999999999999999"], [-2]),
        (["0.123456789012345671", "0.12345678901234567"], [0.12345678901234567]),
        (["0.1234567890123456", "0.12345678901234561"], [0.1234567890123456]),
        (["9007199254740992.0", "9007199254740994.0"], [2**53, 2**53 + 1, 2**53 + 3]),
        (["9.007199254740993e15", "1e16", "0.5"], [2**53 + 1]),
        (["0.00000000000000000000000001", "0", "1e-30"], [0]),
    ],
    ids=lambda value: str(value[0])[:22],
)
def test_comparisons_are_those_of_decimal_arithmetic(texts: list[str], values: list[Any]) -> None:
    numbers = [Decimal(text) for text in texts if text]
    counts: list[dict[str, Any]] = []
    wanted = []
    for value in values:
        exact = Decimal(repr(value))
        for op, compare in COMPARES.items():
            counts.append({"op": op, "column": "v", "value": value})
            wanted.append(sum(compare(number, exact) for number in numbers))
        counts.append({"op": "between", "column": "v", "low": value, "high": value})
        counts.append({"op": "in", "column": "v", "values": [value, 12345.5]})
        wanted += [sum(number == exact for number in numbers)] * 2
    aggregates = [
        {"op": "count_if", "filter": each, "name": f"n{n}"} for n, each in enumerate(counts)
    ]
    assert run(rows_of(texts), aggregates=aggregates).rows == [wanted]


def test_numbers_of_many_digits_are_summed_as_doubles() -> None:
    content = rows_of(["0.1000000000000000055511", "0.2000000000000000111022"])
    reduce = [{"op": op, "column": "v", "name": op} for op in ("sum", "mean", "median")]
    assert run(content, aggregates=reduce).rows == [pytest.approx([0.3, 0.15, 0.15])]


def test_a_declared_number_is_compared_as_a_double() -> None:
    content = rows_of(["1.000000000000000001", "1.0"])
    options = {"types": {"v": "number"}}
    equal = [{"op": "eq", "column": "v", "value": 1}]
    assert run(content, csv=options, filters=equal).rows == [[2]]


@pytest.mark.parametrize("value", [2**53 + 1, 2**53 + 3, -(2**53) - 1, 2**63 - 1, 2**53 + 2])
def test_doubles_are_compared_with_integers_exactly(value: int) -> None:
    near = float(value)
    reals = [near, math.nextafter(near, math.inf), math.nextafter(near, -math.inf)]
    # NaN is greater than every number.
    column = pyarrow.array([*reals, math.inf, -math.inf, math.nan, None], pyarrow.float64())
    counts: list[dict[str, Any]] = [
        {"op": op, "column": "v", "value": value} for op in ("eq", "ne", "lt", "le", "gt", "ge")
    ]
    counts.append({"op": "in", "column": "v", "values": [value, value - 1]})
    counts.append({"op": "between", "column": "v", "low": value, "high": value})
    aggregates = [
        {"op": "count_if", "filter": each, "name": f"n{n}"} for n, each in enumerate(counts)
    ]
    source = parquet(pyarrow.table({"v": column}))
    known = [*reals, math.inf, -math.inf]
    equal, below = known.count(value), sum(real < value for real in known)  # Python's are exact.
    above = len(known) - equal - below + 1
    either = equal + known.count(value - 1)
    assert run(source, aggregates=aggregates).rows == [
        [equal, 6 - equal, below, below + equal, above, above + equal, either, equal]
    ]
    single = parquet(pyarrow.table({"v": column.cast(pyarrow.float32(), safe=False)}))
    equal_singles = [{"op": "eq", "column": "v", "value": value}]
    assert run(single, filters=equal_singles).rows == [
        [sum(int(numpy.float32(real)) == value for real in reals)]
    ]
