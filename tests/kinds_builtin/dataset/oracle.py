"""The right answers of `dataset.aggregate`, by the standard library alone.

Written from the documentation of the kind and not from its code; slow, and meant to be obvious.
"""

import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tests.kinds_builtin.dataset.csv_text import Fault, Refused, Undetermined
from tests.kinds_builtin.dataset.oracle_csv import (
    EXACT,
    Table,
    is_integer,
    is_long,
    is_moment,
    is_number,
    is_wide,
    key_type,
    midnight,
    moment,
    plain,
    read_csv,
)
from worker.kinds.dataset.spec import DatasetAggregate, Filter

NUMBERS = ("integer", "number", "decimal")


@dataclass(frozen=True)
class Near:
    """A double that depends on the order of additions."""

    value: float
    tolerance: float


class Short(Decimal):
    """A decimal that may be written as a double."""


@dataclass(frozen=True)
class AnyOf:
    values: frozenset[Any]


@dataclass
class Answer:
    names: list[str]
    rows: list[list[Any]]
    rows_in: int
    skipped: int = 0
    first_skipped: range | None = None
    separator: str | None = None


# Values


def rank(value: Any) -> tuple[bool, Any]:
    """The order of values: NaN is greater than every number, and a Python bool sorts as SQL's."""
    return (True, 0) if isinstance(value, float) and math.isnan(value) else (False, value)


def same(value: Any) -> Any:
    """A value that is equal where SQL's `IS NOT DISTINCT FROM` holds."""
    return "not a number" if isinstance(value, float) and math.isnan(value) else value


