"""The oracle's view of CSV files: the type of each column, and the rows that break a rule."""

import decimal
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from tests.kinds_builtin.dataset.csv_text import (
    Fault,
    Refused,
    Undetermined,
    decoded,
    records,
    sniffed,
)
from worker.kinds.dataset.spec import CsvOptions, DatasetAggregate, Filter, MomentFormat

EXACT = decimal.Context(prec=400)


@dataclass
class Column:
    """`type` is `guessed` for a CSV column without a declared type; its values are texts."""

    type: str
    values: list[Any]


@dataclass
class Table:
    columns: dict[str, Column]
    rows: int
    skipped: int = 0
    first_skipped: range | None = None


def number_pattern(point: str, thousands: str | None) -> re.Pattern[str]:
    whole = "[0-9]+"
    if thousands is not None:
        whole = rf"(?:[0-9]{{1,3}}(?:{re.escape(thousands)}[0-9]{{3}})+|[0-9]+)"
    dot = re.escape(point)
    mantissa = rf"(?:{whole}(?:{dot}[0-9]*)?|{dot}[0-9]+)"
    return re.compile(rf"[ \t]*([+-]?{mantissa}(?:[eE][+-]?[0-9]+)?)[ \t]*")


def plain(text: str, options: CsvOptions) -> str | None:
    """The number in Python's spelling, or nothing if the text is not a number."""
    pattern = number_pattern(options.decimal_separator, options.thousands_separator)
    if not (found := pattern.fullmatch(text)):
        return None
    digits = found[1]
    if options.thousands_separator is not None:
        digits = digits.replace(options.thousands_separator, "")
    digits = digits.replace(options.decimal_separator, ".")
    return digits if math.isfinite(float(digits)) else None


def is_number(text: str, options: CsvOptions) -> bool:
    return plain(text, options) is not None


def is_integer(digits: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]+", digits) is not None


def is_wide(digits: str) -> bool:
    """Whether a double may not keep all digits of a number that has no exponent."""
    exponent = re.search("[eE]", digits)
    return not exponent and abs(float(digits)) >= 2**53 and repr(float(digits)) != digits


def is_long(digits: str) -> bool:
    """Whether a number without an exponent has more digits than its double keeps."""
    exact = Decimal(repr(float(digits)))
    return not re.search("[eE]", digits) and exact != Decimal(digits)


MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)(Z|[+-]\d\d:\d\d)?)?", re.ASCII
)


def moment(text: str) -> date | datetime:
    """A date, or a time in UTC without a zone. Raises `ValueError`."""
    found = MOMENT.fullmatch(text)
    if not found:
        raise ValueError(text)
    if found[2] is None:
        return date.fromisoformat(text)
    clock, _, fraction = found[2].partition(".")
    known = datetime.fromisoformat(
        f"{found[1]}T{clock}{'.' + fraction.ljust(6, '0') if fraction else ''}{found[3] or ''}"
    )
    return utc(known)


def is_moment(text: str) -> bool:
    try:
        moment(text)
    except ValueError:
        return False
    return True


def utc(value: datetime) -> datetime:
    return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value


def midnight(value: date) -> datetime:
    return value if isinstance(value, datetime) else datetime.combine(value, time())


def declared(  # noqa: C901 - a branch per type
    text: str, kind: "str | MomentFormat", options: CsvOptions
) -> Any:
    """A text as a value of its column's declared type. Raises `ValueError`."""
    if isinstance(kind, MomentFormat):
        read = datetime.strptime(text, kind.format)  # noqa: DTZ007
        return read.date() if kind.type == "date" else utc(read)
    if kind == "text":
        return text
    if kind == "boolean":
        return {"true": True, "false": False}[text.lower()]
    if kind in ("date", "datetime"):
        read_any = moment(text)
        if kind == "datetime":
            return midnight(read_any)
        if isinstance(read_any, datetime):
            raise ValueError(text)
        return read_any
    digits = plain(text, options)
    if digits is None:
        raise ValueError(text)
    if kind == "number":
        return float(digits)
    if kind == "integer":
        if not (is_integer(digits) and -(2**127) <= int(digits) < 2**127):
            raise ValueError(text)
        return int(digits)
    found = re.fullmatch(r"decimal\((\d+),(\d+)\)", kind)
    assert found, kind
    value = Decimal(digits)
    precision, scale = int(found[1]), int(found[2])
    if "e" in digits.lower() or value.copy_abs() >= Decimal(10) ** (precision - scale):
        raise ValueError(text)
    if value != value.quantize(Decimal(1).scaleb(-scale), context=EXACT):
        raise ValueError(text)
    return value.quantize(Decimal(1).scaleb(-scale), context=EXACT)


def key_type(texts: Sequence[str], point: str) -> str:  # noqa: C901 - a branch per type
    """The type that a column without a declared one has where it is a key."""

    def whole(text: str) -> bool:
        return re.fullmatch("-?[0-9]+", text) is not None and str(int(text)) == text

    def real(text: str) -> bool:
        try:
            value = float(text)
        except ValueError:
            return False
        return math.isfinite(value) and repr(value) == text and text != "-0.0"

    if not texts:
        return "text"
    if all(map(real, texts)) and any("e" in text for text in texts):
        raise Undetermined
    if set(texts) <= {"true", "false"}:
        return "boolean"
    if all(whole(text) and -(2**63) <= int(text) < 2**63 for text in texts):
        return "integer"
    if point != ".":
        return "text"
    if all(map(real, texts)):
        return "number"
    if all(
        abs(int(text)) < 2**53 if whole(text) else real(text) and not float(text).is_integer()
        for text in texts
    ):
        return "number"
    return "text"


