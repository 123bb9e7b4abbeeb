"""`dataset.aggregate`: filter, group and aggregate a table, by a typed specification."""

from bisect import bisect_right
from collections.abc import Callable
from functools import reduce
from operator import and_
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import to_json

from app.core.text import text_of
from app.jobs import EXAMPLE_FILE, FileId, JobContext, JobError, JobOptions, job_kind
from worker.kinds.csvcheck import MAX_COLUMNS, check_csv
from worker.kinds.dataset_plan import (
    Aggregate,
    ColumnName,
    Filter,
    SortKey,
    aggregate_expression,
    check_aggregate,
    condition,
    scalar,
    unknown_column,
)
from worker.kinds.watch import watched

if TYPE_CHECKING:
    import polars

Format = Literal["csv", "parquet"]
ColumnType = Literal["text", "integer", "number", "boolean", "date", "datetime"]
Cell = int | float | bool | str | None

CONTENT_TYPE: dict[Format, str] = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
# Rows from which a CSV column's type is guessed.
INFER_ROWS = 10_000
PREVIEW_ROWS = 10
# Bytes of JSON: clients read a result whole, and a cell may have a whole book. A row of the maximum
# number of groups and aggregates always fits.
PREVIEW_BYTES = 64 * 1024
CELL_BYTES = PREVIEW_BYTES // 128
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


# By name: generated clients turn a tab in an enum into spaces (openapi-generator into one,
# openapi-typescript-codegen into four).
Separator = Annotated[
    Literal[",", ";", "\t", "|"],
    BeforeValidator(lambda value: "\t" if value == "tab" else value),
    WithJsonSchema({"type": "string", "enum": [",", ";", "tab", "|"]}),
    Field(description="Between two fields of a line. A tab character is accepted for `tab`."),
]


class CsvOptions(JobOptions):
    """How to read a CSV file; nothing here matters to Parquet."""

    separator: Separator = ","
    column_names: Annotated[
        list[ColumnName] | None,
        Field(min_length=1, max_length=MAX_COLUMNS, description="For a file without a header row."),
    ] = None
    types: Annotated[
        dict[ColumnName, ColumnType],
        Field(
            max_length=MAX_COLUMNS,
            description=f"Of columns whose first {INFER_ROWS:,} rows mislead, and of dates (ISO "
            "8601), which are text otherwise.",
        ),
    ] = Field(default_factory=dict)
    null_values: Annotated[
        tuple[Annotated[str, Field(max_length=64)], ...],
        Field(max_length=20, description="What stands for no value."),
    ] = ("", "NA")


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
    format: Annotated[
        Format | None, Field(description="Of the source; found out where it is left out.")
    ] = None
    csv: CsvOptions = CsvOptions()
    filters: Annotated[
        tuple[Filter, ...], Field(max_length=50, description="A row must pass all of them.")
    ] = ()
    group_by: Annotated[
        tuple[ColumnName, ...],
        Field(max_length=20, description="None: one row for the whole table."),
    ] = ()
    aggregates: Annotated[list[Aggregate], Field(min_length=1, max_length=100)]
    sort: Annotated[
        tuple[SortKey, ...],
        Field(max_length=20, description="By columns of the result; otherwise by its groups."),
    ] = ()
    limit: Annotated[int | None, Field(ge=1, le=100_000_000)] = None
    output_format: Format = "parquet"

    @model_validator(mode="after")
    def consistent(self) -> Self:
        names = [*self.group_by, *(aggregate.name for aggregate in self.aggregates)]
        if len(set(names)) != len(names):
            raise ValueError("groups and aggregates need names of their own")
        for key in self.sort:
            if key.column not in names:
                raise ValueError(f"sort: the result has no column {key.column!r}, only {names}")
        return self


class Column(BaseModel):
    name: str
    dtype: Annotated[str, Field(description="polars' name for it: Int64, Float64, String, ...")]


