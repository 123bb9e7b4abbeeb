"""Groups, aggregates, sort and limit."""

import csv
import math
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest

from tests.kinds_builtin.conftest import FolderContext
from tests.kinds_builtin.dataset.conftest import COUNT, NA, SALES, Run, refused, write

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
def test_aggregates_equal_those_calculated_by_hand(
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
def test_parquet_input_gives_the_result_of_csv_input(
    run: Run, flights: Path, tmp_path: Path
) -> None:
    path = tmp_path / "flights.parquet"
    options = pyarrow.csv.ConvertOptions(null_values=["NA"], strings_can_be_null=True)
    table = pyarrow.csv.read_csv(flights, convert_options=options)
    pyarrow.parquet.write_table(table, path)
    spec = {"group_by": ["month"], "aggregates": AGGREGATES}
    from_csv, from_parquet = run(flights, csv=NA, **spec), run(path, **spec)
    assert from_parquet.preview == from_csv.preview
    assert from_parquet.rows_in == from_csv.rows_in == 336_776


def test_rows_are_sorted_by_the_group_keys_before_the_limit_applies(
    run: Run, flights: Path
) -> None:
    result = run(flights, group_by=["carrier"], limit=3)
    assert [row[0] for row in result.preview] == ["9E", "AA", "AS"]
    assert result.rows_out == 3


def test_a_result_without_groups_has_one_row(run: Run) -> None:
    result = run("a,b\n1,2\n3,\n", aggregates=[{"op": "sum", "column": "b", "name": "s"}, *COUNT])
    assert result.preview == [[2, 2]]
    assert [c.model_dump() for c in result.columns] == [
        {"name": "s", "dtype": "BIGINT"},
        {"name": "n", "dtype": "BIGINT"},
    ]


def test_rows_in_counts_all_rows_though_only_the_first_is_used(run: Run, flights: Path) -> None:
    result = run(flights, aggregates=[{"op": "first", "column": "carrier", "name": "c"}])
    assert (result.rows_in, result.preview) == (336_776, [["UA"]])


def test_sums_beyond_64_bits_are_exact(run: Run, job: FolderContext) -> None:
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
def test_derived_keys_group_rows(run: Run, key: dict[str, Any], groups: list[list[Any]]) -> None:
    assert run(SALES, group_by=[key | {"name": "key"}]).preview == groups


def test_bins_are_those_of_decimal_numbers(run: Run) -> None:
    bins = [{"op": "bin", "column": "a", "width": 0.1, "name": "bin"}]
    result = run("a\n0.3\n0.6\n0.7\n0.29\n1.1\n", group_by=bins)
    assert [row[0] for row in result.preview] == [0.2, 0.3, 0.6, 0.7, 1.1]


def test_nanoseconds_before_1970_belong_to_the_year_before(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", t=pyarrow.array([-1], pyarrow.timestamp("ns")))
    key = {"op": "truncate", "column": "t", "unit": "year", "name": "year"}
    assert run(path, group_by=[key]).preview == [["1969-01-01 00:00:00", 1]]


def test_prices_are_compared_by_number_and_keep_their_text(run: Run) -> None:
    extremes = [{"op": op, "column": "price", "name": op} for op in ("min", "max")]
    assert run(SALES, aggregates=extremes).preview == [["1.50", "10.25"]]


def test_the_top_prices_are_those_of_the_greatest_numbers(run: Run) -> None:
    source = "g,p\nx,9.50\ny,10.25\nz,100.10\n"
    top = {"sort": [{"column": "s", "descending": True}], "limit": 1}
    dearest = [{"op": "max", "column": "p", "name": "s"}]
    assert run(source, group_by=["g"], aggregates=dearest, **top).preview == [["z", "100.10"]]
    prices = run(source, group_by=["p"])
    assert [row[0] for row in prices.preview] == ["9.50", "10.25", "100.10"]


def test_times_with_zones_are_compared_in_utc_and_keep_their_text(run: Run) -> None:
    latest = [{"op": "max", "column": "t", "name": "t"}]
    source = "t\n2024-01-01T00:30:00+02:00\n2023-12-31T23:00:00Z\n"
    assert run(source, aggregates=latest).preview == [["2023-12-31T23:00:00Z"]]


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