# Reading


def filter_uses(wanted: Filter) -> set[str]:
    values: list[Any] = []
    if wanted.op in ("eq", "ne", "lt", "le", "gt", "ge"):
        values = [wanted.value]
    elif wanted.op == "in":
        values = wanted.values
    elif wanted.op == "between":
        values = [wanted.low, wanted.high]
    ordered = wanted.op in ("lt", "le", "gt", "ge", "between")
    if ordered and all(isinstance(v, str) and is_moment(v) for v in values):
        return {"moment order"}
    return {
        "text" if isinstance(v, str) else "boolean" if isinstance(v, bool) else "number"
        for v in values
    } or {"text"}


def uses(spec: DatasetAggregate) -> Iterator[tuple[str, str]]:
    """Columns that are asked for, and how their texts are read there."""
    for wanted in spec.filters:
        yield from ((wanted.column, use) for use in filter_uses(wanted))
    for key in spec.group_by:
        if isinstance(key, str):
            yield key, "text"
        else:
            yield key.column, "number" if key.op == "bin" else "moment"
    for each in spec.aggregates:
        if each.op == "count_if":
            yield from ((each.filter.column, use) for use in filter_uses(each.filter))
        elif each.op in ("sum", "mean"):
            yield each.column, "total"
        elif each.op in ("median", "std", "quantile"):
            yield each.column, "number"
        elif each.column is not None:
            yield each.column, "text"


def fits(text: str, use: str, options: CsvOptions) -> bool:
    if use == "number":
        return is_number(text, options)
    if use == "boolean":
        return text.lower() in ("true", "false")
    if use == "moment":
        try:
            moment(text)
        except ValueError:
            return False
    return True


def read_csv(contents: Sequence[bytes], spec: DatasetAggregate) -> tuple[Table, str]:
    options = spec.csv
    texts = [decoded(content, options.encoding) for content in contents]
    separator: str = options.separator or sniffed(
        texts[0], options.quote, options.comment, options.skip_rows
    )
    names, rows, skipped = read_rows(texts, separator, options)
    faults = []
    if skipped and options.on_error == "fail":
        faults.append(Fault("csv-ragged", lines=skipped[0]))
    asked: dict[str, set[str]] = {}
    for column, use in uses(spec):
        asked.setdefault(column, set()).add(use)
    for column, found in asked.items():
        place = names.index(column)
        holds = rule_of(column, found, [values[place] for _, values in rows], options)
        bad = [lines for lines, values in rows if not holds(values[place])]
        if bad and options.on_error == "fail":
            faults.append(Fault("csv-value", column, bad[0]))
            continue
        skipped += bad
        rows = [row for row in rows if holds(row[1][place])]
    if faults:
        raise Refused(*faults)
    if not rows and not skipped:
        raise Refused(Fault("file-empty"))
    columns = {
        name: column_of([values[place] for _, values in rows], name, name in asked, options)
        for place, name in enumerate(names)
    }
    first = min(skipped, key=lambda lines: lines.start, default=None)
    return Table(columns, len(rows), len(skipped), first), separator


Row = tuple[range, list[str | None]]


def read_rows(
    texts: Sequence[str], separator: str, options: CsvOptions
) -> tuple[list[str], list[Row], list[range]]:
    """The columns, the rows of their number of fields, and the lines of the other rows."""
    names = options.column_names
    rows: list[Row] = []
    ragged: list[range] = []
    for text in texts:
        lines = records(text, separator, options.quote, options.comment, options.skip_rows)
        try:
            if options.column_names is None:
                names = [name for name, _ in next(lines).fields]
                if len(set(names)) < len(names):
                    raise Refused(Fault("csv-header"))
            assert names is not None
            for record in lines:
                if len(record.fields) != len(names):
                    ragged.append(record.lines)
                    continue
                values = [
                    None if not quoted and (text == "" or text in options.null_values) else text
                    for text, quoted in record.fields
                ]
                rows.append((record.lines, values))
        except Refused as refused:
            first = [Fault("csv-ragged", lines=lines) for lines in ragged[:1]]
            raise Refused(*(first if options.on_error == "fail" else []), *refused.faults) from None
    assert names is not None
    return names, rows, ragged


def rule_of(
    column: str, uses: set[str], texts: Sequence[str | None], options: CsvOptions
) -> Callable[[str | None], bool]:
    """A condition that each text of the column must fulfil."""
    kind = options.types.get(column)
    if kind is not None:
        return lambda text: text is None or reads(text, kind, options)
    if "total" in uses:
        held = [text for text in texts if text is not None]
        booleans = any(fits(text, "boolean", options) for text in held) and not any(
            is_number(text, options) for text in held
        )
        uses = uses - {"total"} | {"boolean" if booleans else "number"}
    if "moment order" in uses:
        known = options.on_error == "fail" or any(text and is_moment(text) for text in texts)
        uses = uses - {"moment order"} | ({"moment"} if known else set())
    return lambda text: text is None or all(fits(text, use, options) for use in uses)


def column_of(texts: list[str | None], name: str, asked: bool, options: CsvOptions) -> Column:
    kind = options.types.get(name)
    if kind is None or not asked:
        return Column("guessed", texts)
    word = kind.type if isinstance(kind, MomentFormat) else kind.partition("(")[0]
    return Column(word, [None if t is None else declared(t, kind, options) for t in texts])


def reads(text: str, kind: "str | MomentFormat", options: CsvOptions) -> bool:
    try:
        declared(text, kind, options)
    except (ValueError, KeyError):
        return False
    return True