class Query:
    def __init__(self, table: Table, spec: DatasetAggregate) -> None:
        self.table, self.options = table, spec.csv
        self.spec = spec

    def texts(self, name: str) -> list[str]:
        return [text for text in self.table.columns[name].values if text is not None]

    def keys(self, name: str) -> list[Any]:
        column = self.table.columns[name]
        if column.type != "guessed":
            return column.values
        kind = key_type(self.texts(name), self.options.decimal_separator)
        converters: dict[str, Callable[[str], Any]] = {
            "text": str,
            "integer": int,
            "number": float,
            "boolean": lambda text: text == "true",
        }
        convert = converters[kind]
        return [None if text is None else convert(text) for text in column.values]

    def numbers(self, name: str, *, total: bool = False) -> list[Any]:
        column = self.table.columns[name]
        if column.type != "guessed":
            if column.type in NUMBERS:
                return column.values
            if total and column.type == "boolean":
                return [None if v is None else int(v) for v in column.values]
            raise Refused(Fault("column-type", name))
        texts = self.texts(name)
        if total and texts and {text.lower() for text in texts} <= {"true", "false"}:
            return [None if v is None else int(v.lower() == "true") for v in column.values]
        spelled = [None if v is None else plain(v, self.options) for v in column.values]
        whole = all(
            is_integer(t) and -(2**127) <= int(t) < 2**127 for t in spelled if t is not None
        )
        if not whole and any(is_wide(t) for t in spelled if t is not None):
            raise Refused(Fault("column-type", name))
        return [None if t is None else int(t) if whole else float(t) for t in spelled]

    def decimals(self, name: str) -> list[Decimal | None]:
        values = self.table.columns[name].values
        return [None if v is None else Decimal(plain(v, self.options) or "NaN") for v in values]

    def has_long(self, name: str) -> bool:
        return any(is_long(plain(text, self.options) or "0") for text in self.texts(name))

    def moments(self, name: str) -> list[Any]:
        column = self.table.columns[name]
        if column.type == "guessed":
            read = [None if v is None else moment(v) for v in column.values]
            if any(isinstance(v, datetime) for v in read):
                return [None if v is None else midnight(v) for v in read]
            return read
        if column.type in ("date", "datetime"):
            return column.values
        raise Refused(Fault("column-type", name))

    # Filters

    def operands(  # noqa: C901 - a branch per type
        self, name: str, values: list[Any], op: str
    ) -> tuple[list[Any], list[Any]]:
        """The column and the values of a comparison, in one type."""
        column = self.table.columns[name]
        wrong = Refused(Fault("column-type", name))
        if all(isinstance(v, bool) for v in values):
            if column.type == "guessed":
                return [None if v is None else v.lower() == "true" for v in column.values], values
            if column.type == "boolean":
                return column.values, values
            raise wrong
        if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
            numbers = self.numbers(name)
            if column.type == "guessed" and self.has_long(name):
                return self.decimals(name), [Decimal(repr(v)) for v in values]
            exact = not any(isinstance(n, float) for n in numbers)
            return numbers, [
                Decimal(repr(v)) if exact and isinstance(v, float) else v for v in values
            ]
        if not all(isinstance(v, str) for v in values):
            raise Undetermined
        if column.type == "guessed":
            texts = self.texts(name)
            ordered = op not in ("eq", "ne", "in")
            if ordered and all(is_moment(v) for v in values):
                if not all(is_moment(text) for text in texts):
                    raise wrong
                times = [None if v is None else midnight(moment(v)) for v in column.values]
                return times, [midnight(moment(v)) for v in values]
            if ordered and texts and all(is_number(text, self.options) for text in texts):
                raise wrong
            return column.values, values
        if column.type == "text":
            return column.values, values
        if column.type in ("date", "datetime"):
            try:
                read = [moment(v) for v in values]
            except ValueError:
                raise wrong from None
            if column.type == "datetime":
                return column.values, [midnight(v) for v in read]
            if any(isinstance(v, datetime) for v in read):
                raise Undetermined
            return column.values, read
        if column.type == "decimal":
            if any(re.search("[ \teE]", v) for v in values):
                raise Undetermined
            if not all(re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)", v, re.ASCII) for v in values):
                raise wrong
            return column.values, [Decimal(v) for v in values]
        if column.type == "integer" and all(is_integer(v) for v in values):
            raise Undetermined  # a text is for integers beyond 64 bits, which Python has not
        raise wrong

    def passes(self, wanted: Filter) -> list[bool | None]:
        name = wanted.column
        column = self.table.columns[name]
        if wanted.op == "is_null":
            return [v is None for v in column.values]
        if wanted.op == "is_not_null":
            return [v is not None for v in column.values]
        if wanted.op in ("contains", "starts_with", "ends_with"):
            if column.type not in ("guessed", "text"):
                raise Refused(Fault("column-type", name))
            part = wanted.value
            found: Callable[[str], bool] = {
                "contains": lambda text: part in text,
                "starts_with": lambda text: text.startswith(part),
                "ends_with": lambda text: text.endswith(part),
            }[wanted.op]
            return [None if v is None else found(v) for v in column.values]
        if wanted.op == "in":
            left, right = self.operands(name, list(wanted.values), "in")
            ranks = {rank(v) for v in right}
            return [None if v is None else rank(v) in ranks for v in left]
        if wanted.op == "between":
            left, (low, high) = self.operands(name, [wanted.low, wanted.high], "between")
            return [None if v is None else rank(low) <= rank(v) <= rank(high) for v in left]
        left, (value,) = self.operands(name, [wanted.value], wanted.op)
        compare: Callable[[Any, Any], bool] = {
            "eq": lambda a, b: a == b,
            "ne": lambda a, b: a != b,
            "lt": lambda a, b: a < b,
            "le": lambda a, b: a <= b,
            "gt": lambda a, b: a > b,
            "ge": lambda a, b: a >= b,
        }[wanted.op]
        return [None if v is None else compare(rank(v), rank(value)) for v in left]

    # Keys

    def key(self, key: Any) -> list[Any]:
        if isinstance(key, str):
            return self.keys(key)
        if key.op == "bin":
            numbers = self.numbers(key.column)
            whole = float(key.width).is_integer() and float(key.origin).is_integer()
            width, origin = (
                (int(key.width), int(key.origin)) if whole else (key.width, float(key.origin))
            )
            return [None if n is None else lower_end(n, width, origin) for n in numbers]
        moments = self.moments(key.column)
        derive = truncated if key.op == "truncate" else part
        unit = key.unit if key.op == "truncate" else key.part
        return [None if m is None else derive(m, unit) for m in moments]

    def shows_texts(self, place: int) -> bool:
        """Whether a column of the result holds texts of a column whose type is guessed."""
        spec = self.spec
        if place < len(spec.group_by):
            key = spec.group_by[place]
            name = key if isinstance(key, str) else None
        else:
            each = spec.aggregates[place - len(spec.group_by)]
            name = each.column if each.op in ("min", "max", "first", "last") else None
        if name is None or self.table.columns[name].type != "guessed":
            return False
        return key_type(self.texts(name), spec.csv.decimal_separator) == "text"

    # Aggregates

    def aggregate(self, each: Any) -> Callable[[list[int]], Any]:
        if each.op == "count_if":
            passed = self.passes(each.filter)
            return lambda rows: sum(passed[row] is True for row in rows)
        if each.op == "count":
            if each.column is None:
                return len
            values = self.table.columns[each.column].values
            return lambda rows: sum(values[row] is not None for row in rows)
        if each.op in ("first", "last"):
            keys = self.keys(each.column)
            end = 0 if each.op == "first" else -1
            return lambda rows: keys[rows[end]] if rows else None
        if each.op == "n_unique":
            values = self.table.columns[each.column].values
            return lambda rows: len({same(values[row]) for row in rows} - {None})
        if each.op in ("min", "max"):
            return self.extreme(each.column, max if each.op == "max" else min)
        numbers = self.numbers(each.column, total=each.op in ("sum", "mean"))
        reduce: Callable[[list[Any]], Any] = {
            "sum": total,
            "mean": mean,
            "std": deviation,
            "median": lambda values: quantile(values, 0.5),
            "quantile": lambda values: quantile(values, getattr(each, "quantile", 0.5)),
        }[each.op]

        def reduced(rows: list[int]) -> Any:
            values = [numbers[row] for row in rows if numbers[row] is not None]
            return reduce(values) if values else None

        return reduced

    def extreme(self, name: str, best: Callable[..., Any]) -> Callable[[list[int]], Any]:
        keys = self.keys(name)
        column = self.table.columns[name]
        ranks = [rank(v) for v in column.values]
        texts = self.texts(name)
        if column.type == "guessed" and all(is_number(text, self.options) for text in texts):
            ranks = [rank(v) for v in self.decimals(name)]
        elif column.type == "guessed" and all(is_moment(text) for text in texts):
            times = [None if v is None else midnight(moment(v)) for v in column.values]
            ranks = [rank(v) for v in times]

        def extreme(rows: list[int]) -> Any:
            rows = [row for row in rows if column.values[row] is not None]
            if not rows:
                return None
            found = best(ranks[row] for row in rows)
            equal = frozenset(keys[row] for row in rows if ranks[row] == found)
            return next(iter(equal)) if len(equal) == 1 else AnyOf(equal)

        return extreme


