"""Inputs on which other tools for tables went wrong in public, each with the right answer."""

import csv
import re
from collections import defaultdict
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.kinds_builtin.dataset.answers import COUNT, line_of, parquet, refused, run

CASES = Path(__file__).parents[1] / "cases"


def sum_of(column: str) -> list[dict[str, Any]]:
    return [{"op": "sum", "column": column, "name": "s"}]


def sums_by_hand(content: str, key: str, value: str) -> dict[str | None, Decimal]:
    """Sums of each group by Python's csv and decimal; an empty key is null."""
    sums: dict[str | None, Decimal] = defaultdict(Decimal)
    for row in csv.DictReader(content.splitlines()):
        sums[row[key] or None] += Decimal(row[value])
    return sums


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


def test_int96_beyond_2262() -> None:
    content = (CASES / "int96-9999.parquet").read_bytes()
    output = run(content, aggregates=[{"op": "max", "column": "t", "name": "m"}])
    assert output.rows[0][0].replace(tzinfo=None) == datetime(9999, 12, 31)  # noqa: DTZ001
    assert output.result.preview[0][0].startswith("9999-12-31")  # type: ignore[union-attr]


def test_a_header_with_doubled_quotes() -> None:
    content = (CASES / "header-doubled-quotes.csv").read_bytes()
    assert run(content, aggregates=sum_of('say "hi"')).rows == [[1]]


@pytest.mark.parametrize(("name", "rows"), [("duck-types", 1), ("list-first", 2)])
def test_a_column_that_nobody_asks_for_spoils_nothing(name: str, rows: int) -> None:
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
def test_line_ends_by_cr_and_a_blank_last_line(name: str, total: int) -> None:
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


# Keys


@pytest.mark.parametrize(
    "texts",
    [
        ["00501", "501", "0501"],
        ["007", "7"],
        ["0", "00", "000"],
        ["1E5", "100000", "1E05", "1e5"],
        ["12E3", "12000", "12e3"],
        ["2e308", "1e400", "inf"],
        ["+49", "49", "0049"],
        ["-5", "- 5", "--5"],
        ["-0", "0", "+0"],
        ["-0.0", "0.0"],
        ["1.10", "1.1", "1.100"],
        ["1.", "1", "1.0"],
        [".5", "0.5", "00.5"],
        ["0x10", "16", "0X10"],
        ["0b11", "0o17", "3", "15"],
        ["1_000", "1000", "1,000"],
        [" 7 ", "7", " 7"],
        ["7", "7\u00a0", "\u20097"],
        ["٣", "3"],
        ["1²", "1"],
        ["NA", "N/A", "n/a", "-", "null", "NULL", "None", "nil", "#N/A", "nan", "NaN"],
        ["s/n", "sin dato", "k. A.", "keine Angabe", "n.d.", "ND", "没有"],
        ["true", "TRUE", "True", "t", "1"],
        ["yes", "no", "y", "n", "on", "off"],
        ["NO", "SE", "DK"],
        ["2024-01-02", "2024-1-2", "01/02/2024", "20240102"],
        ["1/2", "0.5", "50%"],
        ["9007199254740993", "9007199254740992", "9007199254740992.5"],
        ["0.1", "0.1000000000000000055511151231257827"],
        ["18446744073709551616", "18446744073709551617"],
        ["9223372036854775807", "9223372036854775808"],
        ["1" * 39, "1" * 38 + "2"],
        ["1" * 60, "1" * 59 + "2"],
        ["e\u0301", "\u00e9"],
        ["a", "A"],
        ["a", "a ", " a"],
        ["a", "a\x00", "a\x00b"],
        ["ß", "ss", "SS"],
        ["\\N", "N", "\\"],
        ["=1+1", "2"],
    ],
    ids=lambda texts: repr(texts[0]),
)
def test_no_two_texts_are_merged(texts: list[str]) -> None:
    content = "id,v\n" + "".join(
        f'"{text}",{10**place}\n' if "," in text else f"{text},{10**place}\n"
        for place, text in enumerate(texts)
    )
    output = run(content.encode(), group_by=["id"], aggregates=sum_of("v"), output_format="csv")
    assert {key: int(total) for key, total in output.rows} == {
        text: 10**place for place, text in enumerate(texts)
    }
    unique = [
        {"op": "n_unique", "column": "id", "name": "u"},
        {"op": "count_if", "filter": {"op": "eq", "column": "id", "value": texts[0]}, "name": "e"},
    ]
    assert run(content.encode(), aggregates=unique).rows == [[len(texts), 1]]


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["1", "-7", "0"], int),
        (["9223372036854775807", "-9223372036854775808"], int),
        (["1.5", "0.5"], float),
        (["1.0", "2.0"], float),
        (["1", "0.5"], float),
        (["true", "false"], bool),
        (["1", "1.0"], str),
        (["1", "true"], str),
        (["01", "2"], str),
        (["1", "9223372036854775808"], str),
        (["1e5", "2e5"], str),
        (["-0.0", "1.0"], str),
        (["9007199254740993", "0.5"], str),
        (["True", "False"], str),
        (["2024-01-01", "2024-01-02"], str),
        (["nan", "1.0"], str),
        (["inf", "1.0"], str),
    ],
    ids=repr,
)
def test_a_key_is_a_number_only_if_each_text_is_its_usual_form(
    texts: list[str], kind: type
) -> None:
    content = "k\n" + "".join(f"{text}\n" for text in texts)
    keys = [row[0] for row in run(content.encode(), group_by=["k"]).rows]
    assert {type(key) for key in keys} == {kind}
    shown = [str(key).lower() if kind is bool else str(key) for key in keys]
    if kind is not float:
        assert sorted(shown) == sorted(texts)
    else:
        assert sorted(keys) == sorted(map(float, texts))


