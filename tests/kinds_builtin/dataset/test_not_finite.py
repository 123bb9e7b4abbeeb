"""Infinity, NaN and results beyond a double's range."""

import math
import random
from typing import Any

import numpy
import pyarrow
import pytest

from tests.kinds_builtin.dataset.answers import parquet, refused, run

INF, NAN = math.inf, math.nan


def doubles(values: list[float | None]) -> bytes:
    return parquet(pyarrow.table({"v": pyarrow.array(values, pyarrow.float64())}))


def quantiles(shares: list[float]) -> list[dict[str, Any]]:
    quantile = {"op": "quantile", "column": "v", "approximate": True}
    return [quantile | {"quantile": share, "name": str(share)} for share in shares]


# Approximate quantiles


@pytest.mark.parametrize(
    "values",
    [
        [1.0, INF, INF],
        [1.0, NAN, 2.0],
        [NAN, NAN],
        [INF],
        [-INF, -INF, 3.0, 4.0, 5.0],
        [-INF, 0.5, 1.5, 2.5, 3.5, INF, NAN, None],
        [-INF, INF],
        [None, None],
        [2.0, None],
        [1.0, 2.0, 3.0],
    ],
    ids=str,
)
def test_approximate_quantiles_count_infinity_and_nan(values: list[float | None]) -> None:
    # NaN is greater than every number.
    known = sorted(
        (value for value in values if value is not None),
        key=lambda value: (math.isnan(value), value),
    )
    # Shares at which one value is the quantile.
    shares = [place / max(len(known) - 1, 1) for place in range(max(len(known), 1))]
    (found,) = run(doubles(values), aggregates=quantiles(shares)).rows
    wanted: list[float | None] = [*known] or [None]
    assert found == pytest.approx(wanted, nan_ok=True, abs=0.02)


def test_approximate_quantiles_with_infinities_are_near_the_exact_ones() -> None:
    chosen = random.Random(5)
    numbers = [chosen.gauss(100, 15) for _ in range(20_000)]
    values: list[float | None] = [*numbers, *[INF] * 5_000, *[-INF] * 3_000, *[NAN] * 2_000]
    chosen.shuffle(values)
    shares = [0.05, 0.12, 0.25, 0.5, 0.75, 0.9, 0.99]
    (found,) = run(doubles(values), aggregates=quantiles(shares)).rows
    # The finite numbers are the share from 0.1 to 0.767.
    places = [(share * 30_000 - 3_000) / 20_000 for share in shares[1:5]]
    wanted = [-INF, *numpy.quantile(numbers, places), INF, NAN]
    assert found == pytest.approx(wanted, nan_ok=True, abs=0.5)


def test_the_ends_of_approximate_quantiles_are_the_extremes() -> None:
    content = "v,w\n" + "".join(f"{n},1\n" for n in range(1, 30_001))
    (found,) = run(content.encode(), aggregates=quantiles([0, 1])).rows
    assert found == [1, 30_000]
    (found,) = run(doubles([5.0, NAN, -INF]), aggregates=quantiles([0, 1])).rows
    assert found == pytest.approx([-INF, NAN], nan_ok=True)


# Overflow


def reduce(op: str) -> list[dict[str, Any]]:
    return [{"op": op, "column": "v", "name": "x"}]


@pytest.mark.parametrize(
    ("op", "values"),
    [
        ("sum", [1.7e308, 1.7e308]),
        ("sum", [-1e308, -1e308, 5.0]),
        ("mean", [1.7e308, 1.7e308]),
        ("std", [1e200, -1e200]),
        ("std", [1e308, -1e308, 0.0]),
        ("std", [1e155, 3.0, 4.0]),
    ],
)
@pytest.mark.parametrize("groups", [False, True])
def test_a_result_beyond_a_double_is_refused(op: str, values: list[float], groups: bool) -> None:
    content = "k,v\n" + "".join(f"a,{value!r}\nb,1\n" for value in values)
    by_key = {"group_by": ["k"]} if groups else {}
    for source in (content.encode(), doubles([*values])):
        if source[:1] == b"P" and groups:
            continue
        error = refused(source, aggregates=reduce(op), **by_key)
        assert error.code == "number-overflow"
        assert "1.8e308" in error.detail


@pytest.mark.parametrize("op", ["sum", "mean", "std"])
@pytest.mark.parametrize("output", ["csv", "parquet"])
def test_infinite_values_have_the_results_of_ieee_754(op: str, output: str) -> None:
    cases = {"std": [NAN, NAN, NAN, NAN]}.get(op, [INF, -INF, NAN, NAN])
    sources = [[1.0, INF], [-INF, -INF, 2.0], [INF, -INF], [1.7e308, 1.7e308, NAN]]
    for values, wanted in zip(sources, cases, strict=True):
        ((found,),) = run(doubles([*values]), aggregates=reduce(op), output_format=output).rows
        assert float(found) == pytest.approx(wanted, nan_ok=True)
        assert str(found) in ("inf", "-inf", "nan")


def test_every_nan_is_written_as_one_text() -> None:
    values = numpy.array([NAN, 1.0, numpy.copysign(NAN, -1)])
    for type_ in (pyarrow.float64(), pyarrow.float32()):
        source = parquet(pyarrow.table({"v": pyarrow.array(values, type_, from_pandas=False)}))
        last = [{"op": "last", "column": "v", "name": "x"}]
        found = run(source, group_by=["v"], aggregates=last, output_format="csv").rows
        assert found == [["1.0", "1.0"], ["nan", "nan"]]
