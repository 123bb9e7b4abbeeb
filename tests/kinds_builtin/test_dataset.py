import csv
import gzip
import io
import math
import resource
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import to_json

from app.jobs import JobCancelled, JobError
from tests.kinds_builtin.conftest import FolderContext
from worker.kinds.dataset import DatasetAggregate, DatasetAggregated, aggregate
from worker.kinds.dataset.csv_text import read_csv_text
from worker.kinds.dataset.result import CELL_BYTES, PREVIEW_BYTES
from worker.kinds.dataset.spec import CsvOptions

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Run = Callable[..., DatasetAggregated]
COUNT = [{"op": "count", "name": "n"}]
NA = {"null_values": ["NA"]}


@pytest.fixture
def run(job: FolderContext, tmp_path: Path) -> Run:
    def run(source: Path | str | bytes, **spec: Any) -> DatasetAggregated:
        if not isinstance(source, Path):
            path = tmp_path / "source"
            path.write_bytes(source if isinstance(source, bytes) else source.encode())
            source = path
        spec = {"source": job.give(source), "aggregates": COUNT} | spec
        return aggregate(DatasetAggregate.model_validate(spec), job)

    return run


def write(path: Path, **columns: Any) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def refused(run: Run, source: Path | str | bytes, **spec: Any) -> JobError:
    with pytest.raises(JobError) as caught:
        run(source, **spec)
    assert not caught.value.retryable
    return caught.value


AGGREGATES = [
    {"op": "count", "name": "flights"},
    {"op": "count", "column": "dep_delay", "name": "departed"},
    {"op": "sum", "column": "distance", "name": "miles"},
    {"op": "mean", "column": "dep_delay", "name": "delay"},
    {"op": "min", "column": "dep_delay", "name": "earliest"},
    {"op": "max", "column": "dep_delay", "name": "latest"},
    {"op": "median", "column": "dep_delay", "name": "middle"},
    {"op": "std", "column": "dep_delay", "name": "spread"},
    {"op": "quantile", "column": "dep_delay", "quantile": 0.9, "name": "p90"},
    {"op": "n_unique", "column": "tailnum", "name": "planes"},
    {"op": "first", "column": "tailnum", "name": "first_plane"},
    {"op": "last", "column": "dest", "name": "last_dest"},
]


def by_hand(flights: Path) -> dict[tuple[str, str], list[Any]]:
    """The same by csv, statistics and loops: flights over 500 miles and not to Boston."""
    groups: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    with flights.open(newline="") as file:
        for row in csv.DictReader(file):
            if int(row["distance"]) > 500 and row["dest"] != "BOS":
                groups[row["origin"], row["carrier"]].append(row)
    result = {}
    for key, rows in groups.items():
        delays = sorted(int(row["dep_delay"]) for row in rows if row["dep_delay"] != "NA")
        place = 0.9 * (len(delays) - 1)
        low = delays[math.floor(place)]
        result[key] = [
            len(rows),
            len(delays),
            sum(int(row["distance"]) for row in rows),
            statistics.fmean(delays),
            delays[0],
            delays[-1],
            statistics.median(delays),
            statistics.stdev(delays) if len(delays) > 1 else None,
            low + (place - math.floor(place)) * (delays[math.ceil(place)] - low),
            len({row["tailnum"] for row in rows} - {"NA"}),
            rows[0]["tailnum"] if rows[0]["tailnum"] != "NA" else None,
            rows[-1]["dest"],
        ]
    return result


@pytest.mark.slow
@pytest.mark.parametrize("output", ["parquet", "csv"])
def test_equal_to_the_same_by_hand(
    run: Run, job: FolderContext, flights: Path, output: str
) -> None:
    result = run(
        flights,
        csv=NA,
        filters=[
            {"op": "gt", "column": "distance", "value": 500},
            {"op": "ne", "column": "dest", "value": "BOS"},
        ],
        group_by=["origin", "carrier"],
        aggregates=AGGREGATES,
        sort=[{"column": "flights", "descending": True}],
        output_format=output,
    )

    expected = by_hand(flights)
    assert result.rows_in == 336_776
    assert result.rows_out == len(expected)
    path = job.path(result.file)
    assert result.bytes == path.stat().st_size
    frame = pyarrow.parquet.read_table(path) if output == "parquet" else pyarrow.csv.read_csv(path)
    assert [c.name for c in result.columns] == frame.column_names
    rows = [list(row.values()) for row in frame.to_pylist()]
    for origin, carrier, *values in rows:
        for value, wanted in zip(values, expected.pop((origin, carrier)), strict=True):
            assert value == (pytest.approx(wanted) if isinstance(wanted, float) else wanted)
    assert not expected
    counts = frame["flights"].to_pylist()
    assert counts == sorted(counts, reverse=True)
    assert len(result.preview) == 10
    assert result.preview[0][:3] == rows[0][:3]
    assert any(message.endswith("336,776 rows") for _, message in job.told)
    job.assert_monotone()