def test_extremes_of_numbers_that_are_written_as_money_keep_their_text() -> None:
    content = b"p\n1.50\n10.25\n9.00\n"
    reduce = [{"op": op, "column": "p", "name": op} for op in ("min", "max", "first", "last")]
    assert run(content, aggregates=reduce).rows == [["1.50", "10.25", "1.50", "9.00"]]


def test_only_an_unquoted_empty_field_is_null() -> None:
    content = b'a,b\n,1\n"",2\nNA,3\n'
    count = [{"op": "count", "column": "a", "name": "n"}]
    assert run(content, aggregates=count).rows == [[2]]
    assert run(content, aggregates=count, csv={"null_values": ["NA"]}).rows == [[1]]
    assert run(b'a,b\n"NA",1\nNA,2\n', aggregates=count, csv={"null_values": ["NA"]}).rows == [[1]]
    assert run(b"a,b\n NA,1\nNA,2\n", aggregates=count, csv={"null_values": ["NA"]}).rows == [[1]]


# Arithmetic


@pytest.mark.parametrize(
    ("texts", "total"),
    [
        (["1", "2", ""], 3),
        ([" 7 ", "\t8"], 15),
        (["+49", "-50"], -1),
        (["007", "008"], 15),
        (["9223372036854775807", "1"], 2**63),
        (["9223372036854775807"] * 3, 3 * (2**63 - 1)),
        (["12345678901234567890", "1"], 12345678901234567891),
        (["-" + "9" * 37, "1"], -(10**37) + 2),
        (["1E2", "1"], 101.0),
        ([".5", "5."], 5.5),
        (["1.10", "1.1"], 2.2),
        (["true", "false", "true"], 2),
        (["1e308", "-1e308", "1"], 1.0),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_sums_of_texts(texts: list[str], total: Any) -> None:
    content = "k,v\n" + "".join(f"x,{text}\n" for text in texts)
    ((got,),) = run(content.encode(), aggregates=sum_of("v")).rows
    assert type(got) is type(total) or (isinstance(got, Decimal) and got == int(got))
    assert float(got) == pytest.approx(float(total)) if isinstance(total, float) else got == total


@pytest.mark.slow
@pytest.mark.parametrize(
    "value",
    ["-", "NA", "n/a", "nan", "inf", "-inf", "0x10", "1_000", "1,5", "1.2.3", "--1", "1e", "e5",
    ".", "+", "1e400",
     "12abc", "$5", "5%", "5 €", "1 000", "٣", "²", "true", "1e5.5", "1\u00a0", "=1", "(5)", "1-"],
)  # fmt: skip
def test_a_text_that_is_not_a_number_is_named(value: str) -> None:
    content = f'k,v\na,1\nb,"{value}"\nc,3\n'.encode()
    specs: list[dict[str, Any]] = [
        {"aggregates": sum_of("v")},
        {"aggregates": [{"op": "median", "column": "v", "name": "x"}]},
        {"filters": [{"op": "gt", "column": "v", "value": 0}]},
        {"group_by": [{"op": "bin", "column": "v", "width": 1, "name": "b"}]},
    ]
    spec = specs[len(value) % len(specs)]
    error = refused(content, **spec)
    assert (error.code, line_of(error)) == ("csv-value", 3)
    assert "'v'" in error.detail
    assert repr(value) in error.detail or value in error.detail
    # Nobody asks for the column.
    assert run(content, group_by=["k"]).rows == [["a", 1], ["b", 1], ["c", 1]]
    # Or the user would rather go on without the row.
    output = run(content, csv={"on_error": "skip"}, **spec)
    assert output.result.rows_in == 2
    assert output.result.rows_skipped == 1
    (skipped,) = output.result.skipped
    assert (skipped.line, skipped.column) == (3, "v")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point", "thousands", "good", "bad"),
    [
        (",", None, {"1,5": "1.5", "2": "2", ",5": "0.5"}, ["1.5", "1,2,3"]),
        (",", ".", {"1.234,50": "1234.5", "12.345.678": "12345678", "1234,5": "1234.5"},
         ["1.23", "12.34.567", "1.2345", "1,234.5", ".234", "1..234"]),
        (".", ",", {"1,234.50": "1234.5", "999": "999", "-1,000": "-1000", "+1,000.0e1": "10000"},
         ["1,23", "1,2345", ",123", "1,234,56", "1.234,5", "1,,234", "12,34,567", "1234,567"]),
        (".", "'", {"1'234.5": "1234.5", "1'000'000": "1000000"}, ["1'23", "1,5"]),
        (",", " ", {"1 234,5": "1234.5", " 1 ": "1"}, ["1  234", "12 34"]),
        (",", "\u00a0", {"1\u00a0234,5": "1234.5"}, ["1 234,5"]),
    ],
)  # fmt: skip
def test_separators_of_decimals_and_thousands(
    point: str, thousands: str | None, good: dict[str, str], bad: list[str]
) -> None:
    options = {"decimal_separator": point, "thousands_separator": thousands, "separator": ";"}
    content = "k;v\n" + "".join(f"x;{text}\n" for text in good)
    ((got,),) = run(content.encode(), csv=options, aggregates=sum_of("v")).rows
    assert Decimal(str(got)) == sum(map(Decimal, good.values()))
    for text in bad:
        error = refused(f"k;v\nx;1\nx;{text}\n".encode(), csv=options, aggregates=sum_of("v"))
        assert (error.code, line_of(error)) == ("csv-value", 3), text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("decimal(5,2)", ["1.10", "-999.99", "5", "7.100", " 1 ", "+.5", "007.5"],
         ["1000", "0.001", "1e2", "x", "1.1.1", "nan"]),
        ("decimal(38,0)", ["9" * 38, "-" + "9" * 38, "1.0"], ["9" * 39, "0.5"]),
        ("decimal(38,38)", ["0." + "1" * 38, "-.5"], ["1", "0." + "1" * 39]),
        ("decimal(20,4)", ["0.1"] * 10, ["1" * 17]),
    ],
)  # fmt: skip
def test_sums_of_declared_decimals_are_exact(kind: str, good: list[str], bad: list[str]) -> None:
    options = {"types": {"v": kind}}
    content = "k,v\n" + "".join(f"x,{text}\n" for text in good)
    ((got,),) = run(content.encode(), csv=options, aggregates=sum_of("v")).rows
    assert Fraction(got) == sum(map(Fraction, good))
    for text in bad:
        error = refused(f"k,v\nx,1.0\nx,{text}\n".encode(), csv=options, group_by=["v"])
        assert (error.code, line_of(error)) == ("csv-value", 2 if kind.endswith("38)") else 3), text


