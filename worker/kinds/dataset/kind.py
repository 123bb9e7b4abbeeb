"""The kind's function: reads files, aggregates them, writes a file."""

import csv
import shutil
from pathlib import Path

from app.jobs import JobContext, JobError, job_kind
from worker.kinds.dataset.csv_table import CsvTable
from worker.kinds.dataset.csv_text import MAX_TEXT, CsvText, read_csv_text
from worker.kinds.dataset.engine import Engine, quoted
from worker.kinds.dataset.faults import csv_errors, named, parquet_errors
from worker.kinds.dataset.parquet_table import ParquetTable
from worker.kinds.dataset.query import Query
from worker.kinds.dataset.result import (
    PREVIEW_ROWS,
    Column,
    CsvRead,
    DatasetAggregated,
    cut,
    preview,
)
from worker.kinds.dataset.spec import DatasetAggregate, Format
from worker.kinds.dataset.values import literal

CONTENT_TYPE: dict[Format, str] = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
# Shares of the job's progress at the end of each step.
CHECKED, READ, QUERIED = 0.15, 0.5, 0.95


@job_kind("dataset.aggregate", pool="cpu", timeout=600)
def aggregate(spec: DatasetAggregate, job: JobContext) -> DatasetAggregated:
    """Filter, group and aggregate CSV or Parquet files.

    Nulls are as in SQL: only the filter `is_null` matches them, aggregates ignore them, they form a
    group of their own, and a sum of no values is null. NaN equals itself and is greater than every
    number, as in PostgreSQL. Sums of integers and decimals are exact; floats are summed in double
    precision.

    In a CSV file only empty fields are null, and the values of `csv.null_values`. Type detection
    never merges or changes values: a column is numeric as a key only if each of its values is
    written in the usual form of a number (`1.10`, `1E5`, `00501` and `+49` stay text). A sum, a
    mean or a comparison with a number reads each value as a number, and fails with the line of the
    first that is not one.

    Fails with `file-empty`, `file-too-large`, `not-a-table`, `csv-compression`, `csv-encoding`,
    `csv-header`, `csv-ragged`, `csv-quote`, `csv-value`, `csv-broken`, `parquet-broken`,
    `parquet-encrypted`, `sources-differ`, `column-unknown`, `column-type`, `column-name`,
    `integer-overflow`, `number-overflow` or `memory-limit`.
    """
    job.progress(0, "opening the file")
    paths = _inputs(spec, job)
    formats = set()
    for index, path in enumerate(paths):
        with named(index, len(paths)):
            formats.add(spec.format or _format(path))
    if len(formats) > 1:
        raise JobError(
            "sources-differ", "more_sources: all sources must be of one format, CSV or Parquet."
        )
    if formats == {"parquet"}:
        with Engine(job, [*paths, _output(spec, job)]) as engine, parquet_errors():
            parquet = ParquetTable(paths, spec, engine, job)
            with parquet.naming_columns():
                parquet.read(CHECKED, READ)
                return _answer(spec, parquet, engine, job)
    texts = _csv_texts(paths, spec, job)
    with Engine(job, [*(text.path for text in texts), _output(spec, job)]) as engine, csv_errors():
        table = CsvTable(texts, spec, engine, job)
        table.read(CHECKED, READ)
        result = _answer(spec, table, engine, job)
    return result.model_copy(
        update={
            "csv": CsvRead(separator=texts[0].separator, compression=texts[0].compression),
            "rows_skipped": table.skipped,
            "skipped": table.skipped_rows,
        }
    )


def _inputs(spec: DatasetAggregate, job: JobContext) -> list[Path]:
    paths = [job.input(spec.source)]
    for file in spec.more_sources:
        paths.append(job.input(file))
        if sum(path.stat().st_size for path in paths) > MAX_TEXT:
            raise JobError(
                "file-too-large",
                f"more_sources: the files have more than {MAX_TEXT >> 30} GiB together: split the "
                "job, and aggregate its results.",
            )
    return paths


def _format(path: Path) -> Format:
    with path.open("rb") as file:
        head = file.read(5)
        file.seek(max(path.stat().st_size - 4, 0))
        tail = file.read()
    if not head:
        raise JobError("file-empty", "The file is empty: send a CSV or a Parquet file.")
    magic, behind = head[:4], head[4:]
    # A header line may begin with PARENT. Where the file is cut, a byte that no text has follows.
    whole = tail == magic or behind < b"\x20"
    return "parquet" if magic in (b"PAR1", b"PARE") and whole else "csv"


def _csv_texts(paths: list[Path], spec: DatasetAggregate, job: JobContext) -> list[CsvText]:
    texts = []
    before, size = 0, sum(path.stat().st_size for path in paths)
    share = 0.0

    def watch(read: int) -> None:
        nonlocal share
        # A compressed file has more bytes of text than its own size.
        share = max(share, min((before + read) / max(size, 1), 1))
        job.progress(CHECKED * share, "checking the characters")

    for index, path in enumerate(paths):
        with named(index, len(paths)):
            texts.append(read_csv_text(path, spec.csv, job.scratch, watch))
            copies = sum(text.path.stat().st_size for text in texts if text.path not in paths)
            if index and copies > MAX_TEXT:
                raise JobError(
                    "file-too-large",
                    f"The texts of the files so far have more than {MAX_TEXT >> 30} GiB together: "
                    "split the job, and aggregate its results.",
                )
        before += path.stat().st_size
    return texts


