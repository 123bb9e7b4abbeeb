"""Translates a specification to SQL: identifiers are generated, values are parameters."""

import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Context, Decimal, localcontext
from typing import Literal

from app.jobs import JobError
from worker.kinds.dataset import digits
from worker.kinds.dataset.bins import lower_end
from worker.kinds.dataset.columns import (
    EXACT_MOMENT,
    Table,
    Value,
    filter_use,
    not_single,
    wrong_type,
)
from worker.kinds.dataset.faults import DOUBLE_OVERFLOW
from worker.kinds.dataset.quantiles import approximate
from worker.kinds.dataset.spec import (
    Aggregate,
    Between,
    Bin,
    Compare,
    Count,
    CountIf,
    DatasetAggregate,
    DatePart,
    DerivedKey,
    Filter,
    Match,
    Null,
    OneOf,
    Quantile,
    Reduce,
    Truncate,
)
from worker.kinds.dataset.values import SAFE_DIGITS

Op = Literal["eq", "ne", "lt", "le", "gt", "ge"]
SQL: dict[str, str] = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
# Parts that date_part names differently.
PART = {"weekday": "isodow"}
# The first day of a date's unit. date_trunc makes a TIMESTAMP of it, which has fewer years.
FIRST_DAY = {
    "year": "make_date(year({0}), 1, 1)",
    "quarter": "make_date(year({0}), CAST(3 * quarter({0}) - 2 AS BIGINT), 1)",
    "month": "make_date(year({0}), month({0}), 1)",
    "week": "{0} - CAST(isodow({0}) - 1 AS INTEGER)",
    "day": "{0}",
}
# The range of TIMESTAMP_NS in whole years.
NANOSECONDS = datetime.fromisoformat("1678-01-01"), datetime.fromisoformat("2262-01-01")
# Integers whose sum, however many they are, has at most 128 bits.
SHORT_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}
# Digits of decimals whose sum, of as many rows as a file may have, has at most 128 bits.
MEAN_DIGITS = 28
# Digits of a second behind the sixth, which Python's datetime drops.
FRACTION = re.compile(r"[.,]\d{6}(\d+)")
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,9})?")
# The largest exponent of a number that a column is compared with.
MAX_EXPONENT = 1000
EXACT = Context(prec=2 * MAX_EXPONENT)