@pytest.mark.slow
def test_parquet_in_gives_what_csv_gives(run: Run, flights: Path, tmp_path: Path) -> None:
    path = tmp_path / "flights.parquet"
    options = pyarrow.csv.ConvertOptions(null_values=["NA"], strings_can_be_null=True)
    table = pyarrow.csv.read_csv(flights, convert_options=options)
    pyarrow.parquet.write_table(table, path)
    spec = {"group_by": ["month"], "aggregates": AGGREGATES}
    from_csv, from_parquet = run(flights, csv=NA, **spec), run(path, **spec)
    assert from_parquet.preview == from_csv.preview
    assert from_parquet.rows_in == from_csv.rows_in == 336_776


def test_the_order_is_that_of_the_groups_and_the_limit_comes_last(run: Run, flights: Path) -> None:
    result = run(flights, group_by=["carrier"], limit=3)
    assert [row[0] for row in result.preview] == ["9E", "AA", "AS"]
    assert result.rows_out == 3


def test_without_groups_one_row(run: Run) -> None:
    result = run("a,b\n1,2\n3,\n", aggregates=[{"op": "sum", "column": "b", "name": "s"}, *COUNT])
    assert result.preview == [[2, 2]]
    assert [c.model_dump() for c in result.columns] == [
        {"name": "s", "dtype": "BIGINT"},
        {"name": "n", "dtype": "BIGINT"},
    ]


def test_only_the_first_row_wanted_still_counts_all(run: Run, flights: Path) -> None:
    result = run(flights, aggregates=[{"op": "first", "column": "carrier", "name": "c"}])
    assert (result.rows_in, result.preview) == (336_776, [["UA"]])


TABLE = "word,number,real,flag\napple,1,0.5,true\nBanana,2,1.5,false\n,3,,\ncherry,,2.5,true\n"


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
def test_filters(run: Run, wanted: dict[str, Any], rows: int) -> None:
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


@pytest.mark.parametrize("separator", ["tab", "\t"])
def test_a_tab_is_named_or_itself(run: Run, separator: str) -> None:
    options = {"separator": separator}
    count = [{"op": "sum", "column": "b", "name": "b"}]
    assert run("a\tb\n1\t2\n", csv=options, aggregates=count).preview == [[2]]


def test_declared_types_and_separators(run: Run) -> None:
    source = "day;size\n2013-05-01;007\n2014-05-01;x\n"
    csv_options = {"separator": ";", "types": {"day": "date", "size": "text"}}
    result = run(
        source,
        csv=csv_options,
        filters=[{"op": "lt", "column": "day", "value": "2014-01-01"}],
        aggregates=[
            {"op": "max", "column": "day", "name": "day"},
            {"op": "first", "column": "size", "name": "size"},
        ],
    )
    assert result.preview == [["2013-05-01", "007"]]


def test_a_file_without_a_header(run: Run) -> None:
    source = "AA,1\nUA,2\nAA,3\n"
    result = run(
        source,
        csv={"column_names": ["carrier", "delay"]},
        group_by=["carrier"],
        aggregates=[{"op": "sum", "column": "delay", "name": "delay"}],
    )
    assert result.preview == [["AA", 4], ["UA", 2]]
    error = refused(run, source, group_by=["carrier"])
    assert error.code == "column-unknown"
    assert "csv.column_names" in error.detail


def test_only_an_empty_field_is_null_unless_null_values_says_more(run: Run) -> None:
    spec = {"aggregates": [{"op": "count", "column": "word", "name": "n"}]}
    source = "word,x\nNA,1\n,2\nnil,3\n"
    assert run(source, **spec).preview == [[2]]
    assert run(source, csv={"null_values": ["nil"]}, **spec).preview == [[1]]
    assert run(source, csv={"null_values": ["nil", "NA"]}, **spec).preview == [[0]]