def total(values: list[Any]) -> Any:
    if isinstance(values[0], int | Decimal):
        digits = max(len(v.as_tuple().digits) for v in map(Decimal, values))
        if digits + len(str(len(values))) > 37:
            raise Undetermined  # the sum, or a part of it, may exceed 38 digits
    if isinstance(values[0], int):
        return sum(values)
    if isinstance(values[0], Decimal):
        result = Decimal(0)
        for value in values:
            result = EXACT.add(result, value)
        return result
    if not all(map(math.isfinite, values)):
        return Near(float(sum(v for v in values if not math.isfinite(v))), 0)
    spread = sum(abs(Fraction(v)) for v in values)
    if spread > Fraction(1.7e308):
        raise Undetermined
    return Near(math.fsum(values), 1e-9 * float(spread))


def mean(values: list[Any]) -> Any:
    if isinstance(values[0], float) and not all(map(math.isfinite, values)):
        return total(values)
    exact = [Fraction(v) for v in values]
    if sum(map(abs, exact)) > Fraction(1.7e308):
        raise Undetermined
    tolerance = 1e-9 * float(sum(map(abs, exact)) / len(exact))
    return Near(float(sum(exact) / len(exact)), tolerance)


def deviation(values: list[Any]) -> Any:
    if len(values) < 2:
        return None
    if isinstance(values[0], float) and not all(map(math.isfinite, values)):
        raise Undetermined
    if max(map(abs, values)) > 1e150:
        raise Undetermined
    exact = [Fraction(v) for v in values]
    return Near(float(statistics.stdev(exact)), 1e-9 * float(max(map(abs, exact))))


