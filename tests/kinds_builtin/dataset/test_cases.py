"""Inputs on which other tools for tables went wrong in public, each with the right answer."""

from datetime import date, datetime

import numpy
import pyarrow as pa
import pytest

from tests.kinds_builtin.dataset.answers import (
    CASES,
    line_of,
    parquet,
    refused,
    run,
    sum_of,
    sums_by_hand,
)

# The inputs of public reports, as they were sent


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("leading-zeros-group", "zip", "v"),
        ("exp-like-codes", "code", "v"),
        ("NA-namibia", "cc", "v"),
        ("bigint20", "id", "v"),
    ],
)
@pytest.mark.parametrize("output", ["csv", "parquet"])
def test_texts_that_differ_are_groups_of_their_own(
    name: str, key: str, value: str, output: str
) -> None:
    content = (CASES / f"{name}.csv").read_bytes()
    wanted = sums_by_hand(content.decode(), key, value)
    rows = run(content, group_by=[key], aggregates=sum_of(value), output_format=output).rows
    if output == "csv":
        rows = [[key or None, int(total)] for key, total in rows]
    assert dict(rows) == wanted
    assert all(key is None or isinstance(key, str) for key, _ in rows)


def test_a_declared_date_in_us_form_is_refused_with_row_and_value() -> None:
    content = (CASES / "us-date.csv").read_bytes()
    spec = {"aggregates": [{"op": "min", "column": "d", "name": "m"}]}
    error = refused(content, csv={"types": {"d": "date"}}, **spec)
    assert (error.code, line_of(error)) == ("csv-value", 2)
    assert "'d'" in error.detail
    assert "01/02/2024" in error.detail
    types = {"d": {"type": "date", "format": "%m/%d/%Y"}}
    assert run(content, csv={"types": types}, **spec).rows == [[date(2024, 1, 2)]]


def test_int96_beyond_2262_is_read() -> None:
    content = (CASES / "int96-9999.parquet").read_bytes()
    output = run(content, aggregates=[{"op": "max", "column": "t", "name": "m"}])
    assert output.rows[0][0].replace(tzinfo=None) == datetime.fromisoformat("9999-12-31")
    assert str(output.result.preview[0][0]).startswith("9999-12-31")


def test_a_header_with_doubled_quotes_is_read() -> None:
    content = (CASES / "header-doubled-quotes.csv").read_bytes()
    assert run(content, aggregates=sum_of('say "hi"')).rows == [[1]]


@pytest.mark.parametrize(("name", "rows"), [("duck-types", 1), ("list-first", 2)])
def test_an_unused_column_does_not_matter(name: str, rows: int) -> None:
    content = (CASES / f"{name}.parquet").read_bytes()
    assert run(content).rows == [[rows]]
    assert run(content, aggregates=sum_of("v")).rows == [[{"duck-types": 5, "list-first": 3}[name]]]


def test_the_sum_of_a_group_without_values_is_null() -> None:
    content = (CASES / "sum-group-all-null.csv").read_bytes()
    assert run(content, group_by=["k"], aggregates=sum_of("v")).rows == [["a", None], ["b", 1]]


@pytest.mark.parametrize("value", ["12345678901234567890.01", "12345678901234567890.010"])
def test_a_decimal_is_compared_with_a_text_exactly(value: str) -> None:
    content = (CASES / "dec-eq.parquet").read_bytes()
    assert run(content, filters=[{"op": "eq", "column": "m", "value": value}]).rows == [[1]]


def test_a_decimal_is_not_compared_with_a_number_that_has_lost_digits() -> None:
    content = (CASES / "dec-eq.parquet").read_bytes()
    number = float("12345678901234567890.01")
    error = refused(content, filters=[{"op": "eq", "column": "m", "value": number}])
    assert error.code == "column-type"
    assert "'m'" in error.detail
    assert "text" in error.detail


def test_a_dash_is_named_with_its_line_and_the_remedy() -> None:
    content = (CASES / "null-dash.csv").read_bytes()
    error = refused(content, aggregates=sum_of("v"))
    assert (error.code, line_of(error)) == ("csv-value", 3)
    assert "'v'" in error.detail
    assert "'-'" in error.detail
    assert "csv.null_values" in error.detail
    assert run(content, aggregates=sum_of("v"), csv={"null_values": ["-"]}).rows == [[4]]


@pytest.mark.parametrize(("name", "total"), [("cr-only", 4), ("blank-line-end", 1)])
def test_lines_that_end_in_cr_and_a_blank_last_line_are_read(name: str, total: int) -> None:
    output = run((CASES / f"{name}.csv").read_bytes(), aggregates=sum_of("a"))
    assert output.rows == [[total]]


def test_html_is_not_a_table() -> None:
    error = refused((CASES / "html-not-csv.csv").read_bytes())
    assert error.code == "not-a-table"
    assert "HTML" in error.detail


@pytest.mark.slow
def test_forty_million_float32_are_added_in_double() -> None:
    table = pa.table(
        {
            "v": pa.array(numpy.ones(40_000_000, numpy.float32)),
            "g": pa.array(numpy.zeros(40_000_000, numpy.int8)),
        }
    )
    assert run(parquet(table), group_by=["g"], aggregates=sum_of("v")).rows == [[0, 40_000_000.0]]
    mean = [{"op": "mean", "column": "v", "name": "m"}]
    assert run(parquet(table), group_by=["g"], aggregates=mean).rows == [[0, 1.0]]