# Dates


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "texts", "bad"),
    [
        ("%m/%d/%Y", ["01/02/2024", "12/31/1999"], ["31/12/1999", "2024-01-02", "1/2/24",
        "02/30/2024"]),
        ("%d/%m/%Y", ["01/02/2024", "31/12/1999"], ["12/31/1999"]),
        ("%d.%m.%Y", ["01.02.2024", "29.02.2024"], ["29.02.2023", "01.02.2024 ", "01-02-2024"]),
        ("%Y%m%d", ["20240102"], ["20241301"]),
        ("%Y/%m/%d", ["2024/01/02"], ["2024-01-02"]),
        ("%d %b %Y", ["02 Jan 2024"], ["02 Foo 2024"]),
        ("%d %B %Y", ["02 January 2024"], ["02 Januar 2024"]),
        ("%d.%m.%y", ["01.02.24", "01.02.99"], ["01.02.2024"]),
        ("%Y-%j", ["2024-366", "2024-001"], ["2023-366"]),
    ],
)  # fmt: skip
def test_dates_of_a_given_format(layout: str, texts: list[str], bad: list[str]) -> None:
    wanted = sorted(datetime.strptime(text, layout).date() for text in texts)  # noqa: DTZ007
    options = {"types": {"d": {"type": "date", "format": layout}}}
    content = "d\n" + "".join(f"{text}\n" for text in texts)
    assert [row[0] for row in run(content.encode(), csv=options, group_by=["d"]).rows] == wanted
    for text in bad:
        error = refused(f"{content}{text}\n".encode(), csv=options, group_by=["d"])
        assert (error.code, line_of(error)) == ("csv-value", len(texts) + 2), text
        assert text.strip() in error.detail


