"""Dates and times of CSV files, their parts, and bins."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.kinds_builtin.dataset.answers import COUNT, line_of, parquet, refused, run, sum_of

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
def test_dates_are_read_by_their_format(layout: str, texts: list[str], bad: list[str]) -> None:
    wanted = sorted(datetime.strptime(text, layout).replace(tzinfo=UTC).date() for text in texts)
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
def test_times_are_read_by_their_format(layout: str, text: str, wanted: str) -> None:
    options = {"types": {"t": {"type": "datetime", "format": layout}}}
    ((got, _),) = run(f"t\n{text}\n".encode(), csv=options, group_by=["t"]).rows
    assert got.replace(tzinfo=None) == datetime.fromisoformat(wanted)


@pytest.mark.parametrize(
    ("layout", "text", "without_a_zero"),
    [
        ("%d%m%Y", "01022024", ["1022024", "0122024", "122024", "0102224"]),
        ("%m%d%Y", "01122024", ["1122024", "0112224"]),
        ("%Y%m%d", "20240101", ["2024101", "2024011", "224011"]),
        ("%y%m%d", "240110", ["24110", "24011"]),
        ("%d%m%y", "010224", ["10224", "01224"]),
        ("%Y%j", "2024060", ["202460", "202406"]),
        ("%j%y", "06024", ["6024", "0624"]),
        ("%H%M%S %d.%m.%Y", "080502 05.01.2024", ["80502 05.01.2024", "08052 05.01.2024"]),
        ("%Y%m%d%H%M%S%f", "20240105101502250", ["2024105101502250", "2024010510152"]),
        ("%d1%m0%Y", "0510102024", ["510102024", "051102024"]),
    ],
)
def test_a_text_without_separators_that_has_lost_a_zero_is_refused(
    layout: str, text: str, without_a_zero: list[str]
) -> None:
    """Python's strptime reads some of them, as another day."""
    moment = datetime.strptime(text, layout).replace(tzinfo=UTC)
    options = {"types": {"t": {"type": "datetime", "format": layout}}, "on_error": "skip"}
    content = "\n".join(["t", *without_a_zero, text])
    output = run(content.encode(), csv=options, group_by=["t"])
    assert [(got.replace(tzinfo=UTC), rows) for got, rows in output.rows] == [(moment, 1)]
    assert [row.line for row in output.result.skipped] == [*range(2, 2 + len(without_a_zero))]


@pytest.mark.parametrize(
    ("layout", "text"), [("%d%b%Y", "5Jan2024"), ("%m/%d/%Y %I%p", "1/5/2024 9AM")]
)
def test_a_number_between_other_characters_may_have_lost_its_zero(layout: str, text: str) -> None:
    moment = datetime.strptime(text, layout).replace(tzinfo=UTC)
    options = {"types": {"t": {"type": "datetime", "format": layout}}}
    ((got, _),) = run(f"t\n{text}\n".encode(), csv=options, group_by=["t"]).rows
    assert got.replace(tzinfo=UTC) == moment


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
