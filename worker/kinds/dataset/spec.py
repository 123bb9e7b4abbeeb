"""The specification of `dataset.aggregate`."""

import re
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from app.jobs import EXAMPLE_FILE, FileId, JobOptions

Format = Literal["csv", "parquet"]
Encoding = Literal["utf-8", "latin-1", "cp1252", "utf-16"]
Compression = Literal["none", "gzip", "zstd"]

MAX_COLUMNS = 1000
MAX_SOURCES = 100

Boolean = Annotated[bool, Field(strict=True)]
Integer = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Text = Annotated[str, Field(strict=True, max_length=1000)]
Value = Annotated[
    Boolean | Integer | Number | Text,
    Field(
        description="A value of the column's type: a date or a time as ISO 8601 text (UTC), a "
        "decimal or an integer beyond 64 bits as text."
    ),
]
ColumnName = Annotated[str, Field(max_length=256)]
OutputName = Annotated[
    str, Field(min_length=1, max_length=256, description="Name of the result's column.")
]


class Compare(JobOptions):
    op: Literal["eq", "ne", "lt", "le", "gt", "ge"]
    column: ColumnName
    value: Value


class OneOf(JobOptions):
    op: Literal["in"]
    column: ColumnName
    values: Annotated[list[Value], Field(min_length=1, max_length=1000)]


class Between(JobOptions):
    """Both ends are included."""

    op: Literal["between"]
    column: ColumnName
    low: Value
    high: Value


class Null(JobOptions):
    op: Literal["is_null", "is_not_null"]
    column: ColumnName


class Match(JobOptions):
    """Finds the value literally, case-sensitive: it is not a pattern."""

    op: Literal["contains", "starts_with", "ends_with"]
    column: ColumnName
    value: Text


Filter = Annotated[Compare | OneOf | Between | Null | Match, Field(discriminator="op")]


class Truncate(JobOptions):
    """Groups by the first moment of the unit; weeks begin on Monday."""

    op: Literal["truncate"]
    column: ColumnName
    unit: Literal["year", "quarter", "month", "week", "day", "hour", "minute"]
    name: OutputName


class DatePart(JobOptions):
    """Groups by one part of a date as an integer; `weekday` is 1 (Monday) to 7 (ISO 8601)."""

    op: Literal["part"]
    column: ColumnName
    part: Literal["year", "quarter", "month", "week", "day", "weekday", "hour", "minute"]
    name: OutputName


def _nine_places(number: float) -> float:
    exact = Decimal(repr(number))
    if exact != round(exact, 9):
        raise ValueError("write at most nine digits after the point")
    return number


class Bin(JobOptions):
    """Groups numbers by bins of equal width; the key is the bin's lower, included end."""

    op: Literal["bin"]
    column: ColumnName
    width: Annotated[
        float,
        Field(
            ge=1e-9,
            le=1e12,
            description="Width of a bin in the column's unit, of at most nine digits after the "
            "point.",
        ),
        AfterValidator(_nine_places),
    ]
    origin: Annotated[
        float,
        Field(ge=-1e12, le=1e12, description="A value at which a bin begins."),
        AfterValidator(_nine_places),
    ] = 0
    name: OutputName


DerivedKey = Annotated[Truncate | DatePart | Bin, Field(discriminator="op")]


class Reduce(JobOptions):
    """Reduces the values of a group to one.

    Nulls are ignored, except by `first` and `last`, which follow the order of the file. `n_unique`
    counts distinct values; `std` is the standard deviation of a sample.
    """

    op: Literal["sum", "mean", "min", "max", "n_unique", "median", "std", "first", "last"]
    column: ColumnName
    name: OutputName


class Count(JobOptions):
    op: Literal["count"]
    column: Annotated[
        ColumnName | None,
        Field(description="Counts the column's values that are not null; without it, rows."),
    ] = None
    name: OutputName


class CountIf(JobOptions):
    """Counts the rows of a group that pass a filter."""

    op: Literal["count_if"]
    filter: Filter
    name: OutputName


class Quantile(JobOptions):
    """Interpolates linearly between the two neighbouring values."""

    op: Literal["quantile"]
    column: ColumnName
    quantile: Annotated[float, Field(ge=0, le=1)]
    approximate: Annotated[
        bool,
        Field(
            description="Estimates the quantile by a t-digest, in constant memory. An exact one "
            "keeps all values of a group in memory."
        ),
    ] = False
    name: OutputName


Aggregate = Annotated[Reduce | Count | CountIf | Quantile, Field(discriminator="op")]


class SortKey(JobOptions):
    """Nulls come last."""

    column: ColumnName
    descending: bool = False