class Query:
    """One statement: columns `k0`, ... are the groups, `a0`, ... the aggregates.

    `order` sorts its rows, once the columns of `sorted` have been added.
    """

    def __init__(self, spec: DatasetAggregate, table: Table) -> None:
        self.parameters: list[object] = []
        self._table = table
        keys = [self._key(key) for key in spec.group_by]
        outputs = [self._aggregate(item) for item in spec.aggregates]
        conditions = [self.condition(item) for item in spec.filters]
        names = [f"k{n}" for n in range(len(keys))] + [f"a{n}" for n in range(len(outputs))]
        self.columns = dict(zip(spec.output_names, names, strict=True))
        ordered = any(item.op in ("first", "last") for item in spec.aggregates)
        source = table.source
        if ordered:
            source = f"SELECT *, row_number() OVER () AS row_number FROM ({source})"
        listed = [f"{sql} AS {name}" for sql, name in zip([*keys, *outputs], names, strict=True)]
        self.sql = f"SELECT {', '.join(listed)} FROM ({source})"
        if conditions:
            self.sql += f" WHERE {' AND '.join(conditions)}"
        if keys:
            self.sql += f" GROUP BY {', '.join(str(n + 1) for n in range(len(keys)))}"
        # Further columns, which the rows are sorted by.
        self.sorted: list[str] = []
        self.order = self._order(spec)

    def _order(self, spec: DatasetAggregate) -> str:
        # Group keys break ties, so that the order is deterministic.
        keys = [
            (self.columns[key.column], "DESC" if key.descending else "ASC") for key in spec.sort
        ]
        named = {name for name, _ in keys}
        keys += [(f"k{n}", "ASC") for n in range(len(spec.group_by)) if f"k{n}" not in named]
        sources = self._sources(spec)
        ordered: list[str] = []
        for name, direction in keys:
            for by in self._table.sorted_by(sources[name], name) if name in sources else []:
                place = f"s{len(self.sorted)}"
                self.sorted.append(f"{by} AS {place}")
                ordered.append(f"{place} {direction} NULLS LAST")
            ordered.append(f"{name} {direction} NULLS LAST")
        return ", ".join(ordered)

    def _sources(self, spec: DatasetAggregate) -> dict[str, str]:
        """Columns of the result whose values are those of a column of the file."""
        plain = {f"k{n}": key for n, key in enumerate(spec.group_by) if isinstance(key, str)}
        return plain | {
            f"a{n}": item.column
            for n, item in enumerate(spec.aggregates)
            if isinstance(item, Reduce) and item.op in ("min", "max", "first", "last")
        }

    def _parameter(self, value: object) -> str:
        self.parameters.append(value)
        return f"${len(self.parameters)}"

    # --- groups ----------------------------------------------------------------------------------

    def _key(self, key: str | DerivedKey) -> str:
        if isinstance(key, str):
            value = self._table.value(key, "key")
            if value.kind == "nested":
                raise not_single(key, value, "group_by")
            return value.sql
        match key:
            case Bin():
                return self._bin(key)
            case Truncate():
                moment = self._moment(key.column)
                if moment.kind == "date" and key.unit in FIRST_DAY:
                    x = moment.sql
                    return (
                        f"CASE WHEN isfinite({x}) THEN {FIRST_DAY[key.unit].format(x)} ELSE {x} END"
                    )
                return f"date_trunc('{key.unit}', {_microseconds(moment)})"
            case DatePart():
                moment = self._moment(key.column)
                part = PART.get(key.part, key.part)
                return f"CAST(date_part('{part}', {moment.sql}) AS BIGINT)"

    def _moment(self, name: str) -> Value:
        value = self._table.value(name, "moment")
        if value.kind not in ("date", "datetime"):
            raise wrong_type(name, value, f"holds no dates{self._table.hint}")
        return value

    def _bin(self, key: Bin) -> str:
        value = self._table.value(key.column, "number")
        if value.kind not in ("integer", "decimal", "float"):
            raise wrong_type(key.column, value, "holds no numbers: bins need numbers")
        return lower_end(value, key)

    # --- aggregates ------------------------------------------------------------------------------

    def _aggregate(self, item: Aggregate) -> str:
        match item:
            case CountIf():
                return f"count(*) FILTER (WHERE {self.condition(item.filter)})"
            case Count():
                if item.column is None:
                    return "count(*)"
                return f"count({self._table.value(item.column, 'null').sql})"
            case Quantile():
                number = self._number(item.column, item.op)
                x = f"CAST({number.sql} AS DOUBLE)"
                if item.approximate:
                    # Only numbers of Parquet files may be infinite.
                    finite = number.kind != "float" or bool(number.exact)
                    return approximate(x, item.quantile, finite=finite)
                return f"quantile_cont({x}, {self._parameter(item.quantile)}::DOUBLE)"
        return self._reduced(item)

    def _reduced(self, item: Reduce) -> str:
        name, op = item.column, item.op
        match op:
            case "sum":
                return self._sum(name, self._number(name, op, "sum"))
            case "mean":
                number = self._number(name, op, "sum")
                if number.kind == "boolean" or number.type in SHORT_INTEGERS:
                    return f"CAST(avg(CAST({number.sql} AS BIGINT)) AS DOUBLE)"
                if number.kind == "decimal" and number.high < 10**MEAN_DIGITS:
                    return _decimal_mean(number)
                # Their sum might exceed 128 bits.
                return self._finite("favg", name, number)
            case "median":
                return f"median(CAST({self._number(name, op).sql} AS DOUBLE))"
            case "std":
                return self._finite("stddev_samp", name, self._number(name, op))
            case "n_unique":
                return f"count(DISTINCT {self._single(name, op, 'distinct').sql})"
            case "min" | "max":
                self._single(name, op, "order")
                return self._table.extreme(name, op).sql
            case "first" | "last":
                function = {"first": "arg_min_null", "last": "arg_max_null"}[op]
                return f"{function}({self._single(name, op, 'key').sql}, row_number)"

    def _sum(self, name: str, number: Value) -> str:
        match number.kind:
            case "boolean":
                return f"sum(CAST({number.sql} AS BIGINT))"
            case "integer":
                return f"sum(CAST({number.sql} AS HUGEINT))"
            case "decimal":
                return f"sum({number.sql})"
        return self._finite("sum", name, number)

    def _finite(self, function: str, name: str, number: Value) -> str:
        """An aggregate of doubles that fails where it exceeds their range."""
        x = f"CAST({number.sql} AS DOUBLE)"
        result = f"{function}({x})"
        if number.kind != "float":
            return result
        overflow = f"NOT isfinite({result}) AND bool_and(isfinite({x}))"
        fault = self._parameter(f"{DOUBLE_OVERFLOW}{name[:80]!r}")
        return f"CASE WHEN {overflow} THEN error({fault}::VARCHAR) ELSE {result} END"

    def _number(self, name: str, op: str, use: Literal["number", "sum"] = "number") -> Value:
        value = self._table.value(name, use)
        if value.kind in ("integer", "decimal", "float"):
            return value
        if value.kind == "boolean" and use == "sum":
            return value
        raise wrong_type(
            name, value, f"can't be used with {op}: it needs numbers{self._table.hint}"
        )

    def _single(self, name: str, op: str, use: Literal["key", "order", "distinct"]) -> Value:
        value = self._table.value(name, use)
        if value.kind == "nested":
            raise not_single(name, value, op)
        return value

    # --- filters ---------------------------------------------------------------------------------

    def condition(self, item: Filter) -> str:
        value = self._table.value(item.column, filter_use(item))
        match item:
            case Null():
                return f"({value.sql} IS {'NOT ' * (item.op == 'is_not_null')}NULL)"
            case Match():
                if value.kind != "text":
                    raise wrong_type(
                        item.column, value, f"can't be used with {item.op}: it needs text"
                    )
                return f"{item.op}({value.sql}, {self._parameter(item.value)}::VARCHAR)"
            case OneOf():
                return self._one_of(item.column, value, item.values)
            case Between():
                low = self._compared(item.column, value, "ge", item.low)
                return f"({low} AND {self._compared(item.column, value, 'le', item.high)})"
            case Compare():
                return self._compared(item.column, value, item.op, item.value)

    def _one_of(self, name: str, column: Value, values: Sequence[bool | float | str]) -> str:
        """A list of values is looked up in a table; to plan an OR of them takes seconds."""
        if column.kind == "text" and all(isinstance(value, str) for value in values):
            listed = ", ".join(f"{self._parameter(value)}::VARCHAR" for value in values)
            return f"({column.sql} IN ({listed}))"
        same = [self._compared(name, column, "eq", value) for value in values]
        compared = column.exact if column.rounds else column.sql
        equals = f"({compared} = "
        if all(each.startswith(equals) or each == "false" for each in same):
            listed = ", ".join(each[len(equals) : -1] for each in same if each != "false")
            return f"({compared} IN ({listed}))" if listed else "false"
        return f"({' OR '.join(same)})"

    def _compared(self, name: str, column: Value, op: Op, value: bool | float | str) -> str:
        match column.kind, value:
            case "boolean", bool():
                return f"({column.sql} {SQL[op]} {self._parameter(value)}::BOOLEAN)"
            case _, bool():
                pass
            case "text", str():
                return f"({column.sql} {SQL[op]} {self._parameter(value)}::VARCHAR)"
            case "date", str():
                return f"({column.sql} {SQL[op]} {self._parameter(_date(name, value))}::DATE)"
            case "datetime", str():
                return self._at(name, column, op, value)
            case "float", int() | float():
                return self._float(column, op, value)
            case "integer" | "decimal", int() | float() | str():
                return self._exact(column, op, _decimal(name, column, value))
        raise wrong_type(
            name, column, f"can't be compared with {str(value)[:80]!r}: give a value of its type"
        )

    def _float(self, column: Value, op: Op, value: float) -> str:
        number = float(value)
        if column.exact and (column.rounds or number != value):
            place = self._parameter(digits.place(Decimal(repr(value))))
            return f"({column.exact} {SQL[op]} {place}::VARCHAR)"
        if number != value:
            # No double is between an integer and the double next to it.
            match op:
                case "eq" | "ne":
                    return "false" if op == "eq" else f"({column.sql} IS NOT NULL)"
                case "lt" | "le":
                    op = "lt" if number > value else "le"
                case _:
                    op = "ge" if number > value else "gt"
        return f"({column.sql} {SQL[op]} {self._parameter(number)}::DOUBLE)"

    def _exact(self, column: Value, op: Op, value: Decimal) -> str:
        """Compare in units of the column's last place, so that nothing is rounded."""
        with localcontext(EXACT):
            with_places = value.scaleb(column.scale)
            below = int(with_places.to_integral_value("ROUND_FLOOR"))
        exact = below == with_places
        present = f"({column.sql} IS NOT NULL)"
        match op:
            case "eq" | "ne" if not exact or not column.low <= below <= column.high:
                return "false" if op == "eq" else present
            # Between two neighbours, less than the value is at most the lower one.
            case "lt" if not exact:
                op = "le"
            case "ge" if not exact:
                op = "gt"
        if below > column.high:
            return present if op in ("lt", "le") else "false"
        if below < column.low:
            return present if op in ("gt", "ge") else "false"
        with localcontext(EXACT):
            bound = self._parameter(f"{Decimal(below).scaleb(-column.scale):f}")
        return f"({column.sql} {SQL[op]} CAST({bound} AS {column.type}))"

    def _at(self, name: str, column: Value, op: Op, value: str) -> str:
        moment, rest = _moment(name, value)
        if column.type == EXACT_MOMENT:
            bound = f"{self._parameter(moment)}::TIMESTAMP, {self._parameter(rest.rstrip('0'))}"
            return f"({column.sql} {SQL[op]} row({bound}::VARCHAR))"
        present = f"({column.sql} IS NOT NULL)"
        fine = column.type == "TIMESTAMP_NS"
        if fine and not NANOSECONDS[0] <= moment <= NANOSECONDS[1]:
            before = moment < NANOSECONDS[0]
            holds = op in (("gt", "ge", "ne") if before else ("lt", "le", "ne"))
            return present if holds else "false"
        if rest[3 if fine else 0 :].strip("0"):
            # Between two values, less than the value is at most the lower one.
            if op in ("eq", "ne"):
                return "false" if op == "eq" else present
            op = "le" if op in ("lt", "le") else "gt"
        if not fine:
            return f"({column.sql} {SQL[op]} {self._parameter(moment)}::TIMESTAMP)"
        text = self._parameter(f"{moment:%Y-%m-%d %H:%M:%S.%f}{rest[:3]:0<3}")
        return f"({column.sql} {SQL[op]} CAST({text} AS TIMESTAMP_NS))"