@pytest.mark.parametrize("character", ["a", "é", "\u4e00", "\x01", '"'])
def test_a_preview_is_cut_by_its_bytes(run: Run, tmp_path: Path, character: str) -> None:
    path = tmp_path / "long.parquet"
    write(path, key=[character * 2_000_000, "short"])
    result = run(path, group_by=["key"], sort=[{"column": "key"}])
    ((long, _),) = [row for row in result.preview if row[0] != "short"]
    assert isinstance(long, str)
    assert long.rstrip("…") == character * (len(long) - 1)
    assert CELL_BYTES - 6 <= len(to_json(long)) <= CELL_BYTES
    assert ["short", 1] in result.preview


def test_a_preview_of_wide_rows_has_fewer_of_them(run: Run, tmp_path: Path) -> None:
    columns = {f"c{n}": [f"{row}" + "\x02" * 1000 for row in range(10)] for n in range(99)}
    path = tmp_path / "wide.parquet"
    write(path, key=list(range(10)), **columns)
    firsts = [{"op": "first", "column": name, "name": name} for name in columns]
    result = run(path, group_by=["key"], aggregates=firsts)
    assert result.rows_out == 10
    assert len(result.preview) == 1
    assert len(to_json(result.preview)) <= PREVIEW_BYTES


LIES = {
    "": ("file-empty", "empty"),
    "a,b\n": ("file-empty", "no rows"),
    "\n\n": ("file-empty", "blank"),
    "a,b\n1,2\n3,4,5\n": ("csv-ragged", "Line 3 has 3 fields, but the file has 2 columns"),
    "a,b,c\n1,2,3\n4,5\n": ("csv-ragged", "Line 3 has 2 fields, but the file has 3 columns"),
    "a,b\n1,2\n\n3\n": ("csv-ragged", "Line 4 has 1 field, but"),
    'a,b\n1,"x\ny"\n2\n': ("csv-ragged", "Line 4 has 1"),
    'a,b\n1,"x\n2,3\n': ("csv-quote", "never closed"),
    'a,b\n1,"x"y\n': ("csv-quote", "Line 2"),
    ",".join(f"c{n}" for n in range(1001)) + "\n": (
        "csv-header",
        "1,001 columns, and at most 1,000",
    ),
}


@pytest.mark.parametrize("source", LIES, ids=lambda source: repr(source)[:24])
def test_a_csv_that_lies(run: Run, source: str) -> None:
    error = refused(run, source)
    code, said = LIES[source]
    assert error.code == code
    assert said in error.detail


def test_a_name_that_two_columns_have_is_refused_where_it_is_asked_for(run: Run) -> None:
    source = "a,b,a,,\n1,2,3,,\n"
    assert run(source, group_by=["b"]).preview == [[2, 1]]
    error = refused(run, source, group_by=["a"])
    assert (error.code, "'a'" in error.detail) == ("csv-header", True)


def test_many_columns(run: Run) -> None:
    names = [f"c{n}" for n in range(1000)]
    source = f"{','.join(names)}\n{'1,' * 999}1\n"
    assert run(source, group_by=["c999"]).preview == [[1, 1]]


@pytest.mark.parametrize("field", ["x" * 500_000, '"' + "x" * 500_000 + '"'])
def test_a_long_field(run: Run, field: str) -> None:
    """Longer than the csv module lets one be by itself; what follows has it read all lines."""
    source = f'a,b\n1,{field}\n2,"x\ny"\n'
    assert run(source, group_by=["a"]).preview == [[1, 1], [2, 1]]


def test_a_field_of_many_lines_takes_as_long_as_it_is(tmp_path: Path) -> None:
    """Four times the lines, four times the CPU; were each added to those before, sixteen times."""

    def cpu(lines: int) -> float:
        path = tmp_path / "source"
        path.write_bytes(b'a\n"' + b"\n" * lines + b'"\n')
        begun = time.thread_time()
        text = read_csv_text(path, CsvOptions(), tmp_path, lambda read: None)
        assert text.fault(lambda: None) is None
        return time.thread_time() - begun

    few, many = (min(cpu(lines) for _ in range(3)) for lines in (30_000, 120_000))
    assert many < 8 * few


