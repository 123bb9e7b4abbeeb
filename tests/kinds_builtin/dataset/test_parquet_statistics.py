"""Wrong statistics in Parquet files: no answer changes."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from tests.kinds_builtin.dataset.answers import parquet
from tests.kinds_builtin.dataset.parquet_edits import (
    MAX,
    MAX_VALUE,
    MIN,
    MIN_VALUE,
    NULL_COUNT,
    ROWS,
    STATISTICS,
    chunks,
    edited,
    file_of,
    footer_of,
    put,
    right_or_refused,
)
from tests.kinds_builtin.dataset.thrift import BINARY, I64, Struct


def set_range(low: int, high: int) -> Callable[[Struct], None]:
    def change(footer: Struct) -> None:
        for chunk in chunks(footer)[::2]:
            statistics = chunk[STATISTICS][1]
            for number in (MAX, MAX_VALUE):
                put(statistics, number, BINARY, high.to_bytes(8, "little", signed=True))
            for number in (MIN, MIN_VALUE):
                put(statistics, number, BINARY, low.to_bytes(8, "little", signed=True))

    return change


QUESTIONS: list[tuple[dict[str, Any], list[list[Any]]]] = [
    ({"aggregates": [{"op": "min", "column": "v", "name": "m"}]}, [[0]]),
    ({"aggregates": [{"op": "max", "column": "v", "name": "m"}]}, [[ROWS - 1]]),
    ({"filters": [{"op": "eq", "column": "v", "value": 500}]}, [[1]]),
    ({"filters": [{"op": "gt", "column": "v", "value": 900}]}, [[99]]),
    ({"filters": [{"op": "lt", "column": "v", "value": 100}]}, [[100]]),
    ({"filters": [{"op": "between", "column": "v", "low": 10, "high": 19}]}, [[10]]),
    ({"filters": [{"op": "in", "column": "v", "values": [1, 999, 5000]}]}, [[2]]),
    ({"filters": [{"op": "ne", "column": "v", "value": 5}]}, [[999]]),
    ({"filters": [{"op": "is_null", "column": "v"}]}, [[0]]),
    ({"filters": [{"op": "is_not_null", "column": "v"}]}, [[ROWS]]),
    ({"aggregates": [{"op": "count", "column": "v", "name": "n"}]}, [[ROWS]]),
    ({"aggregates": [{"op": "n_unique", "column": "v", "name": "n"}]}, [[ROWS]]),
    (
        {"group_by": [{"op": "bin", "column": "v", "width": 500, "name": "b"}]},
        [[0, 500], [500, 500]],
    ),
    ({"sort": [{"column": "v", "descending": True}], "limit": 1, "group_by": ["v"]}, [[999, 1]]),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [set_range(5, 5), set_range(10**6, 10**7), set_range(-5, -1),
    set_range(999, 0)],
    ids=["one value", "too high", "too low", "turned round"],
)  # fmt: skip
@pytest.mark.parametrize("group", [ROWS, 100])
def test_wrong_statistics_change_no_answer(change: Callable[[Struct], None], group: int) -> None:
    content = edited(change, row_group_size=group)
    for spec, right in QUESTIONS:
        right_or_refused(content, spec, right)


@pytest.mark.slow
@pytest.mark.parametrize("nulls", [0, 1, ROWS, 10**9, -1])
def test_wrong_counts_of_nulls_change_no_answer(nulls: int) -> None:
    table = pa.table(
        {"v": pa.array([n if n % 10 else None for n in range(ROWS)]), "w": range(ROWS)}
    )
    body, footer = footer_of(parquet(table, row_group_size=250))
    for chunk in chunks(footer)[::2]:
        put(chunk[STATISTICS][1], NULL_COUNT, I64, nulls)
    content = file_of(body, footer)
    questions: list[tuple[dict[str, Any], list[list[Any]]]] = [
        ({"filters": [{"op": "is_null", "column": "v"}]}, [[100]]),
        ({"filters": [{"op": "is_not_null", "column": "v"}]}, [[900]]),
        ({"aggregates": [{"op": "count", "column": "v", "name": "n"}]}, [[900]]),
        ({"filters": [{"op": "eq", "column": "v", "value": 11}]}, [[1]]),
        ({"aggregates": [{"op": "n_unique", "column": "v", "name": "n"}]}, [[900]]),
    ]
    for spec, right in questions:
        right_or_refused(content, spec, right)


@pytest.mark.slow
@pytest.mark.parametrize("value", [b"", b"\x01", b"x" * 9, b"x" * 100_000])
def test_statistics_of_a_wrong_size_change_no_answer(value: bytes) -> None:
    def change(footer: Struct) -> None:
        for chunk in chunks(footer):
            for number in (MAX, MIN, MAX_VALUE, MIN_VALUE):
                put(chunk[STATISTICS][1], number, BINARY, value)

    for spec, right in QUESTIONS[:6]:
        right_or_refused(edited(change), spec, right)


def test_wrong_statistics_of_texts_change_no_answer() -> None:
    def change(footer: Struct) -> None:
        for chunk in chunks(footer)[1::2]:
            put(chunk[STATISTICS][1], MAX_VALUE, BINARY, b"k0")
            put(chunk[STATISTICS][1], MIN_VALUE, BINARY, b"k0")

    content = edited(change, row_group_size=100)
    for spec, right in [
        ({"filters": [{"op": "eq", "column": "k", "value": "k3"}]}, [[200]]),
        ({"filters": [{"op": "ge", "column": "k", "value": "k3"}]}, [[400]]),
        ({"filters": [{"op": "starts_with", "column": "k", "value": "k4"}]}, [[200]]),
        ({"aggregates": [{"op": "max", "column": "k", "name": "m"}]}, [["k4"]]),
    ]:
        right_or_refused(content, spec, right)