def _microseconds(moment: Value) -> str:
    """The time as TIMESTAMP; DuckDB's cast rounds nanoseconds before 1970 up."""
    if moment.type != "TIMESTAMP_NS":
        return f"CAST({moment.sql} AS TIMESTAMP)"
    nanoseconds = f"epoch_ns({moment.sql})"
    # Division by // rounds towards 0.
    return f"make_timestamp({nanoseconds} // 1000 - CAST({nanoseconds} % 1000 < 0 AS BIGINT))"


def _decimal_mean(number: Value) -> str:
    """The double next to the mean; a double of the sum, divided, may be another one."""
    total, count = f"sum({number.sql})", f"count({number.sql})"
    units = f"abs(CAST(replace(CAST({total} AS VARCHAR), '.', '') AS HUGEINT))"
    rest = f"{units} % {count} * {10**MEAN_DIGITS}::HUGEINT // {count}"
    return (
        f"CAST(CASE WHEN {total} < 0 THEN '-' ELSE '' END || {units} // {count} || '.' "
        f"|| lpad(CAST({rest} AS VARCHAR), {MEAN_DIGITS}, '0') || 'e-{number.scale}' AS DOUBLE)"
    )


def _decimal(name: str, column: Value, value: float | str) -> Decimal:
    if isinstance(value, float):
        number = Decimal(repr(value))
        length = len(number.normalize().as_tuple().digits)
        if length > SAFE_DIGITS and math.ulp(value) > 10.0**-column.scale / 2:
            raise wrong_type(
                name,
                column,
                f"can't be compared with {value!r}: a JSON number does not keep its digits. Send "
                "it as text",
            )
        return number
    if NUMBER.fullmatch(str(value)) and abs(Decimal(value).adjusted()) <= MAX_EXPONENT:
        return Decimal(value)
    raise wrong_type(name, column, f"can't be compared with {str(value)[:80]!r}: give a number")


def _date(name: str, value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        raise _wrong_moment(name, value, "2013-12-31") from error


def _moment(name: str, value: str) -> tuple[datetime, str]:
    """The time in UTC, and the digits of its second behind the sixth."""
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
        fraction = FRACTION.search(value)
        return moment, fraction[1] if fraction else ""
    except (ValueError, OverflowError) as error:
        raise _wrong_moment(name, value, "2013-12-31T23:59:00Z") from error


def _wrong_moment(name: str, value: str, example: str) -> JobError:
    return JobError(
        "column-type",
        f"Column {name!r} can't be compared with {value[:80]!r}: write it as {example}.",
    )
