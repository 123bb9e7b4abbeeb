"""Dates and times of Parquet files at their ends, asserted against pyarrow and numpy."""

import io
from datetime import UTC, date, datetime
from typing import Any

import numpy
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.kinds_builtin.dataset.answers import one, parquet, refused, run


def int96(moment: str) -> bytes:
    """A file with a time and a null as INT96: nanoseconds of the day, and the Julian day."""
    days = (numpy.datetime64(moment, "D") - numpy.datetime64("1970-01-01", "D")).astype(int)
    of_day = numpy.datetime64(moment, "us") - numpy.datetime64(moment, "D")
    nanoseconds = int(of_day.astype(int)) * 1000
    value = nanoseconds.to_bytes(8, "little") + int(days + 2_440_588).to_bytes(4, "little")
    placeholder = datetime(2000, 1, 1, tzinfo=UTC).replace(tzinfo=None)
    file = io.BytesIO()
    pq.write_table(
        pa.table({"v": pa.array([placeholder, None], pa.timestamp("us"))}),
        file,
        use_deprecated_int96_timestamps=True,
        use_dictionary=False,
        compression="none",
    )
    # pyarrow does not write times outside of 1677 to 2262.
    written = bytes(8) + (10_957 + 2_440_588).to_bytes(4, "little")
    assert file.getvalue().count(written) == 1
    return file.getvalue().replace(written, value)


@pytest.mark.parametrize(
    "text",
    [
        "1970-01-01T00:00:00",
        "1969-12-31T23:59:59.999999",
        "1677-09-21T00:12:44",
        "2262-04-11T23:47:17",
        "1900-01-01T00:00:00",
        "1582-10-15T00:00:00",
        "1582-10-04T00:00:00",
        "0001-01-01T00:00:00",
        "1000-06-15T12:00:00",
        "2263-01-01T00:00:00",
        "3000-01-01T01:02:03.000004",
        "9999-12-31T23:59:59.999999",
        "2024-02-29T23:59:59",
    ],
)
def test_int96_is_the_moment(text: str) -> None:
    moment = datetime.fromisoformat(text)
    content = int96(text)
    read = pq.read_table(io.BytesIO(content), coerce_int96_timestamp_unit="us")
    assert read["v"].to_pylist() == [moment, None]
    aggregates = [{"op": op, "column": "v", "name": op} for op in ("min", "max", "first", "count")]
    ((*values, count),) = run(content, aggregates=aggregates).rows
    assert [value.replace(tzinfo=None) for value in values] == [moment] * 3
    assert count == 1
    filters = [{"op": "eq", "column": "v", "value": f"{moment.isoformat()}Z"}]
    assert run(content, filters=filters).rows == [[1]]


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/St_Johns", "Asia/Kathmandu", "-09:30"])
def test_times_of_every_unit_and_zone(unit: str, zone: str | None) -> None:
    texts = [
        "1969-12-31T23:59:59",
        "2024-03-31T01:30:00",
        "2024-10-27T01:00:00",
        "2199-01-01T00:00:00",
    ]
    moments = [datetime.fromisoformat(text) for text in texts]
    column = pa.array(moments, pa.timestamp(unit)).cast(pa.timestamp(unit, zone))
    content = parquet(pa.table({"v": column}))
    rows = run(content, group_by=["v"]).rows
    got = [
        (value.astimezone(UTC) if value.tzinfo else value).replace(tzinfo=None) for value, _ in rows
    ]
    assert got == moments
    for place, text in enumerate(texts):
        filters = [{"op": "lt", "column": "v", "value": text}]
        assert run(content, filters=filters).rows == [[place]]
    keys = [{"op": "truncate", "column": "v", "unit": "day", "name": "day"}]
    days = [row[0].replace(tzinfo=None).date() for row in run(content, group_by=keys).rows]
    assert days == [moment.date() for moment in moments]


@pytest.mark.parametrize("output_format", ["csv", "parquet"])
def test_times_with_a_zone_are_grouped_and_written_in_utc(output_format: str) -> None:
    """20:30 in New York is 1:30 of the next day in UTC."""
    moment = datetime(2024, 1, 6, 1, 30, tzinfo=UTC)
    column = pa.array([moment], pa.timestamp("ms", "America/New_York"))
    key = {"op": "truncate", "column": "v", "unit": "day", "name": "day"}
    content = parquet(pa.table({"v": column}))
    output = run(content, group_by=["v", key], output_format=output_format)
    assert [column.dtype for column in output.result.columns[:2]] == ["TIMESTAMP"] * 2
    assert output.result.preview == [["2024-01-06 01:30:00", "2024-01-06 00:00:00", 1]]
    assert list(map(str, output.rows[0][:2])) == ["2024-01-06 01:30:00", "2024-01-06 00:00:00"]


