"""Hypothesis strategies: CSV files, Parquet files, and questions about them."""

import gzip
import io
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from tests.kinds_builtin.dataset.oracle_csv import EXACT, Column, Table

NAMES = [
    "*", "^k.*$", 'a"b', "'; drop table x; --", "c0", "c1", "A", "a", "", "line\nbreak",
    "\U0001f600",
    "select", "from t", "rowid", "file_row_number", "filename", "NULL", "a.b", "a,b", "$1", "?",
    "{x}",
    " blank ", "é", "e\u0301", "(x)", "--", "/*", "\\", "%s", "__index__", "1", "true", "n'ame",
    "a;b",
    "COLUMNS(*)", "row_number", "count", "#a", "x" * 200,
]  # fmt: skip

WORDS = [
    "a", "A", "b", "", " ", "NA", "null", "NULL", "nan", "NaN", "inf", "-inf", "-", "n/a", "0x10",
    "1_000",
    "true", "True", "é", "e\u0301", "\U0001f600", "\x00", "a\x00b", "\\", "\\N", "'", '"', '""',
    "a,b",
    "a;b", "a\tb", "a|b", "x\ny", "x\r\ny", "x\ry", "it's", 'say "hi"', "#no", "x" * 3000,
    "\u2028", "٣", "²",
    "%", "_", "a%", "\u0085", "\ufeff", "ß", "ẞ", "\u0131", "; drop", "$1", "1a", "e5", ".", "+",
    "1e",
    "1,5",
]  # fmt: skip
CODES = [
    "00501",
    "501",
    "0501",
    "1E5",
    "100000",
    "1e5",
    "1.10",
    "1.1",
    "+49",
    "49",
    "-0",
    "0",
    "1.",
    ".5",
]
INTEGERS = ["1", "2", "3", "-7", "0", "10", "100", "9007199254740993", "9007199254740992"]
LARGE = [
    "9223372036854775807", "9223372036854775808", "-9223372036854775809", "12345678901234567890",
    "12345678901234567891", "1" * 38, "9" * 38, "-" + "9" * 38, "1" * 39, "1" * 40, "1" * 400,
]  # fmt: skip
USUAL = ["1.5", "0.5", "-2.25", "0.1", "3.25"]
USUAL_WHOLE = ["1.0", "2.0", "-3.0", "0.0", "-0.0"]
NUMBERS = [
    " 7 ",
    "\t8",
    "1.10",
    "1.1",
    "+4",
    "007",
    "-0",
    ".5",
    "5.",
    "1E2",
    "1e-3",
    "1e400",
    "1e-400",
    "0.30",
]
MONEY = [
    "1,234.50",
    "1.234,50",
    "12.5",
    "12,5",
    "1 234",
    "1,234",
    "1.234",
    "1'234",
    "1234",
    "0,5",
    "1,23",
    "12,345,678",
]
DATES = [
    "2024-01-31",
    "2024-02-29",
    "1969-12-31",
    "2023-12-31",
    "2024-12-30",
    "0001-01-01",
    "9999-12-31",
]
MOMENTS = [
    "2024-01-31T12:34:56", "2024-01-31 12:34", "2024-01-31T12:34:56.5",
    "2024-01-31T12:34:56.000001Z",
    "2024-03-31T02:30:00+02:00", "2024-01-01T00:30:00+01:00", "1969-12-31 23:59:59.999999",
    "2024-02-29",
    "2024-12-31T23:00:00-05:30",
]  # fmt: skip
NOT_DATES = [
    "01/02/2024",
    "2024-02-30",
    "2024-1-1",
    "2024-13-01",
    "20240131",
    "31.01.2024",
    "2024-01-31T25:00",
]
POOLS: dict[str, list[str]] = {
    "words": WORDS, "codes": CODES, "integers": INTEGERS, "large": LARGE, "usual": USUAL,
    "usual whole": USUAL_WHOLE, "numbers": NUMBERS, "money": MONEY, "dates": DATES,
    "moments": MOMENTS,
    "booleans": ["true", "false"], "mixed usual": ["1", "2", "0.5", "1.5", "-3"],
}  # fmt: skip
NUMERIC = {"codes", "integers", "large", "usual", "usual whole", "numbers", "mixed usual"}
TYPES = {
    "integers": ["integer", "number", "text", "decimal(20,2)"],
    "large": ["integer", "decimal(38,0)", "text"],
    "usual": ["number", "decimal(10,6)", "text"],
    "mixed usual": ["number", "decimal(3,1)"],
    "numbers": ["number", "decimal(10,2)"],
    "codes": ["text", "number"],
    "money": ["number", "integer", "decimal(12,2)", "text"],
    "booleans": ["boolean", "text"],
    "dates": ["date", "datetime", "text"],
    "moments": ["datetime", "text"],
    "words": ["text"],
}
FORMATS = ["%d.%m.%Y", "%m/%d/%Y", "%Y%m%d", "%d %b %Y"]
TIME_FORMATS = ["%d.%m.%Y %H:%M", "%m/%d/%Y %I:%M %p", "%Y-%m-%dT%H:%M:%S.%f", "%Y%m%d%H%M%S"]


