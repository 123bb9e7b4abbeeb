"""Types of Parquet columns at their ends, asserted against pyarrow and Python's decimal."""

import math
from collections.abc import Callable
from datetime import time, timedelta
from decimal import Decimal, localcontext
from typing import Any
from uuid import UUID

import numpy
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.kinds_builtin.dataset.answers import COUNT, is_same, one, parquet, refused, run
from tests.kinds_builtin.dataset.oracle import deviation, mean, quantile

EVERY = [
    {"op": op, "column": "v", "name": op}
    for op in ("sum", "mean", "min", "max", "n_unique", "median", "std", "first", "last", "count")
]


# Numbers


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
)
def test_integers_of_every_width_at_their_ends(kind: str) -> None:
    info = numpy.iinfo(kind)
    values = [int(info.max), int(info.min), int(info.max), None, 1]
    known = [value for value in values if value is not None]
    table = pa.table({"v": pa.array(values, getattr(pa, kind)())})
    (row,) = run(parquet(table), aggregates=EVERY).rows
    wanted = [
        sum(known), mean(known), min(known), max(known), 3, quantile(known, 0.5),
        deviation(known), values[0], 1, 4,
    ]  # fmt: skip
    for each, got, value in zip(EVERY, row, wanted, strict=True):
        assert is_same(got, value, text=False), (each, got, value)
    for value in known:
        filters = [{"op": "eq", "column": "v", "value": value}]
        if value < 2**63:
            assert run(parquet(table), filters=filters).rows == [[known.count(value)]]
        filters = [{"op": "eq", "column": "v", "value": str(value)}]
        if value >= 2**63:
            assert run(parquet(table), filters=filters).rows == [[known.count(value)]]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["float16", "float32"])
def test_small_floats_are_added_in_double(kind: str) -> None:
    values = numpy.full(200_000, 0.1, kind)
    exact = math.fsum(values.astype("float64").tolist())
    column = pa.array(values)
    assert one(column, "sum") == pytest.approx(exact, rel=1e-12)
    assert one(column, "mean") == pytest.approx(exact / 200_000, rel=1e-12)
    assert one(pa.array(numpy.ones(100_000, kind)), "sum") == 100_000


def test_float32_beyond_its_own_integers() -> None:
    values = pa.array([2.0**24] + [1.0] * 1000, pa.float32())
    assert one(values, "sum") == 2**24 + 1000
    assert one(pa.array([3e38] * 4, pa.float32()), "sum") == pytest.approx(1.2e39, rel=1e-6)
    assert one(pa.array([3e38] * 4, pa.float32()), "mean") == pytest.approx(3e38, rel=1e-6)


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()], ids=str)
def test_nan_is_a_value_and_the_greatest(kind: pa.DataType) -> None:
    values = numpy.array([1, math.nan, math.inf, -math.inf, math.nan], kind.to_pandas_dtype())
    table = pa.table({"v": pa.array(values, kind), "k": [1, 1, 2, 2, 3]})
    content = parquet(table)
    aggregates = [
        {"op": op, "column": "v", "name": op} for op in ("min", "max", "n_unique", "count")
    ]
    ((low, high, unique, count),) = run(content, aggregates=aggregates).rows
    assert (low, unique, count) == (-math.inf, 4, 5)
    assert math.isnan(high)
    greater = [{"op": "gt", "column": "v", "value": 1e300}]
    assert run(content, filters=greater).rows == [[3]]
    groups = run(content, group_by=["v"]).rows
    assert [count for _, count in groups] == [1, 1, 1, 2]
    assert math.isnan(groups[-1][0])
    output = run(content, group_by=["k"], aggregates=[{"op": "sum", "column": "v", "name": "s"}])
    assert all(math.isnan(total) for _, total in output.rows)
    assert output.result.preview == [[1, None], [2, None], [3, None]]


def test_a_group_of_nulls_alone() -> None:
    table = pa.table({"k": ["a", "a", "b", None], "v": pa.array([None, None, 1, None], pa.int64())})
    rows = run(parquet(table), group_by=["k"], aggregates=EVERY).rows
    assert rows[0] == ["a", None, None, None, None, 0, None, None, None, None, 0]
    assert rows[1][:2] == ["b", 1]
    assert rows[2] == [None, None, None, None, None, 0, None, None, None, None, 0]


@pytest.mark.parametrize("kind", ["int64", "float32", "string", "bool_", "date32", "null"])
def test_a_column_of_nulls_alone(kind: str) -> None:
    column = pa.array([None, None], getattr(pa, kind)())
    content = parquet(pa.table({"v": column, "w": [1, 2]}))
    count = [{"op": op, "column": "v", "name": op} for op in ("count", "n_unique", "min", "first")]
    assert run(content, aggregates=count).rows == [[0, 0, None, None]]
    assert run(content, group_by=["v"]).rows == [[None, 2]]
    assert run(content, filters=[{"op": "is_null", "column": "v"}]).rows == [[2]]