def _output(spec: DatasetAggregate, job: JobContext) -> Path:
    return job.scratch / f"aggregate.{spec.output_format}"


def _answer(
    spec: DatasetAggregate, table: CsvTable | ParquetTable, engine: Engine, job: JobContext
) -> DatasetAggregated:
    check_names(spec)
    query = Query(spec, table)
    engine.run(
        f"CREATE TEMP TABLE answer AS {_limited(query, spec)}",
        query.parameters,
        start=READ,
        end=QUERIED,
        message=f"aggregating {table.rows:,} rows",
    )
    columns = {
        name: _stored(column, type_, spec.output_format, engine)
        for name, (column, type_, *_) in zip(
            spec.output_names, engine.run("DESCRIBE answer"), strict=True
        )
    }
    (rows,) = engine.run("SELECT count(*) FROM answer")[0]
    target = _output(spec, job)
    job.progress(QUERIED, f"writing {rows:,} rows")
    shown = f"SELECT {', '.join(sql for sql, _ in columns.values())} FROM answer"
    place = f"{literal(str(target))} (USE_TMP_FILE false, FORMAT"
    if spec.output_format == "parquet":
        listed = ", ".join(f"{sql} AS {quoted(name)}" for name, (sql, _) in columns.items())
        engine.run(f"COPY (SELECT {listed} FROM answer) TO {place} parquet)")
    else:
        if len(columns) == 1:
            # A row of one null would be a blank line, which no reader takes for a row.
            ((column, _),) = columns.values()
            shown = f"SELECT coalesce(CAST({column} AS VARCHAR), '') FROM answer"
        engine.run(f"COPY ({shown}) TO {place} csv, HEADER false)")
        _put_header(target, list(columns))
    texts = [
        f"CAST({sql} AS VARCHAR)" if type_.startswith(("DATE", "TIME")) else sql
        for sql, type_ in columns.values()
    ]
    first = engine.run(f"SELECT {', '.join(texts)} FROM answer LIMIT {PREVIEW_ROWS}")
    file = job.output(target, name=target.name, content_type=CONTENT_TYPE[spec.output_format])
    job.progress(1, "done")
    return DatasetAggregated(
        file=file,
        format=spec.output_format,
        bytes=target.stat().st_size,
        rows_in=table.rows,
        rows_out=rows,
        columns=[Column(name=name, dtype=cut(type_)) for name, (_, type_) in columns.items()],
        preview=preview(first),
    )


def check_names(spec: DatasetAggregate) -> None:
    """Refuse names that Parquet output can't tell apart."""
    seen: dict[str, str] = {}
    for name in spec.output_names if spec.output_format == "parquet" else ():
        if not name:
            raise JobError(
                "column-name",
                "group_by: Parquet output needs a name for each column, and this one has none: set "
                "output_format to csv.",
            )
        if (other := seen.setdefault(name.lower(), name)) != name:
            raise JobError(
                "column-name",
                f"The result's columns {other!r} and {name!r} differ only in case, which Parquet "
                "output can't keep apart: rename one, or set output_format to csv.",
            )


def _limited(query: Query, spec: DatasetAggregate) -> str:
    wanted = ", ".join(query.columns.values())
    source = f"SELECT {', '.join(['*', *query.sorted])} FROM ({query.sql})"
    sql = f"SELECT {wanted} FROM ({source})"
    order = f" ORDER BY {query.order}" if query.order else ""
    if spec.limit_per:
        parts = ", ".join(query.columns[name] for name in spec.limit_per)
        sql += f" QUALIFY row_number() OVER (PARTITION BY {parts}{order}) <= {spec.limit}"
    elif spec.limit is not None:
        return f"{sql}{order} LIMIT {spec.limit}"
    return sql + order


def _stored(column: str, type_: str, output: Format, engine: Engine) -> tuple[str, str]:
    """The expression and the type by which a column of the answer is written.

    Parquet has no integers of 128 bits, which DuckDB would write as doubles. A NaN has a sign that
    means nothing. The shortest text of a number in single precision is another one in double.
    """
    if type_ == "FLOAT" and output == "csv":
        column, type_ = f"CAST({column} AS DOUBLE)", "DOUBLE"
    if type_ in ("FLOAT", "DOUBLE"):
        return f"CASE WHEN isnan({column}) THEN 'nan'::{type_} ELSE {column} END", type_
    if type_ not in ("HUGEINT", "UHUGEINT"):
        return column, type_
    ((low, high),) = engine.run(f"SELECT min({column}), max({column}) FROM answer")
    if low is None or -(2**63) <= low <= high < 2**63:
        stored = "BIGINT"
    elif -(10**38) < low <= high < 10**38:
        stored = "DECIMAL(38,0)"
    else:
        stored = "VARCHAR"
    return f"CAST({column} AS {stored})", stored


def _put_header(path: Path, names: list[str]) -> None:
    """Put the line of names before the rows of a CSV file. Names of SQL would lose their case."""
    rows = path.rename(path.with_suffix(".rows"))
    with path.open("w", encoding="utf-8", newline="") as file:
        # The writer of Python 3.11 leaves a CR without quotes.
        if any("\r" in name for name in names):
            csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(names)
        else:
            csv.writer(file, lineterminator="\n").writerow(names)
    with rows.open("rb") as source, path.open("ab") as file:
        shutil.copyfileobj(source, file)
    rows.unlink()