class DatasetAggregated(BaseModel):
    file: FileId
    format: Format
    bytes: int
    rows_in: Annotated[int, Field(description="Rows of the source, before the filters.")]
    rows_out: int
    columns: list[Column]
    preview: Annotated[
        list[list[Cell]],
        Field(
            description=f"The first {PREVIEW_ROWS} rows, in the order of `columns`; fewer where "
            f"they have more than {PREVIEW_BYTES >> 10} KiB. A text of more than {CELL_BYTES} "
            "bytes is cut, and ends in an ellipsis."
        ),
    ]


@job_kind("dataset.aggregate", pool="cpu", timeout=600)
def aggregate(spec: DatasetAggregate, job: JobContext) -> DatasetAggregated:
    """Filter, group and aggregate a CSV or Parquet file.

    Nulls are as in SQL: no filter but is_null finds them, aggregates pass over them, and they make
    a group of their own. A CSV file is checked line by line first, so that a short row or a
    stray byte is an error with its line and not a wrong sum. Fails with `file-empty`,
    `csv-encoding`, `csv-header`, `csv-ragged`, `csv-quote`, `csv-value`, `csv-broken`,
    `parquet-broken`, `column-unknown`, `column-type` or `integer-overflow`.
    """
    job.progress(0, "opening the file")
    path = job.input(spec.source)
    if path.stat().st_size == 0:
        raise JobError("file-empty", "The file is empty: send a CSV or a Parquet file.")
    table = _Parquet(path) if (spec.format or _sniff(path)) == "parquet" else _Csv(path, spec, job)
    return _result(_collect(table, spec, job), table.rows, spec, job)


def _sniff(path: Path) -> Format:
    with path.open("rb") as file:
        return "parquet" if file.read(4) == b"PAR1" else "csv"


class _Csv:
    format: Format = "csv"

    def __init__(self, path: Path, spec: DatasetAggregate, job: JobContext) -> None:
        self.path, self.options = path, spec.csv
        shape = check_csv(
            path,
            spec.csv.separator,
            spec.csv.column_names,
            lambda read: job.progress(0.2 * read, "checking the lines"),
        )
        self.columns, self.rows = shape.columns, shape.rows
        if self.rows == 0:
            raise JobError("file-empty", "The CSV file has a header and no rows.")
        for name in spec.csv.types:
            if name not in self.columns:
                raise unknown_column(name, self.columns, "csv.types")

    def scan(self, *, text_only: bool = False) -> "polars.LazyFrame":
        import polars

        types: dict[ColumnType, Any] = {
            "text": polars.String(),
            "integer": polars.Int64(),
            "number": polars.Float64(),
            "boolean": polars.Boolean(),
            "date": polars.Date(),
            "datetime": polars.Datetime("us"),
        }
        overrides = {name: types[kind] for name, kind in self.options.types.items()}
        return polars.scan_csv(
            self.path,
            has_header=self.options.column_names is None,
            new_columns=self.options.column_names,
            separator=self.options.separator,
            schema_overrides={} if text_only else overrides,
            infer_schema=not text_only,
            infer_schema_length=INFER_ROWS,
            null_values=list(self.options.null_values),
            empty_string_is_null="" in self.options.null_values,
            # The path is a file's, whatever characters it has.
            glob=False,
        )

    def broken(self, error: BaseException, schema: "dict[str, polars.DataType]") -> JobError:
        """The first value that is not of its column's type, found by reading it all as text."""
        import polars

        rows = self.scan(text_only=True).with_row_index("\0row", offset=1)
        for name, dtype in schema.items():
            if not dtype.is_numeric():
                continue
            wrong = polars.col(name).is_not_null() & (
                polars.col(name).str.strip_chars(" ").cast(dtype, strict=False).is_null()
            )
            found = rows.filter(wrong).select("\0row", name).head(1).collect(engine="streaming")
            if found.height:
                row, value = found.row(0)
                return JobError(
                    "csv-value",
                    f"Column {name!r} holds {value[:80]!r} in row {row:,} (line {self._line(row):,}"
                    f" if no field holds a line break), where {_kind(dtype)} is expected: correct "
                    f"it, add it to csv.null_values, or set csv.types to {{{name!r}: 'text'}} "
                    "or 'number'.",
                )
        return JobError("csv-broken", f"The CSV file can't be read: {_first_line(error)}.")

    def _line(self, row: int) -> int:
        return row + (self.options.column_names is None)