def test_nanoseconds_are_kept_apart() -> None:
    units = [1_700_000_000_000_000_001, 1_700_000_000_000_000_002, -1]
    column = pa.array(units, pa.timestamp("ns"))
    assert one(column, "n_unique") == 3
    assert len(run(parquet(pa.table({"v": column})), group_by=["v"]).rows) == 3


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64()], ids=str)
def test_dates_at_their_ends(kind: pa.DataType) -> None:
    days = [date(1, 1, 1), date(1582, 10, 10), date(1970, 1, 1), date(9999, 12, 31)]
    content = parquet(pa.table({"v": pa.array(days, kind)}))
    got = [row[0] for row in run(content, group_by=["v"]).rows]
    assert [value.date() if isinstance(value, datetime) else value for value in got] == days
    filters = [{"op": "between", "column": "v", "low": "1582-10-10", "high": "1970-01-01"}]
    assert run(content, filters=filters).rows == [[2]]


# Days since 1970 in the years 330518, -290984, -1, 330518, -5876278 and 2024.
FAR_DAYS = [120_000_000, -107_000_000, -719_529, 119_999_999, -2_147_000_000, 20_000, None]


def in_sql(day: numpy.datetime64) -> str:
    """The day as SQL writes it, without a year 0."""
    year, month, of_month = str(day).rsplit("-", 2)
    era = " (BC)" if int(year) < 1 else ""
    return f"{int(year) if int(year) > 0 else 1 - int(year):04}-{month}-{of_month}{era}"


@pytest.mark.parametrize("unit", ["year", "quarter", "month", "week", "day"])
def test_dates_of_any_year_are_truncated(unit: str) -> None:
    table = pa.table({"v": pa.array(FAR_DAYS, pa.int32()).cast(pa.date32())})
    key = {"op": "truncate", "column": "v", "unit": unit, "name": "first"}
    output = run(parquet(table), group_by=[key], output_format="csv")
    assert output.result.columns[0].dtype == "DATE"
    days = numpy.array([day for day in FAR_DAYS if day is not None], "datetime64[D]")
    months = days.astype("datetime64[M]")
    first = {
        "year": days.astype("datetime64[Y]").astype("datetime64[D]"),
        "quarter": (months - months.astype(int) % 3).astype("datetime64[D]"),
        "month": months.astype("datetime64[D]"),
        # 1969-12-29 was a Monday.
        "week": days - (days.astype(int) + 3) % 7,
        "day": days,
    }[unit]
    assert [row[0] for row in output.rows] == [*map(in_sql, sorted(set(first))), ""]


@pytest.mark.parametrize("unit", ["hour", "minute"])
def test_a_date_beyond_the_range_of_times_is_named_where_hours_are_asked_for(unit: str) -> None:
    table = pa.table({"v": pa.array([120_000_000, 1], pa.int32()).cast(pa.date32())})
    key = {"op": "truncate", "column": "v", "unit": unit, "name": "first"}
    error = refused(parquet(table), group_by=[key])
    assert (error.code, "'v'" in error.detail) == ("column-type", True)
    part = {"op": "part", "column": "v", "part": unit, "name": "part"}
    assert run(parquet(table), group_by=[part]).rows == [[0, 2]]


@pytest.mark.parametrize("value", [2**62, -(2**62), 2**63 - 2])
@pytest.mark.parametrize("size", [2, 1])
def test_times_that_microseconds_cannot_hold_matter_only_where_asked_for(
    value: int, size: int
) -> None:
    table = pa.table({"t": pa.array([value, 0], pa.timestamp("ms")), "k": [1, 2]})
    content = parquet(table, row_group_size=size)
    assert run(content, aggregates=[{"op": "sum", "column": "k", "name": "s"}]).rows == [[3]]
    specs: list[dict[str, Any]] = [
        {"aggregates": [{"op": "max", "column": "t", "name": "m"}]},
        {"group_by": ["k", "t"]},
        {"filters": [{"op": "gt", "column": "t", "value": "2024-01-01"}]},
        {"group_by": [{"op": "part", "column": "t", "part": "year", "name": "year"}]},
    ]
    for spec in specs:
        error = refused(content, **spec)
        assert (error.code, "'t'" in error.detail) == ("column-type", True)