@pytest.mark.parametrize(
    ("layout", "text", "wanted"),
    [
        ("%m/%d/%Y %I:%M %p", "01/02/2024 12:05 AM", "2024-01-02T00:05:00"),
        ("%m/%d/%Y %I:%M %p", "01/02/2024 12:05 PM", "2024-01-02T12:05:00"),
        ("%d.%m.%Y %H:%M:%S", "01.02.2024 23:59:59", "2024-02-01T23:59:59"),
        ("%Y-%m-%dT%H:%M:%S%z", "2024-01-02T00:30:00+0100", "2024-01-01T23:30:00"),
        ("%Y-%m-%d %H:%M:%S.%f", "2024-01-02 00:30:00.25", "2024-01-02T00:30:00.250000"),
    ],
)
def test_times_of_a_given_format(layout: str, text: str, wanted: str) -> None:
    options = {"types": {"t": {"type": "datetime", "format": layout}}}
    ((got, _),) = run(f"t\n{text}\n".encode(), csv=options, group_by=["t"]).rows
    assert got.replace(tzinfo=None) == datetime.fromisoformat(wanted)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    ["2024-02-30", "2024-13-01", "2024-1-2", "20240102", "24-01-02", "2024/01/02", "2024-01-02 ",
    "2024-00-10",
     "02024-01-02", "2024-01-02T00:00", "today", "now", "epoch", "infinity", "2024-W01-1",
     "2024-001", "Jan 2, 2024",
     "2024-01-02 BC"],
)  # fmt: skip
def test_a_declared_date_is_iso_8601_and_nothing_else(text: str) -> None:
    content = f'v,d\n1,2024-01-02\n2,"{text}"\n'.encode()
    for spec in ({"group_by": ["d"]}, {"aggregates": [{"op": "max", "column": "d", "name": "m"}]}):
        error = refused(content, csv={"types": {"d": "date"}}, **spec)
        assert (error.code, line_of(error)) == ("csv-value", 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    ["2024-01-02T25:00", "2024-01-02T23:60", "2024-01-02T23:59:60.5", "2024-01-02T",
    "2024-01-02X10:00", "10:00",
     "2024-01-02T10", "2024-01-02T10:00:00+1", "2024-01-02T10:00:00 Europe/Vienna", "1704153600",
     "2024-02-30T10:00"],
)  # fmt: skip
def test_a_declared_time_is_iso_8601_and_nothing_else(text: str) -> None:
    content = f'v,d\n1,2024-01-02T10:00:00Z\n2,"{text}"\n'.encode()
    error = refused(content, csv={"types": {"d": "datetime"}}, group_by=["d"])
    assert (error.code, line_of(error)) == ("csv-value", 3)
    truncate = {"op": "truncate", "column": "d", "unit": "day", "name": "day"}
    error = refused(content, group_by=[truncate])
    assert (error.code, line_of(error)) == ("csv-value", 3)


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["year", "quarter", "month", "week", "day", "hour", "minute"])
def test_truncated_times_equal_those_of_pyarrow(unit: str) -> None:
    texts = [
        "1969-12-31T23:59:59.999999", "1970-01-01T00:00:00", "2023-01-01T12:00:00",
        "2024-02-29T23:30:30",
        "2024-12-30T00:00:00", "1900-03-01T01:00:00", "2000-12-31T00:00:01", "1752-09-14T10:11:12",
    ]  # fmt: skip
    moments = pa.array([datetime.fromisoformat(text) for text in texts], pa.timestamp("us"))
    wanted = pc.floor_temporal(moments, unit=unit).to_pylist()
    content = "n,t\n" + "".join(f"{n},{text}\n" for n, text in enumerate(texts))
    key = {"op": "truncate", "column": "t", "unit": unit, "name": "t"}
    for source in (content.encode(), parquet(pa.table({"n": range(len(texts)), "t": moments}))):
        rows = run(source, group_by=["n", key]).rows
        assert [row[1].replace(tzinfo=None) for row in rows] == wanted