class _Parquet:
    format: Format = "parquet"

    def __init__(self, path: Path) -> None:
        import polars

        self.path = path
        try:
            frame = self.scan()
            self.columns = frame.collect_schema().names()
            self.rows = int(frame.select(polars.len()).collect(engine="streaming").item())
        except (polars.exceptions.PolarsError, polars.exceptions.PanicException) as error:
            raise self.broken(error, {}) from error

    def scan(self) -> "polars.LazyFrame":
        import polars

        return polars.scan_parquet(self.path, glob=False)

    def broken(self, error: BaseException, schema: "dict[str, polars.DataType]") -> JobError:
        del schema
        return JobError(
            "parquet-broken",
            f"The file can't be read as Parquet: {_first_line(error)}. Upload it again, whole, or "
            "say format csv if that is what it is.",
        )


class _Stopped(Exception):
    """Raised in polars' thread to end a query whose job was interrupted."""


def _collect(table: _Csv | _Parquet, spec: DatasetAggregate, job: JobContext) -> "polars.DataFrame":
    import polars

    wanted = _wanted(spec, table.columns)
    broken = (polars.exceptions.ComputeError, polars.exceptions.PanicException)
    try:
        source = table.scan().select(wanted)
        schema = dict(source.collect_schema())
    except broken as error:
        raise table.broken(error, {}) from error
    for name, dtype in schema.items():
        scalar(name, dtype)
    conditions = [condition(item, schema) for item in spec.filters]
    for item in spec.aggregates:
        check_aggregate(item, schema)
    seen = 0

    def work(stop: Event) -> polars.DataFrame:
        def count(batch: polars.DataFrame) -> polars.DataFrame:
            nonlocal seen
            seen += batch.height
            # `collect(background=True).cancel()` is not heard before the query's end (polars 2.1:
            # 5.6 s of 6); an exception out of the plan ends it within a batch.
            if stop.is_set():
                raise _Stopped
            return batch

        # Before the filters, which would otherwise be pushed into the scan: it counts all rows.
        rows = source.map_batches(
            count,
            predicate_pushdown=False,
            projection_pushdown=False,
            slice_pushdown=False,
            streamable=True,
            schema=schema,
        )
        return _plan(rows, conditions, spec, schema).collect(engine="streaming")

    def watch() -> None:
        share = seen / max(table.rows, 1)
        job.progress(0.2 + 0.7 * min(share, 1), f"{seen:,} of {table.rows:,} rows")

    watch()
    try:
        frame = watched(work, watch)
    except broken as error:
        raise table.broken(error, schema) from error
    # Of an ungrouped `first` polars reads no more than it needs.
    whole = spec.group_by or any(item.op != "first" for item in spec.aggregates)
    if whole and seen != table.rows:
        raise JobError(
            f"{table.format}-broken",
            f"The file can be read in two ways, as {table.rows:,} or as {seen:,} rows: put fields "
            "that hold a quote or a line break between quotes.",
        )
    return frame


def _wanted(spec: DatasetAggregate, columns: list[str]) -> list[str]:
    """The columns that are read, in the file's order."""
    uses = [(name, "group_by") for name in spec.group_by]
    uses += [(item.column, "filters") for item in spec.filters]
    uses += [(item.column, "aggregates") for item in spec.aggregates if item.column is not None]
    for name, where in uses:
        if name not in columns:
            raise unknown_column(name, columns, where)
    wanted = {name for name, _ in uses}
    # A plain count needs rows, and rows need a column.
    return [name for name in columns if name in wanted] or columns[:1]


