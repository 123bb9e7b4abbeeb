"""The vocabulary of `dataset.aggregate`, and its translation into polars' expressions."""

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from app.jobs import JobError, JobOptions

if TYPE_CHECKING:
    import polars

    Schema = dict[str, polars.DataType]

Truth = Annotated[bool, Field(strict=True)]
ColumnName = Annotated[str, Field(max_length=256)]
Integer = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Text = Annotated[str, Field(strict=True, max_length=1000)]
Value = Annotated[
    Truth | Integer | Number | Text,
    Field(description="Of the column's type; a date or a time as ISO 8601 text (UTC)."),
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
    """Both ends included."""

    op: Literal["between"]
    column: ColumnName
    low: Value
    high: Value


class Null(JobOptions):
    op: Literal["is_null", "is_not_null"]
    column: ColumnName


class Match(JobOptions):
    """The text as it stands: no pattern, and capitals matter."""

    op: Literal["contains", "starts_with", "ends_with"]
    column: ColumnName
    value: Text


Filter = Annotated[Compare | OneOf | Between | Null | Match, Field(discriminator="op")]

OutputName = Annotated[
    str, Field(min_length=1, max_length=256, description="Of the result's column.")
]


class Reduce(JobOptions):
    """`n_unique` counts values other than null; `std` is of a sample; `first` and `last` are as
    the file has them, null too."""

    op: Literal["sum", "mean", "min", "max", "n_unique", "median", "std", "first", "last"]
    column: ColumnName
    name: OutputName


class Count(JobOptions):
    op: Literal["count"]
    column: Annotated[
        ColumnName | None, Field(description="Count its values that are not null; none: rows.")
    ] = None
    name: OutputName


class Quantile(JobOptions):
    """Interpolated between its two neighbours."""

    op: Literal["quantile"]
    column: ColumnName
    quantile: Annotated[float, Field(ge=0, le=1)]
    name: OutputName


Aggregate = Annotated[Reduce | Count | Quantile, Field(discriminator="op")]


class SortKey(JobOptions):
    """Nulls come last."""

    column: ColumnName
    descending: bool = False


ADDS = {"sum", "mean", "median", "std", "quantile"}


def unknown_column(name: str, columns: list[str], where: str) -> JobError:
    known = ", ".join(columns[:50]) + (", ..." if len(columns) > 50 else "")
    return JobError(
        "column-unknown",
        f"{where}: the file has no column {name!r}; it has {known}. "
        "(A CSV file without a header row needs csv.column_names.)",
    )


def scalar(name: str, dtype: "polars.DataType") -> None:
    """Refuse lists, structs and the like."""
    if dtype.is_nested() or _kind(dtype) is None:
        raise _wrong_type(name, dtype, "holds no single values, which is all that is supported")


def condition(item: Filter, schema: "Schema") -> "polars.Expr":
    import polars

    column, dtype = polars.col(item.column), schema[item.column]
    match item:
        case Null():
            return column.is_null() if item.op == "is_null" else column.is_not_null()
        case Match():
            if _kind(dtype) != "text":
                raise _wrong_type(item.column, dtype, f"can't be used with {item.op}, text can")
            text = column.cast(polars.String)
            if item.op == "contains":
                return text.str.contains(item.value, literal=True)
            if item.op == "starts_with":
                return text.str.starts_with(item.value)
            return text.str.ends_with(item.value)
        case OneOf():
            column, values = _comparable(item.column, dtype, item.values)
            return column.is_in(values)
        case Between():
            column, (low, high) = _comparable(item.column, dtype, [item.low, item.high])
            return column.is_between(low, high)
        case Compare():
            column, (value,) = _comparable(item.column, dtype, [item.value])
            compared: dict[str, polars.Expr] = {
                "eq": column == value,
                "ne": column != value,
                "lt": column < value,
                "le": column <= value,
                "gt": column > value,
                "ge": column >= value,
            }
            return compared[item.op]


def check_aggregate(item: Aggregate, schema: "Schema") -> None:
    if item.column is None or item.op not in ADDS:
        return
    dtype = schema[item.column]
    if not (dtype.is_numeric() or (_kind(dtype) == "boolean" and item.op in {"sum", "mean"})):
        raise _wrong_type(
            item.column, dtype, f"can't be used with {item.op}, numbers can (see csv.types)"
        )


def aggregate_expression(item: Aggregate, schema: "Schema") -> "polars.Expr":
    import polars

    if item.column is None:
        return polars.len().cast(polars.Int64).alias(item.name)
    column = polars.col(item.column)
    if isinstance(item, Quantile):
        return column.quantile(item.quantile, "linear").alias(item.name)
    # Sums of integers wrap round in silence: made in 128 bits, and narrowed at the end.
    summed = column.cast(polars.Int128) if schema[item.column].is_integer() else column
    expressions: dict[str, polars.Expr] = {
        "sum": summed.sum(),
        "mean": column.mean(),
        "min": column.min(),
        "max": column.max(),
        "count": column.count().cast(polars.Int64),
        "n_unique": column.drop_nulls().n_unique().cast(polars.Int64),
        "median": column.median(),
        "std": column.std(),
        "first": column.first(),
        "last": column.last(),
    }
    return expressions[item.op].alias(item.name)


def _comparable(
    name: str, dtype: "polars.DataType", values: "list[bool | int | float | str]"
) -> "tuple[polars.Expr, list[Any]]":
    """The column and the values brought to one type; a `JobError` where there is none."""
    import polars

    column = polars.col(name)
    match _kind(dtype):
        case "number" if all(type(value) in (int, float) for value in values):
            if dtype.is_integer() and all(isinstance(value, int) for value in values):
                return column, list(values)
            return column.cast(polars.Float64), [float(value) for value in values]
        case "text" if all(isinstance(value, str) for value in values):
            return column.cast(polars.String), list(values)
        case "boolean" if all(isinstance(value, bool) for value in values):
            return column, list(values)
        case "date" if all(isinstance(value, str) for value in values):
            return column, [_date(name, str(value)) for value in values]
        case "datetime" if all(isinstance(value, str) for value in values):
            if isinstance(dtype, polars.Datetime) and dtype.time_zone:
                column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
            return column, [_datetime(name, str(value)) for value in values]
    shown = ", ".join(repr(value) for value in values[:3])
    raise _wrong_type(name, dtype, f"can't be compared with {shown}: give values of its type")


def _kind(dtype: "polars.DataType") -> str | None:
    """Which values it compares with; none for what is neither number, text, truth nor moment."""
    import polars

    if dtype.is_numeric():
        return "number"
    kinds: dict[type[polars.DataType], str] = {
        polars.String: "text",
        polars.Categorical: "text",
        polars.Enum: "text",
        polars.Boolean: "boolean",
        polars.Date: "date",
        polars.Datetime: "datetime",
    }
    return kinds.get(type(dtype))


def _date(name: str, value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        raise _wrong_moment(name, value, "2013-12-31") from error


def _datetime(name: str, value: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise _wrong_moment(name, value, "2013-12-31T23:59:00Z") from error
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _wrong_moment(name: str, value: str, example: str) -> JobError:
    return JobError(
        "column-type", f"Column {name!r} can't be compared with {value!r}: write it as {example}."
    )


def _wrong_type(name: str, dtype: "polars.DataType", fault: str) -> JobError:
    return JobError("column-type", f"Column {name!r} ({dtype}) {fault}.")
