"""Columns as queries use them, whatever the file's format."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from app.jobs import JobError
from worker.kinds.dataset.spec import (
    MAX_DIGITS,
    Aggregate,
    Bin,
    Compare,
    Count,
    CountIf,
    DatasetAggregate,
    Filter,
    Match,
    Null,
    OneOf,
    Reduce,
)

Kind = Literal["text", "boolean", "integer", "decimal", "float", "date", "datetime", "nested"]
# How a query reads a column: its values are shown (key), ordered (min and max), counted (distinct)
# or calculated with (number, and sum, which takes booleans too); they are compared with booleans,
# with texts, with texts or times by their order; or only its nulls matter.
Use = Literal[
    "key",
    "order",
    "number",
    "sum",
    "boolean",
    "moment",
    "text",
    "text order",
    "moment order",
    "distinct",
    "null",
]

INTEGERS = {
    "TINYINT": (-(2**7), 2**7 - 1),
    "SMALLINT": (-(2**15), 2**15 - 1),
    "INTEGER": (-(2**31), 2**31 - 1),
    "BIGINT": (-(2**63), 2**63 - 1),
    "HUGEINT": (-(2**127), 2**127 - 1),
    "UTINYINT": (0, 2**8 - 1),
    "USMALLINT": (0, 2**16 - 1),
    "UINTEGER": (0, 2**32 - 1),
    "UBIGINT": (0, 2**64 - 1),
    "UHUGEINT": (0, 2**128 - 1),
}
KINDS: dict[str, Kind] = {
    "FLOAT": "float",
    "DOUBLE": "float",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIMESTAMP": "datetime",
    "TIMESTAMP_NS": "datetime",
    "VARCHAR": "text",
}
# Types that queries read as another one.
CONVERTED = {
    "TIMESTAMP WITH TIME ZONE": ("({} AT TIME ZONE 'UTC')", "TIMESTAMP"),
    '"NULL"': ("CAST({} AS INTEGER)", "INTEGER"),
    "TIMESTAMPTZ_NS": ("({} AT TIME ZONE 'UTC')", "TIMESTAMP_NS"),
    "TIMESTAMP_S": ("CAST({} AS TIMESTAMP)", "TIMESTAMP"),
    "TIMESTAMP_MS": ("CAST({} AS TIMESTAMP)", "TIMESTAMP"),
    "JSON": ("CAST({} AS VARCHAR)", "VARCHAR"),
    "UUID": ("CAST({} AS VARCHAR)", "VARCHAR"),
    "TIME": ("CAST({} AS VARCHAR)", "VARCHAR"),
    "TIME_NS": ("CAST({} AS VARCHAR)", "VARCHAR"),
    "TIME WITH TIME ZONE": ("CAST({} AS VARCHAR)", "VARCHAR"),
}
# The type of decimals that DuckDB would read as doubles, and so merge some.
LONG_DECIMAL = "DECIMAL OF "
# A time to the microsecond, and the digits of its second behind them, which have no end.
EXACT_MOMENT = "STRUCT(TIMESTAMP, VARCHAR)"
DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")


@dataclass(frozen=True, slots=True)
class Value:
    """An SQL expression and the type of its values.

    `low` and `high` bound what an exact number can be, in units of its last place. `exact` is the
    text of a float from which its value and order are known exactly (see `digits`), and `rounds`
    says whether comparisons need it for all values.
    """

    sql: str
    kind: Kind
    type: str
    scale: int = 0
    low: int = 0
    high: int = 0
    exact: str = ""
    rounds: bool = False


# Dates and times by ISO 8601 in a filter.
ISO = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?", re.ASCII)
VALUE_KINDS: dict[type, Use] = {bool: "boolean", int: "number", float: "number", str: "text"}


def typed(sql: str, name: str) -> Value:
    """The expression `sql`, which has DuckDB's type `name`."""
    if name in INTEGERS:
        low, high = INTEGERS[name]
        return Value(sql, "integer", name, 0, low, high)
    if decimal := DECIMAL.fullmatch(name):
        most = 10 ** int(decimal[1]) - 1
        return Value(sql, "decimal", name, int(decimal[2]), -most, most)
    if name in KINDS:
        return Value(sql, KINDS[name], name)
    if name in CONVERTED:
        conversion, type_ = CONVERTED[name]
        return typed(conversion.format(sql), type_)
    if name.startswith("ENUM("):
        return Value(f"CAST({sql} AS VARCHAR)", "text", "VARCHAR")
    return Value(sql, "nested", name)