@dataclass
class Csv:
    contents: list[bytes]
    options: dict[str, Any]
    pools: dict[str, str]


def _write(
    draw: st.DrawFn, rows: list[list[str]], separator: str, quote: str, comment: str | None
) -> str:
    ends = draw(st.sampled_from(["\n", "\n", "\r\n", "\r", None]))
    often = draw(st.sampled_from([0, 0, 1, 3]))
    lines = []
    for row in rows:
        fields = []
        for text in row:
            needed = quote != "none" and (
                any(mark in text for mark in (separator, "\n", "\r"))
                or text.startswith(quote)
                or (row is rows[0] and (not text or text.startswith(comment or "\n")))
            )
            field = text
            if needed or (quote != "none" and draw(st.integers(0, 9)) < often):
                field = quote + text.replace(quote, quote * 2) + quote
            elif quote == "none":
                field = text.replace(separator, "_").replace("\n", "_").replace("\r", "_")
            fields.append(field)
        line = separator.join(fields)
        lines.append(line + (ends or draw(st.sampled_from(["\n", "\r\n", "\r"]))))
        if draw(st.integers(0, 19)) == 0:
            lines.append(ends or "\n")
        if comment and draw(st.integers(0, 9)) == 0:
            lines.append(
                comment + draw(st.sampled_from(["", " note", 'a "', "a,b;c"])) + (ends or "\n")
            )
    text = "".join(lines)
    return text.rstrip("\r\n") if draw(st.integers(0, 4)) == 0 else text


@st.composite
def csv_files(draw: st.DrawFn) -> Csv:  # noqa: C901
    options: dict[str, Any] = {}
    separator = draw(st.sampled_from([",", ",", ",", ";", "\t", "|"]))
    if separator != "," or draw(st.booleans()):
        options["separator"] = separator
    quote = draw(st.sampled_from(['"', '"', '"', '"', "'", "none"]))
    if quote != '"':
        options["quote"] = quote
    comment = draw(st.sampled_from([None, None, None, "#", "!"]))
    if comment:
        options["comment"] = comment
    if nulls := draw(st.sampled_from([[], [], ["NA"], ["-", "null"], ["1"], [""], ["NA", " "]])):
        options["null_values"] = nulls
    point, thousands = draw(
        st.sampled_from(
            [(".", None)] * 5 + [(",", None), (",", "."), (".", ","), (".", "'"), (",", " ")]
        )
    )
    if point != ".":
        options["decimal_separator"] = point
    if thousands:
        options["thousands_separator"] = thousands
    if draw(st.integers(0, 3)) == 0:
        options["on_error"] = "skip"
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    encoding = draw(st.sampled_from(["utf-8"] * 6 + ["latin-1", "cp1252", "utf-16"]))
    if encoding != "utf-8":
        options["encoding"] = encoding
    if quote == "none" or encoding in ("latin-1", "cp1252"):
        names = [f"n{n}" for n in range(len(names))]

    pools = {name: draw(st.sampled_from(list(POOLS))) for name in names}
    poison = draw(st.sampled_from([0, 0, 0, 1]))
    moment_formats: dict[str, str] = {}
    types: dict[str, Any] = {}
    for name, pool in pools.items():
        if pool in TYPES and draw(st.integers(0, 2)) == 0:
            types[name] = draw(st.sampled_from(TYPES[pool]))
        elif pool in ("dates", "moments") and draw(st.booleans()):
            kind = "date" if pool == "dates" else "datetime"
            layout = draw(st.sampled_from(FORMATS if pool == "dates" else TIME_FORMATS))
            types[name] = {"type": kind, "format": layout}
            moment_formats[name] = layout
    if types:
        options["types"] = types

    def cell(name: str) -> str:
        if draw(st.integers(0, 7)) == 0:
            return ""
        if poison and draw(st.integers(0, 15)) == 0:
            return draw(st.sampled_from(WORDS + CODES + NOT_DATES))
        if layout := moment_formats.get(name):
            days = draw(st.integers(0, 40000))
            return (datetime(1930, 1, 1) + timedelta(days=days, minutes=days)).strftime(layout)  # noqa: DTZ001
        return draw(st.sampled_from(POOLS[pools[name]]))

    skip_rows = draw(st.sampled_from([0, 0, 0, 1, 2]))
    if skip_rows:
        options["skip_rows"] = skip_rows
    bare = draw(st.integers(0, 4)) == 0
    if bare:
        options["column_names"] = names
    contents = []
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        count = draw(st.integers(1, 9))
        rows = [] if bare else [names]
        rows += [[cell(name) for name in names] for _ in range(count)]
        if poison and len(names) > 1 and draw(st.integers(0, 5)) == 0:
            rows.append(rows[-1][1:] if draw(st.booleans()) else [*rows[-1], "x"])
        text = _write(draw, rows, separator, quote, comment)
        text = "".join(f"title {n}\n" for n in range(skip_rows)) + text
        contents.append(_encode(draw, text, encoding))
    return Csv(contents, options, pools)