def test_a_file_without_rows() -> None:
    content = parquet(pa.table({"v": pa.array([], pa.int64())}))
    (row,) = run(content, aggregates=EVERY).rows
    assert row == [None, None, None, None, 0, None, None, None, None, 0]
    assert run(content, group_by=["v"]).rows == []


# Decimals


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0, 2, 10, 37, 38])
def test_decimals_of_38_digits(scale: int) -> None:
    with localcontext() as context:
        context.prec = 100
        values = [
            Decimal(n).scaleb(-scale) for n in (10**38 - 1, -(10**38) + 1, 12345, 1, -(10**37))
        ]
        column = pa.array(values, pa.decimal128(38, scale))
        assert one(column, "sum") == sum(values)
        assert one(column, "max") == max(values)
        assert one(column, "n_unique") == len(set(values))
        content = parquet(pa.table({"v": column}))
        for value in values:
            for op, compare in (
                ("eq", Decimal.__eq__),
                ("lt", Decimal.__lt__),
                ("ge", Decimal.__ge__),
            ):
                filters = [{"op": op, "column": "v", "value": f"{value:f}"}]
                wanted = sum(compare(each, value) for each in values)
                assert run(content, filters=filters).rows == [[wanted]], (op, value)


def test_a_sum_of_decimals_beyond_38_digits_is_refused() -> None:
    column = pa.array([Decimal(10**38 - 1)] * 3, pa.decimal128(38, 0))
    spec = [{"op": "sum", "column": "v", "name": "x"}]
    content = parquet(pa.table({"v": column}))
    error = refused(content, aggregates=spec)
    assert (error.code, "csv.types" in error.detail) == ("integer-overflow", False)


@pytest.mark.parametrize("size", [39, 50, 76])
def test_decimals_beyond_38_digits_are_exact_or_an_error(size: int) -> None:
    values = [Decimal(10**size - 1), Decimal(10**size - 2), Decimal(1)]
    content = parquet(
        pa.table({"v": pa.array(values, pa.decimal256(size, 0)), "w": pa.array([1, 2, 3])})
    )
    assert run(content).rows == [[3]]
    assert run(content, aggregates=[{"op": "sum", "column": "w", "name": "s"}]).rows == [[6]]
    for spec in (
        {"group_by": ["v"]},
        {"aggregates": [{"op": "n_unique", "column": "v", "name": "n"}]},
        {"filters": [{"op": "eq", "column": "v", "value": str(10**size - 1)}]},
    ):
        assert refused(content, **spec).code == "column-type"


DEC = pa.array([Decimal("0.10"), Decimal("0.30"), Decimal("1.00"), Decimal("12345678.90"), None])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("op", "value", "rows"),
    [
        ("eq", 0.1, 1),
        ("eq", "0.1", 1),
        ("eq", "0.100", 1),
        ("eq", "0.1000000000000000055", 0),
        ("gt", 0.1, 3),
        ("ge", 0.1, 4),
        ("lt", 0.3, 1),
        ("le", 0.3, 2),
        ("eq", 1, 1),
        ("eq", 12345678.9, 1),
        ("ne", 0.3, 3),
        ("gt", "0.0999999999999999999999999999", 4),
        ("gt", 2**62, 0),
        ("lt", 1e300, 4),
        ("gt", -1e300, 4),
        ("eq", "1e0", 1),
        ("eq", "10e-1", 1),
        ("eq", "1e-1", 1),
        ("gt", "9" * 60, 0),
        ("lt", "0." + "0" * 60 + "1", 0),
    ],
)
def test_decimals_are_compared_exactly(op: str, value: float | str, rows: int) -> None:
    filters = [{"op": op, "column": "v", "value": value}]
    assert run(parquet(pa.table({"v": DEC})), filters=filters).rows == [[rows]]


@pytest.mark.parametrize("value", ["abc", "", " 1", "1 ", "1,0", "1e", "NaN", True])
def test_decimals_are_compared_with_numbers_only(value: bool | str) -> None:
    error = refused(
        parquet(pa.table({"v": DEC})), filters=[{"op": "eq", "column": "v", "value": value}]
    )
    assert (error.code, "'v'" in error.detail) == ("column-type", True)


