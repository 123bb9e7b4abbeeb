"""Running the kind over files, and comparing what it wrote with what is right."""

import csv
import io
import math
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet

from app.jobs import JobError
from tests.kinds_builtin.conftest import FolderContext
from tests.kinds_builtin.dataset.csv_text import Fault
from tests.kinds_builtin.dataset.oracle import Answer, AnyOf, Near, Short
from worker.kinds.dataset import DatasetAggregate, DatasetAggregated, aggregate

CASES = Path(__file__).parents[1] / "cases"
COUNT = [{"op": "count", "name": "rows"}]
# Parts of paths, query plans, SQL, C++ and Python objects.
INTERNALS = re.compile(
    r"/tmp|/home|scratch|\.parquet\b|SELECT |read_csv|read_parquet|duckdb|pyarrow|::|std:|"
    r"Traceback|<[a-z_.]+ object|0x[0-9a-f]{6,}|INTERNAL Error|Exception|(?-i:\bNone\b)|LINE \d+:",
    re.IGNORECASE,
)
csv.field_size_limit(sys.maxsize)


@dataclass
class Output:
    names: list[str]
    rows: list[list[Any]]
    result: DatasetAggregated


def run(contents: Sequence[bytes] | bytes, **spec: Any) -> Output:
    """The kind's answer over files of these contents."""
    contents = [contents] if isinstance(contents, bytes) else contents
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "scratch").mkdir()
        job = FolderContext(folder / "scratch")
        sources = []
        for number, content in enumerate(contents):
            path = folder / f"input{number}"
            path.write_bytes(content)
            sources.append(job.give(path))
        full = {"source": sources[0], "more_sources": sources[1:], "aggregates": COUNT} | spec
        result = aggregate(DatasetAggregate.model_validate(full), job)
        path = job.path(result.file)
        assert result.bytes == path.stat().st_size
        job.assert_monotone()
        names, rows = read_csv(path) if result.format == "csv" else read_parquet(path)
    assert names == [column.name for column in result.columns]
    assert len(rows) == result.rows_out
    return Output(names, rows, result)


def refused(contents: Sequence[bytes] | bytes, **spec: Any) -> JobError:
    try:
        output = run(contents, **spec)
    except JobError as error:
        assert_plain(error)
        return error
    raise AssertionError(f"an error was expected, not {output.rows[:10]}")


def assert_plain(error: JobError) -> None:
    """The job is not tried again, and its message is for a person."""
    assert not error.retryable
    assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", error.code)
    assert error.code != "internal-error"
    assert error.detail.strip()
    assert not INTERNALS.search(error.detail), error.detail


def line_of(error: JobError) -> int | None:
    found = re.search(r"[Ll]ine ([\d,]+)", error.detail)
    return int(found[1].replace(",", "")) if found else None


def is_one_of(error: JobError, faults: Sequence[Fault]) -> bool:
    return any(
        error.code == fault.code
        and (
            fault.column is None
            or fault.column in error.detail
            or repr(fault.column) in error.detail
        )
        and (fault.lines is None or line_of(error) in fault.lines)
        for fault in faults
    )


def read_csv(path: Path) -> tuple[list[str], list[list[Any]]]:
    with path.open(newline="", encoding="utf-8") as file:
        names, *rows = csv.reader(file, strict=True)
    return names, [row or [""] for row in rows]


def read_parquet(path: Path) -> tuple[list[str], list[list[Any]]]:
    table = pyarrow.parquet.read_table(path)
    columns = [column.to_pylist() for column in table.columns]
    return table.column_names, [list(row) for row in zip(*columns, strict=True)]


def is_near(got: Any, wanted: Near) -> bool:
    try:
        number = float(got)
    except ValueError:
        return False
    if math.isnan(wanted.value):
        return math.isnan(number)
    return number == wanted.value or abs(number - wanted.value) <= wanted.tolerance


def is_same(got: Any, wanted: Any, *, text: bool) -> bool:  # noqa: C901 - a branch per type
    """`text`: the cell is one of a CSV file or the preview."""
    if isinstance(wanted, AnyOf):
        return any(is_same(got, each, text=text) for each in wanted.values)
    if wanted is None or got is None:
        return got is wanted or (text and got == "" and wanted is None)
    if isinstance(wanted, Near) or (isinstance(wanted, float) and not isinstance(got, bool)):
        near = wanted if isinstance(wanted, Near) else Near(float(wanted), 0)
        return (isinstance(got, int | float) or text) and is_near(got, near)
    if isinstance(wanted, bool):
        return got is wanted or (text and got == str(wanted).lower())
    if isinstance(wanted, Short) and isinstance(got, float):
        return got == float(wanted)
    if isinstance(wanted, int | Decimal):
        if isinstance(got, str) and (text or not -(2**63) < wanted < 2**63):
            return re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", got) is not None and Decimal(got) == wanted
        return isinstance(got, int | Decimal) and not isinstance(got, bool) and got == wanted
    if isinstance(wanted, datetime):
        if isinstance(got, str) and text:
            got = datetime.fromisoformat(got)
        if isinstance(got, datetime) and got.tzinfo:
            got = got.astimezone(UTC).replace(tzinfo=None)
        return isinstance(got, datetime) and got == wanted
    if isinstance(wanted, date):
        return (got == wanted and not isinstance(got, datetime)) or (text and got == str(wanted))
    return isinstance(got, str) and got == wanted


def assert_same(output: Output, answer: Answer) -> None:
    assert output.names == answer.names
    text = output.result.format == "csv"
    assert len(output.rows) == len(answer.rows), (output.rows, answer.rows)
    for cells, wanted in zip(output.rows, answer.rows, strict=True):
        for name, cell, value in zip(answer.names, cells, wanted, strict=True):
            assert is_same(cell, value, text=text), (name, cell, value, output.rows, answer.rows)
    assert output.result.rows_in == answer.rows_in


def parquet(table: pyarrow.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(table, file, **options)
    return file.getvalue()


def one(column: pyarrow.Array, op: str = "max", **more: Any) -> Any:
    """One aggregate of a Parquet column."""
    spec = {"op": op, "column": "v", "name": "x"} | more
    ((value,),) = run(parquet(pyarrow.table({"v": column})), aggregates=[spec]).rows
    return value


def sum_of(column: str) -> list[dict[str, Any]]:
    return [{"op": "sum", "column": column, "name": "s"}]


def sums_by_hand(content: str, key: str, value: str) -> dict[str | None, Decimal]:
    """Sums of each group by Python's csv and decimal; an empty key is null."""
    sums: dict[str | None, Decimal] = defaultdict(Decimal)
    for row in csv.DictReader(content.splitlines()):
        sums[row[key] or None] += Decimal(row[value])
    return sums
