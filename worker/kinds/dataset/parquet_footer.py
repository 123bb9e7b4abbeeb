"""Reads from a Parquet footer where the pages of each column are, without the statistics.

DuckDB lists them with their statistics as texts only, and fails where it can't write one.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.jobs import JobError
from worker.kinds.dataset.engine import Row
from worker.kinds.dataset.thrift import DAMAGED, structure

TAIL = 8
# Fields of the structures by their ids.
ROW_GROUPS = 4
COLUMNS, NUM_ROWS = 1, 3
META_DATA = 3
PATH, NUM_VALUES, COMPRESSED, DATA_PAGE, DICTIONARY_PAGE = 3, 5, 7, 9, 11


def chunks(path: Path) -> list[Row]:
    """Number and rows of the row group, path, values, places of the pages, and size of each chunk.

    Raises `JobError` (`parquet-broken`).
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        size = int.from_bytes(data[-TAIL : -TAIL // 2], "little")
        try:
            footer, _ = structure(data, len(data) - TAIL - size)
            return list(_chunks(data, footer))
        except DAMAGED as error:
            raise JobError(
                "parquet-broken", "The Parquet file's footer is damaged: upload the file again."
            ) from error


def _chunks(data: mmap.mmap, footer: dict[int, Any]) -> Iterator[Row]:
    for number, group in enumerate(footer[ROW_GROUPS]):
        for column in group[COLUMNS]:
            chunk = column[META_DATA]
            path = ", ".join(data[part].decode() for part in chunk[PATH])
            yield (
                number,
                group[NUM_ROWS],
                path,
                chunk[NUM_VALUES],
                chunk.get(DICTIONARY_PAGE),
                chunk[DATA_PAGE],
                chunk[COMPRESSED],
            )
