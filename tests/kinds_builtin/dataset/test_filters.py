"""Filters, and the columns and values that they can be used with."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest
from pydantic import ValidationError

from tests.kinds_builtin.dataset.conftest import TABLE, Run, refused, write


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        ({"op": "eq", "column": "number", "value": 2}, 1),
        ({"op": "ne", "column": "number", "value": 2}, 2),
        ({"op": "lt", "column": "number", "value": 2}, 1),
        ({"op": "le", "column": "number", "value": 2}, 2),
        ({"op": "gt", "column": "number", "value": 1.5}, 2),
        ({"op": "ge", "column": "real", "value": 1}, 2),
        ({"op": "in", "column": "number", "values": [1, 2.0, 7]}, 2),
        ({"op": "in", "column": "word", "values": ["apple", "pear"]}, 1),
        ({"op": "between", "column": "number", "low": 2, "high": 3}, 2),
        ({"op": "is_null", "column": "word"}, 1),
        ({"op": "is_not_null", "column": "number"}, 3),
        ({"op": "contains", "column": "word", "value": "an"}, 1),
        ({"op": "contains", "column": "word", "value": "a.*e"}, 0),
        ({"op": "starts_with", "column": "word", "value": "b"}, 0),
        ({"op": "ends_with", "column": "word", "value": "y"}, 1),
        ({"op": "eq", "column": "flag", "value": True}, 2),
        ({"op": "ge", "column": "word", "value": "apple"}, 2),
    ],
)
def test_filters_keep_the_rows_that_pass(run: Run, wanted: dict[str, Any], rows: int) -> None:
    result = run(TABLE, filters=[wanted])
    assert (result.rows_in, result.preview) == (4, [[rows]])


@pytest.mark.parametrize("zone", [None, "Europe/Vienna"])
def test_moments_are_compared_in_utc(run: Run, tmp_path: Path, zone: str | None) -> None:
    path = tmp_path / "moments.parquet"
    moments = [datetime(2013, 1, 1, hour, tzinfo=UTC) for hour in range(24)]
    table = {
        "at": pyarrow.array(moments, pyarrow.timestamp("us", zone)),
        "on": [date(2013, 1, 1)] * 24,
    }
    pyarrow.parquet.write_table(pyarrow.table(table), path)
    for value in ("2013-01-01T12:00:00Z", "2013-01-01T13:00:00+01:00", "2013-01-01 12:00"):
        result = run(
            path,
            filters=[
                {"op": "ge", "column": "at", "value": value},
                {"op": "eq", "column": "on", "value": "2013-01-01"},
            ],
        )
        assert result.preview == [[12]]


@pytest.mark.parametrize(
    ("value", "rows"),
    [
        ("2024-01-01T00:00:00.123456789", 1),
        ("2024-01-01T00:00:00.123456788", 0),
        ("9999-12-31", 0),
    ],
)
def test_filters_compare_nanoseconds(run: Run, tmp_path: Path, value: str, rows: int) -> None:
    times = pyarrow.array([1704067200123456789, 1704067200123456000], pyarrow.timestamp("ns"))
    path = write(tmp_path / "times.parquet", t=times)
    assert run(path, filters=[{"op": "eq", "column": "t", "value": value}]).preview == [[rows]]
    assert run(path, filters=[{"op": "lt", "column": "t", "value": "3000-01-01"}]).preview == [[2]]


def test_numbers_that_double_precision_would_merge_are_refused(run: Run) -> None:
    source = f"a\n{2**53}\n{2**53 + 1}\n1.5\n"
    wanted = [{"op": "eq", "column": "a", "value": 2**53 + 1}]
    assert refused(run, source, filters=wanted).code == "column-type"
    options = {"types": {"a": "decimal(20,1)"}}
    assert run(source, csv=options, filters=wanted).preview == [[1]]


def test_a_date_is_not_compared_with_texts_of_another_format(run: Run) -> None:
    wanted = [{"op": "ge", "column": "d", "value": "2024-01-01"}]
    error = refused(run, "d\n1/2/2024\n12/31/2023\n", filters=wanted)
    assert (error.code, "'1/2/2024' in line 2" in error.detail) == ("csv-value", True)
    zones = "d\n2024-01-01T02:00:00+05:00\n2023-12-31T23:00:00-05:00\n"
    assert run(zones, filters=wanted).preview == [[1]]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"filters": [{"op": "gt", "column": "word", "value": 3}]}, "'apple' in line 2"),
        ({"filters": [{"op": "eq", "column": "number", "value": True}]}, "'1' in line 2"),
        ({"aggregates": [{"op": "mean", "column": "word", "name": "x"}]}, "'apple' in line 2"),
        (
            {"aggregates": [{"op": "quantile", "column": "flag", "quantile": 1, "name": "x"}]},
            "'true' in line 2",
        ),
    ],
)
def test_a_value_that_does_not_fit_its_use_is_refused_with_its_line(
    run: Run, spec: dict[str, Any], said: str
) -> None:
    error = refused(run, TABLE, **spec)
    assert error.code == "csv-value"
    assert said in error.detail


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"filters": [{"op": "lt", "column": "number", "value": "3"}]}, "'number' holds numbers"),
        ({"filters": [{"op": "in", "column": "word", "values": ["a", 1]}]}, "'word'"),
        (
            {
                "csv": {"types": {"number": "integer"}},
                "filters": [{"op": "contains", "column": "number", "value": "3"}],
            },
            "'number' (HUGEINT)",
        ),
        (
            {
                "csv": {"types": {"word": "text"}},
                "filters": [{"op": "lt", "column": "word", "value": False}],
            },
            "'word' (VARCHAR)",
        ),
        (
            {
                "csv": {"types": {"word": "text"}},
                "aggregates": [{"op": "sum", "column": "word", "name": "x"}],
            },
            "'word' (VARCHAR)",
        ),
    ],
)
def test_a_column_that_does_not_fit_its_use_is_refused(
    run: Run, spec: dict[str, Any], said: str
) -> None:
    error = refused(run, TABLE, **spec)
    assert error.code == "column-type"
    assert said in error.detail


@pytest.mark.parametrize(
    "spec",
    [
        {"group_by": ["nope"]},
        {"filters": [{"op": "is_null", "column": "nope"}]},
        {"aggregates": [{"op": "sum", "column": "nope", "name": "x"}]},
        {"csv": {"types": {"nope": "text"}}},
    ],
)
def test_unknown_columns_are_refused_by_name(run: Run, spec: dict[str, Any]) -> None:
    error = refused(run, TABLE, **spec)
    assert error.code == "column-unknown"
    assert "'nope'" in error.detail
    assert "word, number, real, flag" in error.detail


@pytest.mark.parametrize(
    "spec",
    [
        {"aggregates": []},
        {"aggregates": [{"op": "eval", "column": "a", "name": "x"}]},
        {"aggregates": [{"op": "count", "name": "x"}] * 2},
        {"aggregates": [{"op": "quantile", "column": "a", "quantile": 1.5, "name": "x"}]},
        {"filters": [{"op": "eq", "column": "a", "value": float("nan")}]},
        {"filters": [{"op": "eq", "column": "a", "value": {"sql": "1"}}]},
        {"filters": [{"op": "in", "column": "a", "values": []}]},
        {"sort": [{"column": "nope"}]},
        {"group_by": ["a"] * 2},
        {"path": "/etc/passwd"},
        {"limit": 0},
    ],
)
def test_an_invalid_specification_is_refused(run: Run, spec: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        run(TABLE, **spec)