@pytest.mark.slow
def test_a_short_row_far_down(run: Run) -> None:
    """Beyond the first block, which is read in another way."""
    source = "a,b,c\n" + "1,2,3\n" * 400_000 + "1,2\n" + "1,2,3\n" * 1000
    error = refused(run, source)
    assert error.code == "csv-ragged"
    assert "Line 400,002 has 2 fields" in error.detail


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a,b\n1,2\n1,caf\xe9\n", "Line 3 holds the byte 0xe9"),
        (b"a,caf\xe9\n1,2\n", "Line 1"),
        ("a,b\n1,2\n".encode("utf-16"), "Line 1"),
        (b"a,b\n" + b"1,2\n" * 600_000 + b"1,\xff\n", "Line 600,002 "),
    ],
)
def test_what_is_not_utf8(run: Run, content: bytes, said: str) -> None:
    error = refused(run, content)
    assert error.code == "csv-encoding"
    assert said in error.detail


def test_a_byte_order_mark_is_no_part_of_a_name(run: Run) -> None:
    assert run(b"\xef\xbb\xbfa,b\n1,2\n", group_by=["a"]).preview == [[1, 1]]


@pytest.mark.slow
def test_a_column_that_turns(run: Run) -> None:
    value = "many"
    source = "name,delay\n" + "x,3\n" * 300_000 + f"x,{value}\n" + "x,3\n" * 10
    spec = {"aggregates": [{"op": "sum", "column": "delay", "name": "delay"}]}
    error = refused(run, source, **spec)
    assert error.code == "csv-value"
    assert f"'delay' holds '{value}' in line 300,002" in error.detail
    assert "csv.null_values" in error.detail
    # It is told only of columns that are asked for, and each of its ways out leads out.
    assert run(source).preview == [[300_011]]
    assert run(source, csv={"null_values": [value]}, **spec).preview == [[900_030]]
    skipped = run(source, csv={"on_error": "skip"}, **spec)
    assert (skipped.preview, skipped.rows_skipped) == ([[900_030]], 1)
    assert skipped.skipped[0].line == 300_002


@pytest.mark.parametrize("kind", ["date", "datetime", "boolean"])
def test_a_declared_type_that_does_not_hold(run: Run, kind: str) -> None:
    error = refused(run, "a,b\nlater,1\n", csv={"types": {"a": kind}}, group_by=["a"])
    assert error.code == "csv-value"
    assert "holds 'later' in line 2" in error.detail
    assert "'a'" in error.detail


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
def test_values_that_do_not_fit(run: Run, spec: dict[str, Any], said: str) -> None:
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
def test_types_that_do_not_fit(run: Run, spec: dict[str, Any], said: str) -> None:
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
def test_unknown_columns(run: Run, spec: dict[str, Any]) -> None:
    error = refused(run, TABLE, **spec)
    assert error.code == "column-unknown"
    assert "'nope'" in error.detail
    assert "word, number, real, flag" in error.detail


def test_a_sum_never_wraps_round(run: Run, job: FolderContext) -> None:
    spec = {"aggregates": [{"op": "sum", "column": "a", "name": "total"}]}
    source = f"a,b\n{2**63 - 1},1\n{2**63 - 1},1\n"
    result = run(source, **spec)
    assert result.preview == [["18446744073709551614"]]
    assert pyarrow.parquet.read_table(job.path(result.file)).to_pylist() == [{"total": 2**64 - 2}]
    most = 2**127 - 1
    assert run(f"a\n{most}\n", **spec).preview == [[str(most)]]
    assert refused(run, f"a\n{most}\n{most}\n", **spec).code == "integer-overflow"
    wide = run(source, csv={"types": {"a": "number"}}, **spec)
    assert wide.preview == [[pytest.approx(2.0**64)]]