@pytest.mark.parametrize(
    ("op", "value", "rows"),
    [
        ("eq", 2**53, 1), ("eq", 2**53 + 1, 1), ("gt", 2**53, 2), ("lt", 2**53 + 1, 2), ("gt",
        0.5, 4), ("eq", 0.5, 0),
        ("ge", 2**63 - 1, 1), ("eq", 1.0, 1), ("lt", 1.5, 1), ("lt", 1e20, 4), ("gt", -1e20, 4),
        ("eq", 1e300, 0),
    ],
)  # fmt: skip
def test_integers_are_compared_exactly(op: str, value: float, rows: int) -> None:
    column = pa.array([1, 2**53, 2**53 + 1, 2**63 - 1, None])
    filters = [{"op": op, "column": "v", "value": value}]
    assert run(parquet(pa.table({"v": column})), filters=filters).rows == [[rows]]


# Texts


@pytest.mark.slow
@pytest.mark.parametrize(
    "store",
    [
        pa.array,
        lambda words: pa.array(words, pa.large_string()),
        lambda words: pa.array(words).dictionary_encode(),
        lambda words: pa.array([None if w is None else w.encode() for w in words], pa.binary()),
        lambda words: pa.array(
            [None if w is None else w.encode() for w in words], pa.large_binary()
        ),
    ],
    ids=["string", "large_string", "dictionary", "binary", "large_binary"],
)
def test_texts_however_they_are_stored(store: Callable[[list[str | None]], pa.Array]) -> None:
    words = ["00501", "501", "é", "", None, "NA", "a\x00b", "x" * 5000, "\U0001f600"]
    content = parquet(pa.table({"v": store(words)}))
    keys = [row[0] for row in run(content, group_by=["v"]).rows]
    assert keys == [*sorted(w for w in words if w is not None), None]
    for op, value, wanted in [
        ("eq", "501", 1), ("contains", "50", 2), ("starts_with", "a\x00", 1), ("ends_with",
        "\U0001f600", 1),
        ("contains", "%", 0), ("ge", "é", 2),
    ]:  # fmt: skip
        filters = [{"op": op, "column": "v", "value": value}]
        assert run(content, filters=filters).rows == [[wanted]], (op, value)


def test_binary_that_is_not_text_is_refused_only_where_asked() -> None:
    table = pa.table({"b": pa.array([b"\xff\xfe", b"ok"], pa.binary()), "v": [1, 2]})
    content = parquet(table)
    assert run(content, aggregates=[{"op": "sum", "column": "v", "name": "s"}]).rows == [[3]]
    assert refused(content, group_by=["b"]).code == "column-type"


# Columns that cannot be asked for