class Table(Protocol):
    """A table whose rows `source` yields; names are those of the file, case and all."""

    rows: int
    source: str
    # Added to errors about a column's type: where the user can change it.
    hint: str

    def value(self, name: str, use: Use) -> Value:
        """The column as a query uses it."""
        ...

    def sorted_by(self, name: str, column: str) -> list[str]:
        """Sort keys of values of the column `name` that the result has in `column`.

        They come before the values themselves.
        """
        ...

    def extreme(self, name: str, op: str) -> Value:
        """The least (`min`) or greatest (`max`) value of the column, an aggregate."""
        ...


def uses(spec: DatasetAggregate) -> dict[str, set[Use]]:
    """Every column that a specification names, with its uses."""
    found: dict[str, set[Use]] = {}
    for name, use, _ in _uses(spec):
        found.setdefault(name, set()).add(use)
    return found


def check_known(spec: DatasetAggregate, columns: list[str], hint: str = "") -> None:
    for name, _, where in _uses(spec):
        if name not in columns:
            raise unknown_column(name, columns, where, hint)


def _uses(spec: DatasetAggregate) -> Iterable[tuple[str, Use, str]]:
    for key in spec.group_by:
        if isinstance(key, str):
            yield key, "key", "group_by"
        else:
            yield key.column, "number" if isinstance(key, Bin) else "moment", "group_by"
    for condition in spec.filters:
        yield condition.column, filter_use(condition), "filters"
    for item in spec.aggregates:
        if isinstance(item, CountIf):
            yield item.filter.column, filter_use(item.filter), "aggregates"
        elif item.column is not None:
            yield item.column, aggregate_use(item), "aggregates"


def aggregate_use(item: Aggregate) -> Use:
    if isinstance(item, Count):
        return "null"
    if isinstance(item, Reduce):
        found: dict[str, Use] = {
            "sum": "sum",
            "mean": "sum",
            "min": "order",
            "max": "order",
            "first": "key",
            "last": "key",
            "n_unique": "distinct",
        }
        return found.get(item.op, "number")
    return "number"


def filter_use(item: Filter) -> Use:
    match item:
        case Null():
            return "null"
        case Match():
            return "text"
        case Compare():
            values, equality = [item.value], item.op in ("eq", "ne")
        case OneOf():
            values, equality = item.values, True
        case _:
            values, equality = [item.low, item.high], False
    kinds = {VALUE_KINDS[type(value)] for value in values}
    if len(kinds) > 1:
        shown = ", ".join(repr(value)[:40] for value in values[:3])
        raise JobError(
            "column-type",
            f"Column {item.column!r} is compared with values of several types ({shown}): give "
            "values of one type.",
        )
    kind = kinds.pop()
    if kind != "text" or equality:
        return kind
    return "moment order" if all(_is_moment(str(value)) for value in values) else "text order"


def _is_moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return ISO.fullmatch(text) is not None


def wrong_type(name: str, value: Value, fault: str) -> JobError:
    return JobError("column-type", f"Column {name[:80]!r} ({value.type[:80]}) {fault}.")


def not_single(name: str, value: Value, op: str) -> JobError:
    """The error of a column whose type no single value of a query can have."""
    if value.type.startswith(LONG_DECIMAL):
        return wrong_type(
            name, value, f"has more than {MAX_DIGITS} digits, the most that {op} reads"
        )
    return wrong_type(name, value, f"is nested: {op} needs single values")


def unknown_column(name: str, columns: list[str], where: str, hint: str = "") -> JobError:
    known = ", ".join(columns[:50]) + (", ..." if len(columns) > 50 else "")
    return JobError(
        "column-unknown", f"{where}: the file has no column {name!r}; it has {known[:1000]}.{hint}"
    )
