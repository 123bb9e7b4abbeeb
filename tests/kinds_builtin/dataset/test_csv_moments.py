"""Times of CSV files with nanoseconds, zones and odd years, against Python's datetime."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest

from tests.kinds_builtin.dataset.answers import line_of, refused, run

# In ascending order.
FINE = [
    "0001-01-01T00:00:00.0000000",
    "1969-12-31T23:59:59.999999999Z",
    "1970-01-01T00:00:00.000000001Z",
    "2024-01-05T00:30:00.5+01:00",
    "2024-01-05T01:30:00.5000001+02:00",
    "2024-01-05",
    "2024-01-05T00:00:00.1234567Z",
    "2024-01-05T00:00:00.12345678Z",
    "2024-01-05 00:00:00.123456789",
    "2024-01-05T00:00:00.1234567891",
    "2024-01-05T00:00:00.12345678910000000000002",
    "9999-12-31T23:59:59.9999999",
]


def seconds(text: str) -> Fraction:
    """The exact time of a text by ISO 8601 in seconds since 1970."""
    whole, _, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    moment = datetime.fromisoformat(whole + rest[len(digits) :])
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days * 86400 + since.seconds + Fraction(f"0.{digits or 0}")


def csv_of(texts: list[str]) -> bytes:
    return "".join(f"{text}\n" for text in ["t", *texts]).encode()


def test_times_of_any_number_of_digits_are_compared_exactly() -> None:
    assert all(seconds(a) < seconds(b) for a, b in pairwise(FINE))
    texts = FINE[::2] + FINE[1::2]
    ends = [{"op": op, "column": "t", "name": op} for op in ("min", "max")]
    assert run(csv_of(texts), aggregates=ends).rows == [[FINE[0], FINE[-1]]]
    part = texts[1:5]
    ((low, high),) = run(csv_of(part), aggregates=ends).rows
    assert (low, high) == (min(part, key=seconds), max(part, key=seconds))


@pytest.mark.parametrize("bound", [3, 7, 10])
def test_times_of_any_number_of_digits_are_filtered_exactly(bound: int) -> None:
    """A bound between two times, and one that is a time."""
    for value in (FINE[bound], FINE[bound].replace(".1234567", ".12345671")):
        counts = [
            {
                "op": "count_if",
                "filter": {"op": op, "column": "t", "value": value},
                "name": op,
            }
            for op in ("lt", "le", "gt", "ge")
        ]
        at = seconds(value)
        wanted = [
            sum(seconds(text) < at for text in FINE),
            sum(seconds(text) <= at for text in FINE),
            sum(seconds(text) > at for text in FINE),
            sum(seconds(text) >= at for text in FINE),
        ]
        assert run(csv_of(FINE), aggregates=counts).rows == [wanted]


@pytest.mark.parametrize("unit", ["day", "hour", "minute"])
def test_times_of_any_number_of_digits_are_truncated(unit: str) -> None:
    key = {"op": "truncate", "column": "t", "unit": unit, "name": "first"}
    step = {"day": 86400, "hour": 3600, "minute": 60}[unit]
    rows = run(csv_of(FINE), group_by=[key]).rows
    got = {
        int((first.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()): count
        for first, count in rows
    }
    wanted: dict[int, int] = {}
    for text in FINE:
        first = int(seconds(text) // step * step)
        wanted[first] = wanted.get(first, 0) + 1
    assert got == wanted


# Declared types, and how a time is written for them.
FINE_TYPES: list[Any] = [
    ("datetime", lambda day, clock, digits: f"{day}T{clock}.{digits}Z"),
    (
        {"type": "datetime", "format": "%d.%m.%Y %H:%M:%S.%f"},
        lambda day, clock, digits: f"{day[8:]}.{day[5:7]}.{day[:4]} {clock}.{digits}",
    ),
    (
        {"type": "datetime", "format": "%Y%m%d%H%M%S%f%z"},
        lambda day, clock, digits: f"{day}{clock}".replace("-", "").replace(":", "") + digits + "Z",
    ),
]


@pytest.mark.parametrize(("type_", "write"), FINE_TYPES)
def test_declared_times_of_nine_digits_are_exact(type_: Any, write: Any) -> None:
    moments = [
        ("1969-12-31", "23:59:59", "999999999"),
        ("1678-01-01", "00:00:00", "0000001"),
        ("2024-01-05", "10:00:00", "5"),
        ("2024-01-05", "10:00:00", "1234567"),
        ("2024-01-05", "10:00:00", "12345671"),
        ("2261-12-31", "23:59:59", "999999999"),
    ]
    content = csv_of([write(*moment) for moment in moments])
    options = {"types": {"t": type_}}
    output = run(content, csv=options, group_by=["t"], output_format="csv")
    assert output.result.columns[0].dtype == "TIMESTAMP_NS"
    assert [text for text, _ in output.rows] == [
        f"{day} {clock}.{digits}" for day, clock, digits in sorted(moments)
    ]
    filters = [{"op": "gt", "column": "t", "value": "2024-01-05T10:00:00.1234567"}]
    assert run(content, csv=options, filters=filters).rows == [[3]]
    hours = [{"op": "truncate", "column": "t", "unit": "hour", "name": "hour"}]
    rows = run(content, csv=options, group_by=hours).rows
    assert [(hour.isoformat(), count) for hour, count in rows] == [
        ("1678-01-01T00:00:00", 1),
        ("1969-12-31T23:00:00", 1),
        ("2024-01-05T10:00:00", 3),
        ("2261-12-31T23:00:00", 1),
    ]


@pytest.mark.parametrize(
    "bad",
    [
        ("1650-01-05", "10:00:00", "5"),
        ("9999-12-31", "23:59:59", "9999999"),
        ("2024-01-05", "10:00:00", "0000000001"),
    ],
)
@pytest.mark.parametrize(("type_", "write"), FINE_TYPES)
def test_declared_times_that_nanoseconds_cannot_hold_are_refused_with_their_line(
    type_: Any, write: Any, bad: tuple[str, str, str]
) -> None:
    fine = ("2024-01-05", "10:00:00", "1234567")
    content = csv_of([write(*fine), write(*bad), write(*fine)])
    options = {"types": {"t": type_}}
    error = refused(content, csv=options, group_by=["t"])
    assert (error.code, line_of(error)) == ("csv-value", 3)
    assert write(*bad) in error.detail
    skipped = run(content, csv=options | {"on_error": "skip"}, group_by=["t"])
    assert [count for _, count in skipped.rows] == [2]
    assert skipped.result.skipped[0].line == 3


@pytest.mark.parametrize(("type_", "write"), FINE_TYPES)
def test_declared_times_of_six_digits_may_be_of_any_year(type_: Any, write: Any) -> None:
    far = [("1650-01-05", "10:00:00", "5"), ("9000-12-31", "10:00:00", "250000")]
    content = csv_of([write(*moment) for moment in far])
    rows = run(content, csv={"types": {"t": type_}}, group_by=["t"]).rows
    assert [moment for moment, _ in rows] == [
        datetime.fromisoformat(f"{day}T{clock}.{digits}") for day, clock, digits in far
    ]


def test_a_date_is_read_from_a_time_of_nine_digits() -> None:
    layout = "%d.%m.%Y %H:%M:%S.%f"
    texts = ["31.12.1969 23:59:59.999999999", "05.01.2024 10:00:00.1234567", "01.02.1500 1:00:00.5"]
    options = {"types": {"t": {"type": "date", "format": layout}}}
    rows = run(csv_of(texts), csv=options, group_by=["t"]).rows
    assert [str(day) for day, _ in rows] == ["1500-02-01", "1969-12-31", "2024-01-05"]


# In ascending order; by code points the order is another.
ZONED = [
    "2023-12-31T23:30:00+14:00",
    "2024-01-01T00:30:00+02:00",
    "2023-12-31 22:30:00.0000001Z",
    "2023-12-31T23:00Z",
    "2023-12-31T10:00:00-13:30",
    "2024-01-01",
]


@pytest.mark.parametrize("descending", [False, True])
def test_rows_are_sorted_by_time_where_their_texts_are_times(descending: bool) -> None:
    assert ZONED == sorted(ZONED, key=seconds) != sorted(ZONED)
    shuffled = [ZONED[place] for place in (3, 0, 5, 2, 4, 1)]
    content = "g,t\n" + "".join(f"{n},{text}\n" for n, text in enumerate(shuffled)) + "9,\n"
    wanted = sorted(ZONED, key=seconds, reverse=descending)
    for op in ("min", "max", "first", "last"):
        rows = run(
            content.encode(),
            group_by=["g"],
            aggregates=[{"op": op, "column": "t", "name": "t"}],
            sort=[{"column": "t", "descending": descending}],
        ).rows
        assert [text for _, text in rows] == [*wanted, None]
    sort = [{"column": "t", "descending": descending}]
    rows = run(content.encode(), group_by=["t"], sort=sort, limit=2).rows
    assert [text for text, _ in rows] == wanted[:2]


def test_rows_are_sorted_by_text_where_one_text_is_not_a_time() -> None:
    rows = run(csv_of([*ZONED, "later"]), group_by=["t"]).rows
    assert [text for text, _ in rows] == sorted([*ZONED, "later"])


def test_equal_times_are_sorted_by_their_texts() -> None:
    same = ["2024-01-01T01:00:00+01:00", "2024-01-01", "2024-01-01T00:00:00Z"]
    rows = run(csv_of(same), group_by=["t"]).rows
    assert [text for text, _ in rows] == sorted(same)


IMPOSSIBLE = [
    "2024-01-05T10:00:00+24:00",
    "2024-01-05 10:00:00-99",
    "0000-01-05T10:00:00Z",
    "0001-01-01T00:30:00+01:00",
    "9999-12-31T23:30:00-01:00",
]
# Python's datetime reads them.
MINUTES = ["2024-01-05T10:00:00+05:60", "2024-01-05T10:00:00-0199"]
EXTREME = [
    "0001-01-01T01:00:00+01:00",
    "9999-12-31T22:59:59.999999-01:00",
    "2024-01-05T10:00:00+23:59",
    "2024-01-05T10:00:00-2359",
    "2024-01-05T10:00:00-14",
]


def in_utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)


def test_times_that_no_calendar_has_are_refused() -> None:
    for text in IMPOSSIBLE:
        with pytest.raises((ValueError, OverflowError)):
            in_utc(text)
    minute = {"op": "truncate", "column": "t", "unit": "minute", "name": "minute"}
    content = csv_of([*IMPOSSIBLE, *MINUTES, *EXTREME])
    wanted = sorted(in_utc(text) for text in EXTREME)
    declared = {"on_error": "skip", "types": {"t": "datetime"}}
    output = run(content, csv=declared, group_by=["t"])
    assert [moment for moment, _ in output.rows] == wanted
    assert [row.line for row in output.result.skipped] == [*range(2, 9)]
    output = run(content, csv={"on_error": "skip"}, group_by=[minute])
    assert [moment for moment, _ in output.rows] == [
        moment.replace(second=0, microsecond=0) for moment in wanted
    ]
    assert output.result.rows_skipped == 7


@pytest.mark.parametrize(
    ("layout", "bad", "good"),
    [
        ("%d.%m.%Y", ["01.01.0000"], ["01.01.0001", "31.12.9999"]),
        ("%Y%m%d", ["00000101"], ["00100101", "01000101"]),
        (
            "%Y-%m-%d %H:%M:%S%z",
            ["2024-01-05 10:00:00+2400", "2024-01-05 10:00:00-01:60",
             "0001-01-01 00:00:00+0001", "9999-12-31 23:59:59-0001"],
            ["0001-01-01 00:01:00+0001", "2024-01-05 10:00:00-2359", "9999-12-31 23:58:59-00:01"],
        ),
    ],
)  # fmt: skip
def test_formatted_times_that_no_calendar_has_are_refused(
    layout: str, bad: list[str], good: list[str]
) -> None:
    # Layouts without a zone are part of the test.
    read = [datetime.strptime(text, layout) for text in good]  # noqa: DTZ007
    wanted = [(each - (each.utcoffset() or timedelta())).replace(tzinfo=None) for each in read]
    for kind in ("datetime", "date"):
        types = {"t": {"type": kind, "format": layout}}
        output = run(csv_of(bad + good), csv={"types": types, "on_error": "skip"}, group_by=["t"])
        assert [each for each, _ in output.rows] == [
            moment if kind == "datetime" else moment.date() for moment in wanted
        ]
        assert [row.line for row in output.result.skipped] == [*range(2, 2 + len(bad))]


DAYS = b"n,day\n1,2024-01-01\n2,\n3,yesterday\n4,2023-12-31T23:00:00-02:00\n5,2022-05-05\n6,later\n"
ORDERED = [
    {"op": "gt", "column": "day", "value": "2023-01-01"},
    {"op": "between", "column": "day", "low": "2023-01-01", "high": "2025-01-01T00:00:00Z"},
]


@pytest.mark.parametrize("condition", ORDERED, ids=["gt", "between"])
def test_a_text_that_is_not_a_time_is_named_with_its_line_where_times_are_compared(
    condition: dict[str, Any],
) -> None:
    total = {"op": "sum", "column": "n", "name": "sum"}
    counted = {"op": "count_if", "filter": condition, "name": "count"}
    for spec in ({"filters": [condition], "aggregates": [total]}, {"aggregates": [counted]}):
        error = refused(DAYS, **spec)
        assert (error.code, line_of(error)) == ("csv-value", 4)
        assert "'day'" in error.detail
        assert "'yesterday'" in error.detail
    skipped = run(DAYS, csv={"on_error": "skip"}, filters=[condition], aggregates=[total])
    assert (skipped.rows, skipped.result.rows_in) == ([[5]], 4)
    assert [(row.line, row.column) for row in skipped.result.skipped] == [(4, "day"), (7, "day")]
    assert "'later'" in skipped.result.skipped[1].reason
    # The remedies of the message.
    nulls = {"null_values": ["yesterday", "later"]}
    assert run(DAYS, csv=nulls, filters=[condition], aggregates=[total]).rows == [[5]]
    texts = {"types": {"day": "text"}}
    in_text = {"gt": 1 + 3 + 4 + 6, "between": 1 + 4}[condition["op"]]
    assert run(DAYS, csv=texts, filters=[condition], aggregates=[total]).rows == [[in_text]]


def test_a_column_without_times_is_not_skipped_as_a_whole_where_times_are_compared() -> None:
    content = b"n,day\n1,01.02.2024\n2,02.02.2024\n"
    error = refused(content, filters=ORDERED[:1])
    assert (error.code, line_of(error)) == ("csv-value", 2)
    error = refused(content, csv={"on_error": "skip"}, filters=ORDERED[:1])
    assert (error.code, "'day'" in error.detail) == ("column-type", True)