def broken_parquets(whole: bytes) -> dict[str, bytes]:
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    return {
        "cut": whole[: len(whole) // 2],
        "only its magic": b"PAR1",
        "page": whole[:50] + b"\xff" * 200 + whole[250:],
        "footer": whole[: footer + 5] + b"\xff" * 20 + whole[footer + 25 :],
        "footer length": whole[:-8] + b"\xff\xff\xff\x7fPAR1",
    }


@pytest.mark.parametrize("how", broken_parquets(bytes(600)))
def test_a_broken_parquet(run: Run, tmp_path: Path, how: str) -> None:
    path = write(tmp_path / "whole.parquet", a=range(10_000))
    spec = {"aggregates": [{"op": "sum", "column": "a", "name": "s"}]}
    assert run(path, **spec).preview == [[49_995_000]]
    error = refused(run, broken_parquets(path.read_bytes())[how], **spec)
    assert error.code == "parquet-broken"


def test_a_csv_called_parquet(run: Run) -> None:
    assert refused(run, TABLE, format="parquet").code == "parquet-broken"


def test_nested_columns_are_refused(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "nested.parquet"
    write(path, a=[[1], [2]], b=[1, 2])
    error = refused(run, path, group_by=["a"])
    assert error.code == "column-type"
    assert run(path, group_by=["b"]).rows_out == 2


@pytest.mark.parametrize("at", ["checking", "rows"])
@pytest.mark.slow
def test_cancelled_midway(run: Run, job: FolderContext, tmp_path: Path, at: str) -> None:
    path = tmp_path / "long.csv"
    with path.open("w") as file:
        file.write("key,value\n")
        for start in range(0, 4_000_000, 100_000):
            file.write(
                "".join(f"{n * 7919 % 1_000_003},{n}\n" for n in range(start, start + 100_000))
            )

    cancelled = 0.0

    def midway(fraction: float, message: str) -> bool:
        nonlocal cancelled
        begun = message.endswith("rows") and not message.startswith("0 of")
        cancelled = time.process_time()
        return begun if at == "rows" else message.startswith("checking the rows")

    job.cancel_when = midway
    with pytest.raises(JobCancelled):
        run(path, group_by=["key"], aggregates=[{"op": "median", "column": "value", "name": "m"}])
    assert time.process_time() - cancelled < 0.5
    assert job.told[-1][0] < 0.9
    assert not job.outputs


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
def test_refused_before_it_is_queued(run: Run, spec: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        run(TABLE, **spec)


@given(content=st.binary(max_size=400))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_check_survives_any_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any"
    path.write_bytes(content or b"a")
    try:
        text = read_csv_text(path, CsvOptions(), tmp_path, lambda read: None)
        columns, refusal = text.columns, ""
    except JobError as error:
        columns, refusal = [], error.code
    assert columns or refusal.startswith(("csv-", "file-", "not-a-table"))


SALES = "day,shop,price\n2013-05-06,a,1.50\n2013-05-31,b,10.25\n2013-06-01,a,9.00\n2013-06-01,b,\n"


@pytest.mark.parametrize(
    ("key", "groups"),
    [
        (
            {"op": "truncate", "column": "day", "unit": "month"},
            [["2013-05-01", 2], ["2013-06-01", 2]],
        ),
        (
            {"op": "truncate", "column": "day", "unit": "week"},
            [["2013-05-06", 1], ["2013-05-27", 3]],
        ),
        ({"op": "part", "column": "day", "part": "weekday"}, [[1, 1], [5, 1], [6, 2]]),
        ({"op": "part", "column": "day", "part": "year"}, [[2013, 4]]),
        ({"op": "bin", "column": "price", "width": 5}, [[0, 1], [5, 1], [10, 1], [None, 1]]),
        ({"op": "bin", "column": "price", "width": 10, "origin": -1}, [[-1, 1], [9, 2], [None, 1]]),
    ],
)
def test_derived_keys(run: Run, key: dict[str, Any], groups: list[list[Any]]) -> None:
    assert run(SALES, group_by=[key | {"name": "key"}]).preview == groups


def test_the_order_of_prices_is_that_of_numbers_and_their_texts_stay(run: Run) -> None:
    extremes = [{"op": op, "column": "price", "name": op} for op in ("min", "max")]
    assert run(SALES, aggregates=extremes).preview == [["1.50", "10.25"]]


def test_declared_decimals_are_exact(run: Run) -> None:
    options = {"types": {"price": "decimal(6,2)"}}
    total = [{"op": "sum", "column": "price", "name": "total"}]
    result = run(SALES, csv=options, aggregates=total)
    assert (result.preview, result.columns[0].dtype) == ([["20.75"]], "DECIMAL(38,2)")
    assert refused(run, "price\n1.234\n", csv=options, aggregates=total).code == "csv-value"


def test_count_if_counts_the_rows_of_a_group_that_pass(run: Run) -> None:
    dear = {"op": "count_if", "filter": {"op": "gt", "column": "price", "value": 5}, "name": "n"}
    assert run(SALES, group_by=["shop"], aggregates=[dear]).preview == [["a", 1], ["b", 1]]


def test_a_limit_per_group_keeps_the_first_rows_of_each(run: Run) -> None:
    result = run(
        SALES,
        group_by=["shop", "day"],
        aggregates=[{"op": "max", "column": "day", "name": "last"}],
        sort=[{"column": "last", "descending": True}],
        limit=1,
        limit_per=["shop"],
    )
    assert [row[:2] for row in result.preview] == [["a", "2013-06-01"], ["b", "2013-06-01"]]


def test_an_approximate_quantile_is_near_the_exact_one(run: Run, flights: Path) -> None:
    quantile = {"op": "quantile", "column": "distance", "quantile": 0.5}
    exact, near = quantile | {"name": "exact"}, quantile | {"name": "near", "approximate": True}
    ((wanted, found),) = run(flights, csv=NA, aggregates=[exact, near]).preview
    assert wanted == pytest.approx(found, rel=0.02)


def test_several_sources_are_one_table(run: Run, job: FolderContext, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.write_text("price;shop;day\n3;c;2013-07-01\n")
    spec = {"more_sources": [job.give(more)], "group_by": ["shop"]}
    assert run(SALES, **spec).preview == [["a", 2], ["b", 2], ["c", 1]]
    more.write_text("price,day\n3,2013-07-01\n")
    error = refused(run, SALES, **spec)
    assert (error.code, "'shop'" in error.detail) == ("sources-differ", True)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1252", "utf-16"])
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_encodings_and_compressions(run: Run, encoding: str, compression: str) -> None:
    compress: dict[str, Callable[[bytes], bytes]] = {
        "none": bytes,
        "gzip": gzip.compress,
        "zstd": zstd.compress,
    }
    content = compress[compression]("naïve;n\r\nfaçade;1\r\n".encode(encoding))
    result = run(content, csv={"encoding": encoding}, group_by=["naïve"])
    assert result.preview == [["façade", 1]]
    assert result.csv is not None
    assert (result.csv.separator, result.csv.compression) == (";", compression)


def test_separators_of_numbers(run: Run) -> None:
    options = {"decimal_separator": ",", "thousands_separator": ".", "separator": ";"}
    total = [{"op": "sum", "column": "a", "name": "total"}]
    assert run("a;b\n1.234,5;x\n-12,5;y\n", csv=options, aggregates=total).preview == [[1222.0]]
    assert refused(run, "a;b\n1.23,5;x\n", csv=options, aggregates=total).code == "csv-value"


@pytest.mark.parametrize("names", [["*", "^k.*$"], ['a"b', "'; drop table answer; --"], ["A", "a"]])
def test_any_name_is_a_name(run: Run, job: FolderContext, names: list[str]) -> None:
    file = io.StringIO()
    csv.writer(file).writerows([names, ["1", "x"], ["2", "y"]])
    result = run(file.getvalue(), group_by=names, output_format="csv")
    assert result.preview == [[1, "x", 1], [2, "y", 1]]
    with job.path(result.file).open(newline="") as written:
        assert next(csv.reader(written)) == [*names, "n"]


def test_bins_are_those_of_decimal_numbers(run: Run) -> None:
    bins = [{"op": "bin", "column": "a", "width": 0.1, "name": "bin"}]
    result = run("a\n0.3\n0.6\n0.7\n0.29\n1.1\n", group_by=bins)
    assert [row[0] for row in result.preview] == [0.2, 0.3, 0.6, 0.7, 1.1]


def test_numbers_that_double_precision_would_merge_are_refused(run: Run) -> None:
    source = f"a\n{2**53}\n{2**53 + 1}\n1.5\n"
    wanted = [{"op": "eq", "column": "a", "value": 2**53 + 1}]
    assert refused(run, source, filters=wanted).code == "column-type"
    options = {"types": {"a": "decimal(20,1)"}}
    assert run(source, csv=options, filters=wanted).preview == [[1]]


@pytest.mark.parametrize(
    ("value", "rows"),
    [
        ("2024-01-01T00:00:00.123456789", 1),
        ("2024-01-01T00:00:00.123456788", 0),
        ("9999-12-31", 0),
    ],
)
def test_a_filter_has_nanoseconds(run: Run, tmp_path: Path, value: str, rows: int) -> None:
    times = pyarrow.array([1704067200123456789, 1704067200123456000], pyarrow.timestamp("ns"))
    path = write(tmp_path / "times.parquet", t=times)
    assert run(path, filters=[{"op": "eq", "column": "t", "value": value}]).preview == [[rows]]
    assert run(path, filters=[{"op": "lt", "column": "t", "value": "3000-01-01"}]).preview == [[2]]


def test_a_date_is_not_compared_with_texts_of_another_format(run: Run) -> None:
    wanted = [{"op": "ge", "column": "d", "value": "2024-01-01"}]
    assert refused(run, "d\n1/2/2024\n12/31/2023\n", filters=wanted).code == "column-type"
    zones = "d\n2024-01-01T02:00:00+05:00\n2023-12-31T23:00:00-05:00\n"
    assert run(zones, filters=wanted).preview == [[1]]


def test_the_decimal_separator_is_not_sniffed_as_the_fields_separator(run: Run) -> None:
    options = {"decimal_separator": ",", "column_names": ["a", "b"]}
    total = [{"op": "sum", "column": "b", "name": "total"}]
    assert run("1;2,5\n3;4,5\n", csv=options, aggregates=total).preview == [[7.0]]


def test_a_fault_of_one_of_several_sources_names_it(
    run: Run, job: FolderContext, tmp_path: Path
) -> None:
    more = tmp_path / "more"
    more.write_text("a,b\n1,2\n3\n")
    error = refused(run, "a,b\n1,2\n", more_sources=[job.give(more)])
    assert error.detail.startswith("Source 2: line 3 has 1 field, but the file has 2 columns")


def test_rows_of_another_width_cost_no_memory(run: Run) -> None:
    """They were 1.2 GB where DuckDB made an error of each."""
    source = "a,b\n" + "1,2,3\n" * 100_000 + "1,2\n"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "Line 2 has 3 fields" in refused(run, source).detail
    skipped = run(source, csv={"on_error": "skip"})
    assert (skipped.rows_in, skipped.rows_skipped, len(skipped.skipped)) == (1, 100_000, 10)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


@pytest.mark.parametrize(
    ("format_", "said"),
    [
        ("%Y-%m", "a day"),
        ("%Y-%m-%d %I:%M", "%I and %p"),
        ("%y/%Y/%m/%d", "say the same"),
        ("%Y-%j %d", "say the same"),
        ("%Y %q", "not supported"),
    ],
)
def test_a_format_leaves_nothing_to_guess(run: Run, format_: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        run("d\nx\n", csv={"types": {"d": {"type": "date", "format": format_}}})


def test_the_top_prices_are_those_of_the_greatest_numbers(run: Run) -> None:
    source = "g,p\nx,9.50\ny,10.25\nz,100.10\n"
    top = {"sort": [{"column": "s", "descending": True}], "limit": 1}
    dearest = [{"op": "max", "column": "p", "name": "s"}]
    assert run(source, group_by=["g"], aggregates=dearest, **top).preview == [["z", "100.10"]]
    prices = run(source, group_by=["p"])
    assert [row[0] for row in prices.preview] == ["9.50", "10.25", "100.10"]


def test_the_usual_form_of_a_number_is_that_of_the_options(run: Run) -> None:
    options = {"decimal_separator": ",", "thousands_separator": ".", "separator": ";"}
    extremes = [{"op": op, "column": "p", "name": op} for op in ("min", "max")]
    result = run("p;q\n1.234;1\n999;1\n", csv=options, aggregates=extremes)
    assert result.preview == [["999", "1.234"]]


def test_the_latest_of_times_with_zones(run: Run) -> None:
    latest = [{"op": "max", "column": "t", "name": "t"}]
    source = "t\n2024-01-01T00:30:00+02:00\n2023-12-31T23:00:00Z\n"
    assert run(source, aggregates=latest).preview == [["2023-12-31T23:00:00Z"]]


def test_nanoseconds_before_1970_belong_to_the_year_before(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", t=pyarrow.array([-1], pyarrow.timestamp("ns")))
    key = {"op": "truncate", "column": "t", "unit": "year", "name": "year"}
    assert run(path, group_by=[key]).preview == [["1969-01-01 00:00:00", 1]]