def _plan(
    rows: "polars.LazyFrame",
    conditions: "list[polars.Expr]",
    spec: DatasetAggregate,
    schema: "dict[str, polars.DataType]",
) -> "polars.LazyFrame":
    if conditions:
        rows = rows.filter(reduce(and_, conditions))
    outputs = [aggregate_expression(item, schema) for item in spec.aggregates]
    result = rows.group_by(*spec.group_by).agg(outputs) if spec.group_by else rows.select(outputs)
    groups = [SortKey(column=name) for name in spec.group_by]
    keys = [*spec.sort]
    # The groups last: the same result from the same file, whatever ties.
    named = {key.column for key in keys}
    keys += [key for key in groups if key.column not in named]
    if keys:
        result = result.sort(
            [key.column for key in keys],
            descending=[key.descending for key in keys],
            nulls_last=True,
        )
    return result if spec.limit is None else result.head(spec.limit)


def _result(
    frame: "polars.DataFrame", rows_in: int, spec: DatasetAggregate, job: JobContext
) -> DatasetAggregated:
    job.progress(0.95, f"writing {frame.height:,} rows")
    frame = _narrowed(frame)
    target = job.scratch / f"aggregate.{spec.output_format}"
    write: dict[Format, Callable[[Path], object]] = {
        "csv": frame.write_csv,
        "parquet": frame.write_parquet,
    }
    write[spec.output_format](target)
    file = job.output(target, name=target.name, content_type=CONTENT_TYPE[spec.output_format])
    job.progress(1, "done")
    return DatasetAggregated(
        file=file,
        format=spec.output_format,
        bytes=target.stat().st_size,
        rows_in=rows_in,
        rows_out=frame.height,
        # Cut, since the dtype of an Enum names all its values.
        columns=[Column(name=name, dtype=_cut(str(dtype))) for name, dtype in frame.schema.items()],
        preview=_preview(frame.head(PREVIEW_ROWS).rows()),
    )


def _narrowed(frame: "polars.DataFrame") -> "polars.DataFrame":
    """Sums back from the 128 bits that they are made in, in which none wraps round."""
    import polars

    for name, dtype in frame.schema.items():
        if dtype != polars.Int128:
            continue
        try:
            frame = frame.with_columns(polars.col(name).cast(polars.Int64))
        except polars.exceptions.InvalidOperationError as error:
            raise JobError(
                "integer-overflow",
                f"{name!r} does not fit 64 bits: set csv.types of its column to 'number'.",
            ) from error
    return frame


def _preview(rows: list[tuple[object, ...]]) -> list[list[Cell]]:
    preview: list[list[Cell]] = []
    left = PREVIEW_BYTES
    for row in rows:
        cells = [_cell(value) for value in row]
        left -= len(to_json(cells))
        if left < 0:
            break
        preview.append(cells)
    return preview


def _cell(value: object) -> Cell:
    if isinstance(value, float):
        # JSON has no word for infinite and not-a-number.
        return value if abs(value) < float("inf") else None
    if value is None or isinstance(value, int):
        return value
    return _cut(text_of(value, CELL_BYTES))


def _cut(text: str) -> str:
    """Cut a text to `CELL_BYTES` of JSON, in which a character takes one to six."""
    if len(to_json(text)) <= CELL_BYTES:
        return text
    room = CELL_BYTES - len(ELLIPSIS.encode())
    fitting = bisect_right(range(len(text)), room, key=lambda length: len(to_json(text[:length])))
    return text[: fitting - 1] + ELLIPSIS


def _kind(dtype: "polars.DataType") -> str:
    return "a whole number" if dtype.is_integer() else "a number"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].removesuffix(".")[:200] if lines else type(error).__name__