def quantile(values: list[Any], q: float) -> Any:
    ordered = sorted((float(v) for v in values), key=rank)
    place = q * (len(ordered) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    if low == high or math.isnan(low):
        return Near(low, 1e-9 * abs(low) if math.isfinite(low) else 0)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise Undetermined
    value = Fraction(low) + (Fraction(high) - Fraction(low)) * Fraction(place - math.floor(place))
    return Near(float(value), 1e-9 * max(abs(low), abs(high)))


def lower_end(number: Any, width: Any, origin: Any) -> Any:
    if isinstance(number, float) and (
        not math.isfinite(number) or abs((number - origin) / width) >= 1e15
    ):
        raise Undetermined
    if isinstance(number, int) and isinstance(width, int):
        return (number - origin) // width * width + origin
    exact, step, begin = (Decimal(repr(float(each))) for each in (number, width, origin))
    if not isinstance(number, float):
        exact = Decimal(number)
    place = Fraction(EXACT.subtract(exact, begin)) / Fraction(step)
    end = EXACT.add(EXACT.multiply(Decimal(math.floor(place)), step), begin)
    if isinstance(number, float):
        return float(end)
    return Short(end) if isinstance(number, int) else end


def truncated(value: date, unit: str) -> date:
    day = date(value.year, value.month, value.day)
    if unit in ("hour", "minute"):
        if not isinstance(value, datetime):
            raise Undetermined  # a date, or its midnight
        minute = 0 if unit == "hour" else value.minute
        return value.replace(minute=minute, second=0, microsecond=0)
    if unit == "year":
        day = day.replace(month=1, day=1)
    elif unit == "quarter":
        day = day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
    elif unit == "month":
        day = day.replace(day=1)
    elif unit == "week":
        day -= timedelta(days=day.weekday())
    return midnight(day) if isinstance(value, datetime) else day


def part(value: date, part: str) -> int:
    if part in ("hour", "minute"):
        return getattr(value, part, 0)
    return {
        "year": value.year,
        "quarter": (value.month + 2) // 3,
        "month": value.month,
        "week": value.isocalendar().week,
        "day": value.day,
        "weekday": value.isoweekday(),
    }[part]


def query(table: Table, spec: DatasetAggregate) -> Answer:
    asked = Query(table, spec)
    passed = [asked.passes(wanted) for wanted in spec.filters]
    rows = [row for row in range(table.rows) if all(each[row] is True for each in passed)]
    keys = [asked.key(key) for key in spec.group_by]
    aggregates = [asked.aggregate(each) for each in spec.aggregates]

    groups: dict[tuple[Any, ...], list[int]] = {} if keys else {(): []}
    for row in rows:
        groups.setdefault(tuple(same(key[row]) for key in keys), []).append(row)
    result = [
        [*(key[members[0]] for key in keys), *(aggregate(members) for aggregate in aggregates)]
        for members in groups.values()
    ]

    names = spec.output_names
    ordering = [(len(spec.group_by) - n - 1, False) for n in range(len(spec.group_by))]
    ordering += [(names.index(key.column), key.descending) for key in reversed(spec.sort)]
    for place, descending in ordering:
        if any(isinstance(row[place], Near | AnyOf) for row in result):
            raise Undetermined
        present = [row for row in result if row[place] is not None]
        texts = [row[place] for row in present if isinstance(row[place], str)]
        if asked.shows_texts(place) and all(is_number(text, spec.csv) for text in texts):
            present.sort(
                key=lambda row: (Decimal(plain(row[place], spec.csv) or 0), row[place]),
                reverse=descending,
            )
        elif asked.shows_texts(place) and all(map(is_moment, texts)):
            present.sort(
                key=lambda row: (midnight(moment(row[place])), row[place]), reverse=descending
            )
        else:
            present.sort(key=lambda row: rank(row[place]), reverse=descending)
        result = present + [row for row in result if row[place] is None]
    if spec.limit is not None:
        seen: Counter[tuple[Any, ...]] = Counter()
        kept = []
        for cells in result:
            per = tuple(same(cells[names.index(name)]) for name in spec.limit_per)
            if any(isinstance(value, Near | AnyOf) for value in per):
                raise Undetermined
            seen[per] += 1
            if seen[per] <= spec.limit:
                kept.append(cells)
        result = kept
    return Answer(names, result, table.rows, table.skipped, table.first_skipped)


def expected(contents: Sequence[bytes], spec: DatasetAggregate) -> Answer:
    """The answer to a job over CSV files. Raises `Refused` or `Undetermined`."""
    table, separator = read_csv(contents, spec)
    answer = query(table, spec)
    answer.separator = separator
    return answer