def _encode(draw: st.DrawFn, text: str, encoding: str) -> bytes:
    if encoding == "utf-16":
        big = draw(st.booleans())
        return (b"\xfe\xff" if big else b"\xff\xfe") + text.encode(
            "utf-16-be" if big else "utf-16-le"
        )
    content = text.encode(encoding, errors="replace")
    if encoding == "utf-8" and draw(st.integers(0, 5)) == 0:
        content = b"\xef\xbb\xbf" + content
    if draw(st.integers(0, 9)) == 0:
        half = len(content) // 2
        content = gzip.compress(content[:half]) + gzip.compress(content[half:])
    return content


# Questions

COMPARES = ["eq", "ne", "lt", "le", "gt", "ge"]


@dataclass
class Asked:
    """Columns by what may be asked of them; `texts` are values for comparisons."""

    names: list[str]
    numeric: list[str]
    temporal: list[str]
    boolean: list[str]
    values: dict[str, list[Any]]


def asked_of(table: Csv) -> Asked:
    declared = table.options.get("types", {})
    return Asked(
        list(table.pools),
        [
            name
            for name, pool in table.pools.items()
            if (pool in NUMERIC or (pool == "money" and len(table.options) > 1))
            and declared.get(name) != "text"
        ],
        [
            name
            for name, pool in table.pools.items()
            if pool in ("dates", "moments") and declared.get(name) != "text"
        ],
        [
            name
            for name, pool in table.pools.items()
            if pool == "booleans" and declared.get(name) != "text"
        ],
        {name: POOLS[pool] for name, pool in table.pools.items()},
    )


@st.composite
def filters(draw: st.DrawFn, asked: Asked) -> dict[str, Any]:
    kind = draw(st.sampled_from(["null", "text", "text", "number", "number", "truth", "match"]))
    if kind == "number" and asked.numeric:
        name = draw(st.sampled_from(asked.numeric))
        number = st.sampled_from(
            [
                0,
                1,
                2,
                -3,
                1.5,
                0.5,
                0.1,
                100,
                100000,
                501,
                2**53,
                2**53 + 1,
                2**63 - 1,
                -(2**63),
                1e20,
                1e300,
            ]
        )
        return _compare(draw, name, number)
    if kind == "truth" and asked.boolean:
        name = draw(st.sampled_from(asked.boolean))
        return _compare(draw, name, st.booleans())
    name = draw(st.sampled_from(asked.names))
    if kind == "null":
        return {"op": draw(st.sampled_from(["is_null", "is_not_null"])), "column": name}
    texts = st.sampled_from(
        [str(v)[:1000] for v in asked.values[name]] + ["", "a", "1", "2024-01-31"]
    )
    if kind == "match":
        part = draw(texts)
        part = part[: draw(st.integers(0, 3))] if draw(st.booleans()) else part
        return {
            "op": draw(st.sampled_from(["contains", "starts_with", "ends_with"])),
            "column": name,
            "value": part,
        }
    return _compare(draw, name, texts)