# By name: generated clients turn a tab in an enum into spaces (openapi-generator into one,
# openapi-typescript-codegen into four).
Separator = Annotated[
    Literal[",", ";", "\t", "|"],
    BeforeValidator(lambda value: "\t" if value == "tab" else value),
    WithJsonSchema({"type": "string", "enum": [",", ";", "tab", "|"]}),
]

DECIMAL = re.compile(r"decimal\(([0-9]{1,2}),([0-9]{1,2})\)")
MAX_DIGITS = 38
PLAIN_TYPES = ("text", "integer", "number", "boolean", "date", "datetime")


def _column_type(name: str) -> str:
    if name in PLAIN_TYPES:
        return name
    if (found := DECIMAL.fullmatch(name.replace(" ", ""))) and (
        1 <= int(found[1]) <= MAX_DIGITS and int(found[2]) <= int(found[1])
    ):
        return f"decimal({int(found[1])},{int(found[2])})"
    raise ValueError(
        f"write one of {', '.join(PLAIN_TYPES)}, or decimal(p,s) with p digits in all, at most "
        f"{MAX_DIGITS}, and s of them after the point"
    )


ColumnType = Annotated[
    str,
    AfterValidator(_column_type),
    Field(
        max_length=20,
        description="One of `text`, `integer`, `number`, `boolean`, `date`, `datetime`, or "
        "`decimal(p,s)` for exact numbers of p digits, s of them after the point.",
        examples=["text", "decimal(12,2)"],
    ),
]

# strptime's directives that leave nothing to guess (values.py has their patterns).
DIRECTIVES = frozenset("YymdHMSfpIjbBz")


def directives(format_: str) -> list[str]:
    """The letters of strptime's directives in a format."""
    return re.findall("%(.?)", format_.replace("%%", ""))


class MomentFormat(JobOptions):
    """The way a column's dates or times are written."""

    type: Literal["date", "datetime"]
    format: Annotated[
        str,
        Field(
            min_length=2,
            max_length=64,
            description="strftime's directives: %Y %y %m %d %H %M %S %f %p %I %j %b %B %z.",
            examples=["%d.%m.%Y", "%m/%d/%Y %I:%M %p"],
        ),
    ]

    @model_validator(mode="after")
    def unambiguous(self) -> Self:
        used = directives(self.format)
        if wrong := [each for each in used if each not in DIRECTIVES]:
            raise ValueError(f"format: %{wrong[0]} is not supported")
        for alternatives in ("Yy", "mbBj", "dj", "HI", "M", "S", "f", "p", "z"):
            twice = [each for each in used if each in alternatives]
            if len(twice) > 1:
                raise ValueError(f"format: %{twice[0]} and %{twice[1]} say the same")
        year, month, day = (set(used) & set(each) for each in ("Yy", "mbBj", "dj"))
        if not (year and month and day):
            raise ValueError("format: a date needs a year (%Y), a month (%m) and a day (%d)")
        if ("I" in used) != ("p" in used):
            raise ValueError("format: %I and %p need each other; hours of a day of 24 are %H")
        if "z" in used and not self.format.endswith("%z"):
            raise ValueError("format: %z must come last")
        return self


Character = Annotated[str, Field(min_length=1, max_length=1, pattern=r"^[!-~]$")]


