"""Means of exact numbers, and single precision in the result."""

import random
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy
import pyarrow
import pytest

from tests.kinds_builtin.dataset.answers import parquet, run

D = Decimal
MEAN = [{"op": "mean", "column": "v", "name": "m"}]


@pytest.mark.parametrize(
    ("kind", "texts", "mean"),
    [
        ("decimal(12,2)", ["0.10", "0.20"], 0.15),
        ("decimal(5,1)", ["0.1", "0.1", "0.1"], 0.1),
        ("decimal(6,2)", ["1000.10", "-1000.00", "0.20"], 0.1),
        ("decimal(28,10)", ["123456789012345678.1", "-123456789012345678.0"], 0.05),
        ("decimal(38,2)", ["0.50", "0.25"], 0.375),
    ],
)
def test_the_mean_of_declared_decimals_is_that_of_their_exact_sum(
    kind: str, texts: list[str], mean: float
) -> None:
    content = "v,w\n" + "".join(f"{text},1\n" for text in texts)
    options = {"types": {"v": kind}}
    assert run(content.encode(), csv=options, aggregates=MEAN).rows == [[mean]]


@pytest.mark.parametrize(("digits", "scale"), [(4, 2), (9, 0), (18, 6), (28, 28), (28, 3)])
def test_the_mean_of_parquet_decimals_is_that_of_their_exact_sum(digits: int, scale: int) -> None:
    chosen = random.Random(digits)
    most = 10**digits - 1
    units = [chosen.randint(-most, most) for _ in range(50)]
    # Doubles lose the digits that remain.
    units += [-unit for unit in units[1:]]
    numbers = [Decimal(f"{unit}e-{scale}") for unit in units]
    column = pyarrow.array(numbers, pyarrow.decimal128(digits, scale))
    ((mean,),) = run(parquet(pyarrow.table({"v": column})), aggregates=MEAN).rows
    assert mean == float(sum(map(Fraction, numbers)) / 99)


@pytest.mark.parametrize("digits", [29, 38])
def test_the_mean_of_long_decimals_does_not_overflow(digits: int) -> None:
    column = pyarrow.array([D("9" * digits)] * 200, pyarrow.decimal128(digits, 0))
    ((mean,),) = run(parquet(pyarrow.table({"v": column})), aggregates=MEAN).rows
    assert mean == pytest.approx(10.0**digits)


@pytest.mark.parametrize("output", ["csv", "parquet"])
def test_single_precision_has_one_value_in_all_places(output: str) -> None:
    singles = numpy.array([0.1, 1.1, 16777216, 1e-45, 3.4e38], numpy.float32)
    source = parquet(pyarrow.table({"v": pyarrow.array(singles)}))
    keys: dict[str, Any] = {"group_by": ["v"], "output_format": output}
    found = run(source, **keys)
    values = [float(row[0]) for row in found.rows]
    assert values == sorted(map(float, singles))
    assert values == [row[0] for row in found.result.preview]
    for value in values:
        equal = [{"op": "eq", "column": "v", "value": value}]
        assert run(source, filters=equal).rows == [[1]]