def _compare(draw: st.DrawFn, name: str, values: st.SearchStrategy[Any]) -> dict[str, Any]:
    op = draw(st.sampled_from([*COMPARES, "in", "between"]))
    if op == "in":
        return {"op": op, "column": name, "values": draw(st.lists(values, min_size=1, max_size=3))}
    if op == "between":
        return {"op": op, "column": name, "low": draw(values), "high": draw(values)}
    return {"op": op, "column": name, "value": draw(values)}


@st.composite
def questions(draw: st.DrawFn, asked: Asked) -> dict[str, Any]:  # noqa: C901
    spec: dict[str, Any] = {}
    if draw(st.integers(0, 2)) == 0:
        spec["filters"] = draw(st.lists(filters(asked), min_size=1, max_size=2))
    keys: list[Any] = draw(st.lists(st.sampled_from(asked.names), max_size=2, unique=True))
    if asked.temporal and draw(st.integers(0, 2)) == 0:
        name = draw(st.sampled_from(asked.temporal))
        units = ["year", "quarter", "month", "week", "day", "hour", "minute"]
        if draw(st.booleans()):
            keys.append(
                {
                    "op": "truncate",
                    "column": name,
                    "unit": draw(st.sampled_from(units)),
                    "name": "key\n",
                }
            )
        else:
            parts = st.sampled_from([*units, "weekday"])
            keys.append({"op": "part", "column": name, "part": draw(parts), "name": "'key'"})
    if asked.numeric and draw(st.integers(0, 4)) == 0:
        keys.append(
            {
                "op": "bin",
                "column": draw(st.sampled_from(asked.numeric)),
                "width": draw(st.sampled_from([1, 2, 10, 0.5, 0.25, 7])),
                "origin": draw(st.sampled_from([0, 0, 1, -3, 0.5])),
                "name": '"bin"',
            }
        )
    spec["group_by"] = keys
    aggregates: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 4))):
        kinds = ["count", "rows", "min", "max", "n_unique", "first", "last", "count_if"]
        if asked.numeric or asked.boolean:
            kinds += ["sum", "sum", "mean"]
        if asked.numeric:
            kinds += ["median", "std", "quantile"]
        op = draw(st.sampled_from(kinds))
        each: dict[str, Any] = {"op": op, "name": f"{op};{number}"}
        if op == "rows":
            each["op"] = "count"
        elif op == "count_if":
            each["filter"] = draw(filters(asked))
        elif op in ("sum", "mean"):
            each["column"] = draw(st.sampled_from(asked.numeric + asked.boolean))
        elif op in ("median", "std", "quantile"):
            each["column"] = draw(st.sampled_from(asked.numeric))
        else:
            each["column"] = draw(st.sampled_from(asked.names))
        if op == "quantile":
            each["quantile"] = draw(st.sampled_from([0, 0.25, 0.5, 0.9, 1]))
        aggregates.append(each)
    spec["aggregates"] = aggregates
    names = [key if isinstance(key, str) else key["name"] for key in keys]
    names += [each["name"] for each in aggregates]
    if draw(st.integers(0, 2)) == 0:
        columns = draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True))
        spec["sort"] = [{"column": name, "descending": draw(st.booleans())} for name in columns]
    if draw(st.integers(0, 3)) == 0:
        spec["limit"] = draw(st.integers(1, 3))
        if draw(st.booleans()):
            spec["limit_per"] = draw(
                st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)
            )
    spec["output_format"] = draw(st.sampled_from(["parquet", "csv"]))
    return spec


# Parquet


@dataclass
class Parquet:
    contents: list[bytes]
    table: Table
    asked: Asked


def _float32(value: float) -> float:
    return pa.array([value], pa.float32())[0].as_py()  # type: ignore[no-any-return]


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
REALS = [0.0, 1.5, -2.25, 0.1, math.nan, math.inf, -math.inf, 1e10, 3.0]
SAFE = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1))  # noqa: DTZ001


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
    return array.to_pylist()  # type: ignore[no-any-return]


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