def test_a_damaged_page_beside_times_that_microseconds_cannot_hold_is_found() -> None:
    table = pa.table({"t": pa.array([2**62, 0], pa.timestamp("ms")), "k": [1000, 2000]})
    content = parquet(
        table,
        compression="none",
        use_dictionary=False,
        write_page_checksum=True,
        write_statistics=["t"],
    )
    damaged = content.replace((1000).to_bytes(8, "little"), (1001).to_bytes(8, "little"), 1)
    total = [{"op": "sum", "column": "k", "name": "s"}]
    assert run(content, aggregates=total).rows == [[3000]]
    assert refused(damaged, aggregates=total).code == "parquet-broken"


LEAST, GREATEST = -(2**63), 2**63 - 1
ZONES = [None, "UTC", "Asia/Kolkata"]


@pytest.mark.parametrize("unit", ["us", "ns"])
@pytest.mark.parametrize("zone", ZONES)
def test_the_least_integer_of_a_time_is_null_as_in_numpy(unit: str, zone: str | None) -> None:
    """A required column has no other way to hold numpy's NaT."""
    kind = pa.timestamp(unit, zone)
    values = [LEAST, 5_000_000_000_000, LEAST]
    assert numpy.isnat(numpy.array(values, f"datetime64[{unit}]")).tolist() == [True, False, True]
    schema = pa.schema([pa.field("t", kind, nullable=False)])
    content = parquet(pa.table([pa.array(values, kind)], schema=schema))
    moment = numpy.array(values[1], f"datetime64[{unit}]").astype("datetime64[us]").item()
    old = {"op": "lt", "column": "t", "value": "2200-01-01"}
    aggregates = [
        {"op": "count", "name": "rows"},
        {"op": "count", "column": "t", "name": "times"},
        {"op": "min", "column": "t", "name": "min"},
        {"op": "count_if", "filter": {"op": "is_null", "column": "t"}, "name": "nulls"},
        {"op": "count_if", "filter": old, "name": "old"},
    ]
    ((rows, times, least, nulls, old),) = run(content, aggregates=aggregates).rows
    assert (rows, times, least.replace(tzinfo=None), nulls, old) == (3, 1, moment, 2, 1)
    key = {"op": "truncate", "column": "t", "unit": "day", "name": "day"}
    days = run(content, group_by=[key]).rows
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    assert [(each and each.replace(tzinfo=None), count) for each, count in days] == [
        (day, 1),
        (None, 2),
    ]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("value", [LEAST + 1, GREATEST])
@pytest.mark.parametrize(
    "spec",
    [
        {"group_by": [{"op": "truncate", "column": "t", "unit": "day", "name": "day"}]},
        {"group_by": [{"op": "part", "column": "t", "part": "year", "name": "year"}]},
        {"aggregates": [{"op": "max", "column": "t", "name": "x"}]},
    ],
    ids=["truncate", "part", "max"],
)
def test_the_last_integers_of_a_time_are_refused_by_the_columns_name(
    unit: str, value: int, spec: dict[str, Any]
) -> None:
    """DuckDB takes them for infinity."""
    table = pa.table({"k": [1, 2], "t": pa.array([value, 0], pa.timestamp(unit))})
    error = refused(parquet(table), **spec)
    assert (error.code, "'t'" in error.detail) == ("column-type", True)
    assert run(parquet(table), group_by=["k"]).rows == [[1, 1], [2, 1]]


@pytest.mark.parametrize("value", [LEAST + 2, LEAST + 1000, -1, 999, GREATEST - 1])
@pytest.mark.parametrize("unit", ["day", "minute"])
def test_nanoseconds_near_the_ends_are_truncated(value: int, unit: str) -> None:
    content = parquet(pa.table({"t": pa.array([value], pa.timestamp("ns"))}))
    key = {"op": "truncate", "column": "t", "unit": unit, "name": "first"}
    step = {"day": 86_400, "minute": 60}[unit] * 10**9
    wanted = numpy.datetime64(value // step * step // 1000, "us").item()
    ((first, _),) = run(content, group_by=[key]).rows
    assert first.replace(tzinfo=None) == wanted
    part = {"op": "part", "column": "t", "part": unit, "name": "part"}
    ((number, _),) = run(content, group_by=[part]).rows
    assert number == getattr(wanted, unit)