PARTS: dict[str, Any] = {
    "year": pc.year,
    "quarter": pc.quarter,
    "month": pc.month,
    "week": pc.iso_week,
    "day": pc.day,
    "weekday": lambda moments: pc.day_of_week(moments, count_from_zero=False),
    "hour": pc.hour,
    "minute": pc.minute,
}


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_parts_of_times_equal_those_of_pyarrow(part: str) -> None:
    texts = [
        "1969-12-31T23:59",
        "2021-01-03T00:00",
        "2020-12-31T12:30",
        "2024-02-29T07:08",
        "1900-01-01T00:01",
    ]
    moments = pa.array([datetime.fromisoformat(text) for text in texts], pa.timestamp("us"))
    content = "n,t\n" + "".join(f"{n},{text}\n" for n, text in enumerate(texts))
    key = {"op": "part", "column": "t", "part": part, "name": "p"}
    rows = run(content.encode(), group_by=["n", key]).rows
    assert [row[1] for row in rows] == PARTS[part](moments).to_pylist()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "origin"), [(10, 0), (7, 3), (0.5, 0), (0.25, 0.125), (1, -100), (1000, 0)]
)
def test_bins_equal_those_by_hand(width: float, origin: float) -> None:
    numbers = ["-10.5", "-10", "-1", "0", "0.25", "9.99", "10", "10.5", "1e3", "7"]
    content = "n,v\n" + "".join(f"{n},{text}\n" for n, text in enumerate(numbers))
    key = {"op": "bin", "column": "v", "width": width, "origin": origin, "name": "b"}
    rows = run(content.encode(), group_by=["n", key], aggregates=COUNT).rows
    step, start = Decimal(str(width)), Decimal(str(origin))
    for (_, low, _), text in zip(rows, numbers, strict=True):
        assert (
            Decimal(low)
            == ((Decimal(text) - start) / step).to_integral_value("ROUND_FLOOR") * step + start
        )


@pytest.mark.slow
def test_a_message_shows_a_value_that_is_long_or_odd_within_bounds() -> None:
    for value in ["x" * 100_000, "a\x00b", "line\nbreak", "\u202eabc", "\U0001f600" * 1000]:
        error = refused(f'k,v\na,"{value}"\n'.encode(), aggregates=sum_of("v"))
        assert error.code == "csv-value"
        assert len(error.detail) < 1000
        assert not re.search(r"[\x00-\x08\x0a-\x1f]", error.detail)