class CsvOptions(JobOptions):
    """How to read a CSV file. A Parquet file ignores these options."""

    separator: Annotated[
        Separator | None,
        Field(
            description="Separator of a line's fields: `,`, `;`, `tab` (or the character) or `|`. "
            "Detected from the first lines by default."
        ),
    ] = None
    quote: Annotated[
        Literal['"', "'", "none"],
        Field(
            description="Character around fields that hold a separator, a line break or the "
            "quote itself, doubled. With `none`, quotes are part of the values."
        ),
    ] = '"'
    comment: Annotated[
        Character | None, Field(description="Lines that begin with this character are skipped.")
    ] = None
    skip_rows: Annotated[
        int, Field(ge=0, le=1000, description="Lines before the header that are skipped.")
    ] = 0
    column_names: Annotated[
        list[ColumnName] | None,
        Field(
            min_length=1,
            max_length=MAX_COLUMNS,
            description="Names of the columns of a file without a header row.",
        ),
    ] = None
    encoding: Encoding = "utf-8"
    compression: Annotated[
        Compression | None,
        Field(description="Detected from the file's first bytes by default."),
    ] = None
    types: Annotated[
        dict[ColumnName, ColumnType | MomentFormat],
        Field(
            max_length=MAX_COLUMNS,
            description="Types of columns. Dates and times are ISO 8601 unless a format is given. "
            "A column without a type is text where it is a key or compared with a text, unless "
            "each of its texts is the usual form of a number; sums, means and comparisons with "
            "numbers read each text as a number.",
        ),
    ] = Field(default_factory=dict)
    null_values: Annotated[
        tuple[Annotated[str, Field(min_length=0, max_length=64)], ...],
        Field(
            max_length=20,
            description="Unquoted texts that stand for null, besides the empty field.",
        ),
    ] = ()
    quoted_nulls: Annotated[
        bool,
        Field(
            description="Whether quoted fields can be null, too: some programs quote every field."
        ),
    ] = False
    decimal_separator: Literal[".", ","] = "."
    thousands_separator: Literal[",", ".", " ", "'", "\N{NO-BREAK SPACE}"] | None = None
    on_error: Annotated[
        Literal["fail", "skip"],
        Field(
            description="Action for a row with too few or too many fields, or with a value that "
            "does not fit its column's type: fail the job, or skip the row and report it in the "
            "result."
        ),
    ] = "fail"

    @model_validator(mode="after")
    def consistent(self) -> Self:
        if self.decimal_separator == self.thousands_separator:
            raise ValueError("decimal_separator and thousands_separator must differ")
        if self.comment is not None and self.comment in {self.separator, self.quote}:
            raise ValueError("comment must differ from separator and quote")
        if self.quote != "none" and any(self.quote in value for value in self.null_values):
            raise ValueError("null_values: values must not contain csv.quote")
        if self.column_names and len(set(self.column_names)) != len(self.column_names):
            raise ValueError("column_names must be unique")
        return self


def _key_name(key: str | DerivedKey) -> str:
    return key if isinstance(key, str) else key.name


class DatasetAggregate(JobOptions):
    # The first example works with every table.
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "source": EXAMPLE_FILE,
                    "aggregates": [{"op": "count", "name": "rows"}],
                    "output_format": "csv",
                },
                {
                    "source": EXAMPLE_FILE,
                    "csv": {"null_values": ["NA"]},
                    "filters": [{"op": "gt", "column": "dep_delay", "value": 0}],
                    "group_by": ["carrier"],
                    "aggregates": [{"op": "mean", "column": "dep_delay", "name": "mean_delay"}],
                    "sort": [{"column": "mean_delay", "descending": True}],
                    "output_format": "csv",
                },
            ]
        }
    )

    source: FileId
    more_sources: Annotated[
        tuple[FileId, ...],
        Field(
            max_length=MAX_SOURCES - 1,
            description="Further files with the same columns, read after the first as one table.",
        ),
    ] = ()
    format: Annotated[
        Format | None,
        Field(description="Format of the sources, detected from their first bytes by default."),
    ] = None
    csv: CsvOptions = CsvOptions()
    filters: Annotated[
        tuple[Filter, ...], Field(max_length=50, description="A row must pass all of them.")
    ] = ()
    group_by: Annotated[
        tuple[ColumnName | DerivedKey, ...],
        Field(
            max_length=20,
            description="Columns, or keys derived from one. Without any, the result has one row.",
        ),
    ] = ()
    aggregates: Annotated[list[Aggregate], Field(min_length=1, max_length=100)]
    sort: Annotated[
        tuple[SortKey, ...],
        Field(
            max_length=20,
            description="Columns of the result to sort by. By default the groups' own order.",
        ),
    ] = ()
    limit: Annotated[
        int | None,
        Field(ge=1, le=100_000_000, description="Largest number of rows in the result."),
    ] = None
    limit_per: Annotated[
        tuple[ColumnName, ...],
        Field(
            max_length=20,
            description="Apply `limit` to each group of rows that share these columns of the "
            "result, for example for the top three of each.",
        ),
    ] = ()
    output_format: Format = "parquet"

    @property
    def key_names(self) -> list[str]:
        return [_key_name(key) for key in self.group_by]

    @property
    def output_names(self) -> list[str]:
        return [*self.key_names, *(aggregate.name for aggregate in self.aggregates)]

    @model_validator(mode="after")
    def consistent(self) -> Self:
        names = self.output_names
        if len(set(names)) != len(names):
            raise ValueError(
                "group_by and aggregates: each column of the result needs its own name"
            )
        for field, used in (
            ("sort", [key.column for key in self.sort]),
            ("limit_per", self.limit_per),
        ):
            for column in used:
                if column not in names:
                    raise ValueError(f"{field}: the result has no column {column!r}, only {names}")
        if self.limit_per and self.limit is None:
            raise ValueError("limit_per requires limit")
        return self