def beside() -> dict[str, pa.Array]:
    return {
        "list": pa.array([[1], None, [2, 3]]),
        "struct": pa.array([{"a": 1, "v": 2}, None, {"a": 3, "v": 4}]),
        "map": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
        "list of struct": pa.array([[{"v": 1}], None, []]),
        "uuid": pa.ExtensionArray.from_storage(
            pa.uuid(), pa.array([UUID(int=n).bytes for n in range(3)], pa.binary(16))
        ),
        "time": pa.array([time(1, 2, 3), None, time(23, 59, 59, 999999)]),
        "time32": pa.array([time(1, 2, 3), None, time(23, 59)], pa.time32("ms")),
        "duration": pa.array([timedelta(1), None, timedelta(microseconds=1)]),
        "fixed": pa.array([b"\xff" * 5, None, b"abcde"], pa.binary(5)),
        "float16": pa.array(numpy.array([1, 2, 3], "float16")),
        "decimal256": pa.array([Decimal(10**75), None, Decimal(1)], pa.decimal256(76, 0)),
        "null": pa.nulls(3),
        "empty struct list": pa.array([[], None, []], pa.list_(pa.int8())),
        "nested": pa.array([{"v": [{"v": {"v": 1}}]}, None, {"v": []}]),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", beside())
@pytest.mark.parametrize("first", [True, False])
def test_a_column_of_any_type_beside_the_asked_one(name: str, first: bool) -> None:
    odd = {"odd": beside()[name]}
    plain = {"v": pa.array([1, 2, 4])}
    content = parquet(pa.table(odd | plain if first else plain | odd))
    assert run(content).rows == [[3]]
    assert run(content, aggregates=[{"op": "sum", "column": "v", "name": "s"}]).rows == [[7]]
    assert run(content, group_by=["v"], limit=1).rows == [[1, 1]]
    last = [{"op": "last", "column": "v", "name": "l"}]
    assert run(
        content, aggregates=last, filters=[{"op": "gt", "column": "v", "value": 1}]
    ).rows == [[4]]


@pytest.mark.parametrize("name", ["list", "struct", "map", "list of struct", "nested"])
def test_nested_columns_are_refused_where_asked(name: str) -> None:
    content = parquet(pa.table({"odd": beside()[name]}))
    for spec in (
        {"group_by": ["odd"]},
        {"aggregates": [{"op": "max", "column": "odd", "name": "m"}]},
        {"filters": [{"op": "eq", "column": "odd", "value": "x"}]},
    ):
        error = refused(content, **spec)
        assert error.code == "column-type"
        assert "'odd'" in error.detail


def test_uuids_and_times_are_like_texts() -> None:
    columns = beside()
    content = parquet(pa.table({name: columns[name] for name in ("uuid", "time")}))
    rows = run(content, group_by=["uuid"], output_format="csv").rows
    assert [row[0] for row in rows] == [str(UUID(int=n)) for n in range(3)]
    filters = [{"op": "eq", "column": "uuid", "value": str(UUID(int=1))}]
    assert run(content, filters=filters).rows == [[1]]
    rows = run(content, group_by=["time"], output_format="csv").rows
    assert [row[0] for row in rows] == ["01:02:03", "23:59:59.999999", ""]


# Names


@pytest.mark.slow
@pytest.mark.parametrize("name", ["*", 'a"b', "'; drop table x; --", "c0", "é", "a.b",
"file_row_number", "filename",
                                  "schema", "V", "select", "\n", "COLUMNS(*)", " "])  # fmt: skip
def test_any_column_name(name: str) -> None:
    content = parquet(pa.table({name: ["x", "y", "x"], "v": [1, 2, 3]}))
    output = run(
        content,
        group_by=[name],
        filters=[{"op": "ne", "column": name, "value": "z"}],
        aggregates=[{"op": "sum", "column": "v", "name": "s"}],
    )
    assert (output.names, output.rows) == ([name, "s"], [["x", 4], ["y", 2]])


def test_names_that_differ_only_in_case_are_two_columns() -> None:
    content = parquet(pa.table({"A": [1, 2], "a": [10, 20]}))
    sums = [{"op": "sum", "column": name, "name": f"of {name}{n}"} for n, name in enumerate("Aa")]
    assert run(content, aggregates=sums).rows == [[3, 30]]


def test_the_same_name_twice_is_an_error_and_never_the_wrong_column() -> None:
    table = pa.Table.from_arrays([pa.array([1, 2]), pa.array([10, 20])], names=["a", "a"])
    content = parquet(table)
    assert run(content).rows == [[2]]
    error = refused(content, aggregates=[{"op": "sum", "column": "a", "name": "s"}])
    assert "'a'" in error.detail


# Several sources


def test_sources_of_other_widths_are_added_without_loss() -> None:
    narrow = parquet(pa.table({"v": pa.array([127], pa.int8())}))
    wide = parquet(pa.table({"v": pa.array([2**62], pa.int64())}))
    spec = [{"op": "sum", "column": "v", "name": "s"}]
    for sources in ([narrow, wide], [wide, narrow]):
        assert refused(sources, aggregates=spec).code == "sources-differ"


@pytest.mark.parametrize("other", [{"v": ["x"]}, {"w": [1]}, {"v": [[1]]}, {"v": [True]}], ids=str)
def test_sources_of_other_columns_are_refused(other: dict[str, list[Any]]) -> None:
    sources = [parquet(pa.table({"v": [1]})), parquet(pa.table(other))]
    error = refused(sources, aggregates=[{"op": "sum", "column": "v", "name": "s"}])
    assert error.code.startswith(("column-", "source"))


@pytest.mark.parametrize("op", ["sum", "mean", "min", "max", "median", "std"])
def test_aggregates_equal_those_of_pyarrow(op: str) -> None:
    random = numpy.random.default_rng(7)
    values = pa.array(random.normal(1e6, 1, 5000))
    by_pyarrow: dict[str, Callable[[pa.Array], pa.Scalar]] = {
        "sum": pc.sum,
        "mean": pc.mean,
        "min": pc.min,
        "max": pc.max,
        "median": lambda array: pc.quantile(array, 0.5)[0],
        "std": lambda array: pc.stddev(array, ddof=1),
    }
    assert one(values, op) == pytest.approx(by_pyarrow[op](values).as_py(), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("q", [0, 0.001, 0.25, 0.5, 0.9, 0.999, 1])
def test_quantiles_equal_those_of_numpy(q: float) -> None:
    values = numpy.random.default_rng(7).exponential(100, 10_001)
    exact = float(numpy.quantile(values, q))
    assert one(pa.array(values), "quantile", quantile=q) == pytest.approx(exact, rel=1e-12)
    near = one(pa.array(values), "quantile", quantile=q, approximate=True)
    place = float((values <= near).mean())
    assert abs(place - q) < 0.01


@pytest.mark.slow
def test_many_rows_are_counted_over_row_groups() -> None:
    table = pa.table({"v": range(50_000), "k": [n % 10 for n in range(50_000)]})
    for size in (100, 7919, 50_000):
        rows = run(parquet(table, row_group_size=size), group_by=["k"], aggregates=COUNT).rows
        assert rows == [[key, 5000] for key in range(10)]
