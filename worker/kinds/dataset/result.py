"""The result of `dataset.aggregate`."""

from bisect import bisect_right
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, Field
from pydantic_core import to_json

from app.core.text import text_of
from app.jobs import FileId
from worker.kinds.dataset.spec import Compression, Format

Cell = int | float | bool | str | None

PREVIEW_ROWS = 10
# Bytes of JSON: clients read a result whole, and a cell may have a whole book. A row of the maximum
# number of groups and aggregates always fits.
PREVIEW_BYTES = 64 * 1024
CELL_BYTES = PREVIEW_BYTES // 128
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


class Column(BaseModel):
    name: str
    dtype: Annotated[
        str, Field(description="The column's SQL type: BIGINT, DOUBLE, DECIMAL(38,2), VARCHAR, ...")
    ]


class CsvRead(BaseModel):
    """How a CSV source was read."""

    separator: str
    compression: Compression


class SkippedRow(BaseModel):
    source: Annotated[int, Field(description="Number of the source: 1 is the first.")]
    line: Annotated[int, Field(description="Line of the file in which the row begins.")]
    column: str | None = None
    reason: str


class DatasetAggregated(BaseModel):
    file: FileId
    format: Format
    bytes: int
    rows_in: Annotated[
        int,
        Field(description="Rows of the sources, before the filters and without those skipped."),
    ]
    rows_out: int
    columns: list[Column]
    preview: Annotated[
        list[list[Cell]],
        Field(
            description=f"The first {PREVIEW_ROWS} rows, in the order of `columns`; fewer where "
            f"they have more than {PREVIEW_BYTES >> 10} KiB. A text of more than {CELL_BYTES} "
            "bytes is cut, and ends in an ellipsis. Decimals and integers beyond 64 bits are "
            "texts, NaN and infinity are null."
        ),
    ]
    csv: Annotated[
        CsvRead | None, Field(description="How the first source was read, if it is CSV.")
    ] = None
    rows_skipped: Annotated[
        int, Field(description="Rows that csv.on_error `skip` has left out.")
    ] = 0
    skipped: Annotated[
        list[SkippedRow], Field(description="The first of the rows that were left out.")
    ] = Field(default_factory=list)


def preview(rows: list[tuple[object, ...]]) -> list[list[Cell]]:
    shown: list[list[Cell]] = []
    left = PREVIEW_BYTES
    for row in rows:
        cells = [_cell(value) for value in row]
        left -= len(to_json(cells))
        if left < 0:
            break
        shown.append(cells)
    return shown


def _cell(value: object) -> Cell:
    if isinstance(value, float):
        # JSON cannot represent infinity or NaN.
        return value if abs(value) < float("inf") else None
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    return cut(f"{value:f}" if isinstance(value, Decimal) else text_of(value, CELL_BYTES))


def cut(text: str) -> str:
    """Cut a text to `CELL_BYTES` of JSON, in which a character takes one to six."""
    if len(to_json(text)) <= CELL_BYTES:
        return text
    room = CELL_BYTES - len(ELLIPSIS.encode())
    fitting = bisect_right(range(len(text)), room, key=lambda length: len(to_json(text[:length])))
    return text[: fitting - 1] + ELLIPSIS
