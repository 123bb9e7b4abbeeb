"""Random Parquet files."""

import io
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from tests.kinds_builtin.dataset.csv_tables import NAMES, WORDS
from tests.kinds_builtin.dataset.oracle_csv import EXACT, Column, Table
from tests.kinds_builtin.dataset.questions import Asked


@dataclass
class Parquet:
    contents: list[bytes]
    table: Table
    asked: Asked


def _float32(value: float) -> float:
    return float(numpy.float32(value))


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
REALS = [0.0, 1.5, -2.25, 0.1, math.nan, math.inf, -math.inf, 1e10, 3.0]
SAFE = st.datetimes(datetime.fromisoformat("1900-01-01"), datetime.fromisoformat("2200-01-01"))


@st.composite
def parquet_columns(draw: st.DrawFn, rows: int) -> tuple[pa.Array, str]:
    """An array, and the kind of its values."""

    def some(values: st.SearchStrategy[Any]) -> list[Any]:
        pool = draw(st.lists(values, min_size=1, max_size=5))
        return [draw(st.sampled_from([*pool, None])) for _ in range(rows)]

    kind = draw(
        st.sampled_from(
            ["int", "int", "uint", "float", "decimal", "text", "bool", "date", "time", "time"]
        )
    )
    if kind in ("int", "uint"):
        width = draw(st.sampled_from([8, 16, 32, 64]))
        low, high = (
            (0, 2**width - 1) if kind == "uint" else (-(2 ** (width - 1)), 2 ** (width - 1) - 1)
        )
        near = st.sampled_from([low, high, 0, 1, 2, 3])
        numbers = some(near | st.integers(low, high))
        return pa.array(numbers, getattr(pa, f"{kind}{width}")()), "integer"
    if kind == "float":
        if draw(st.booleans()):
            reals = some(st.sampled_from([_float32(v) for v in REALS]))
            return pa.array(reals, pa.float32()), "number"
        return pa.array(some(st.sampled_from(REALS)), pa.float64()), "number"
    if kind == "decimal":
        precision, scale = draw(
            st.sampled_from([(4, 2), (9, 0), (18, 6), (30, 2), (38, 0), (38, 10)])
        )
        unscaled = st.sampled_from(
            [0, 1, -1, 10**precision - 1, -(10**precision) + 1]
        ) | st.integers(-(10**precision) + 1, 10**precision - 1)
        digits = some(unscaled.map(lambda n: Decimal(n).scaleb(-scale, context=EXACT)))
        return pa.array(digits, pa.decimal128(precision, scale)), "decimal"
    if kind == "text":
        words = some(st.sampled_from([w for w in WORDS if len(w) < 100]))
        stored = draw(st.sampled_from(["string", "large", "dictionary", "binary", "view"]))
        array = pa.array(words, pa.string())
        if stored == "dictionary":
            return array.dictionary_encode(), "text"
        to = {
            "string": pa.string(),
            "large": pa.large_string(),
            "binary": pa.binary(),
            "view": pa.string(),
        }
        return array.cast(to[stored]), "text"
    if kind == "bool":
        return pa.array(some(st.booleans()), pa.bool_()), "boolean"
    if kind == "date":
        days = some(st.dates(date(1, 1, 1), date(9999, 12, 31)))
        return pa.array(days, pa.date32()), "date"
    unit = draw(st.sampled_from(["s", "ms", "us", "ns"]))
    zone = draw(st.sampled_from([None, None, "UTC", "Europe/Vienna", "+05:30"]))
    step = {"s": 1_000_000, "ms": 1000, "us": 1, "ns": 1}[unit]
    each = 1000 if unit == "ns" else 1
    micros = some(
        SAFE.map(lambda m: (m.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=step))
    )
    units = [None if m is None else m * each for m in micros]
    return pa.array(units, pa.int64()).cast(pa.timestamp(unit, zone)), "datetime"


def python_values(array: pa.Array, kind: str) -> list[Any]:
    if kind == "datetime":
        naive = array.cast(pa.timestamp("us", array.type.tz)).cast(pa.int64()).to_pylist()
        return [
            None if n is None else (EPOCH + timedelta(microseconds=n)).replace(tzinfo=None)
            for n in naive
        ]
    if pa.types.is_binary(array.type):
        return [None if v is None else v.decode() for v in array.to_pylist()]
    return list(array.to_pylist())


@st.composite
def parquet_files(draw: st.DrawFn) -> Parquet:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    rows = draw(st.integers(0, 12))
    arrays = {name: draw(parquet_columns(rows)) for name in names}
    table = pa.table({name: array for name, (array, _) in arrays.items()})
    cuts = draw(st.sampled_from([1, 1, 1, 2])) if rows > 1 else 1
    parts = [table] if cuts == 1 else [table.slice(0, rows // 2), table.slice(rows // 2)]
    contents = []
    for each in parts:
        file = io.BytesIO()
        pq.write_table(
            each,
            file,
            row_group_size=draw(st.sampled_from([1, 3, 100])),
            compression=draw(st.sampled_from(["none", "snappy", "zstd", "gzip", "brotli", "lz4"])),
            data_page_version=draw(st.sampled_from(["1.0", "2.0"])),
            use_dictionary=draw(st.booleans()),
            write_statistics=draw(st.booleans()),
            write_page_checksum=draw(st.booleans()),
            store_schema=draw(st.booleans()),
        )
        contents.append(file.getvalue())
    columns = {
        name: Column(kind, python_values(array, kind)) for name, (array, kind) in arrays.items()
    }
    of = {
        kind: [n for n, c in columns.items() if c.type == kind]
        for kind in ("boolean", "date", "datetime")
    }
    asked = Asked(
        names,
        [n for n, c in columns.items() if c.type in ("integer", "number", "decimal")],
        of["date"] + of["datetime"],
        of["boolean"],
        {
            n: [v.isoformat() if isinstance(v, date) else v for v in c.values if v is not None]
            for n, c in columns.items()
        },
    )
    return Parquet(contents, Table(columns, rows), asked)
