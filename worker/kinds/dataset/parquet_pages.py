"""Checks the pages of Parquet columns: checksums, and the footer's counts and places.

DuckDB verifies no checksums (2.0).
https://github.com/apache/parquet-format describes the headers of pages.
"""

import mmap
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.jobs import JobError
from worker.kinds.dataset.thrift import DAMAGED, structure

# Bytes of a page, uncompressed: it is held in memory whole. Writers make pages of about 1 MiB.
MAX_PAGE = 256 << 20
# Bytes by which a chunk may be longer than its footer says: writers before parquet-mr 1.2.9 forgot
# the header of the dictionary (PARQUET-816).
SLACK = 100
# Fields of a PageHeader by their ids.
UNCOMPRESSED, COMPRESSED, CHECKSUM, DATA, DATA_V2 = 2, 3, 4, 5, 8
NUM_VALUES = 1


@dataclass(frozen=True, slots=True)
class Chunk:
    """The pages of one column in one row group, as the footer describes them."""

    column: str
    start: int
    size: int
    values: int


def check_pages(path: Path, chunks: list[Chunk]) -> Iterator[int]:
    """Look at every page; yields the bytes of each.

    Raises `JobError` (`parquet-broken`).
    """
    if not chunks:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for chunk in chunks:
            yield from _check_chunk(data, chunk)


def _check_chunk(data: mmap.mmap, chunk: Chunk) -> Iterator[int]:
    place, values = chunk.start, 0
    end = min(chunk.start + chunk.size + SLACK, len(data))
    while values < chunk.values or place < chunk.start + chunk.size:
        try:
            header, body = structure(data, place)
            size, whole = header[COMPRESSED], header[UNCOMPRESSED]
            values += (header.get(DATA) or header.get(DATA_V2) or {}).get(NUM_VALUES, 0)
        except DAMAGED as error:
            raise _broken(chunk, "has a page whose header is damaged") from error
        if not 0 <= size <= end - body:
            raise _broken(chunk, "has a page that is cut short")
        if not 0 <= whole <= MAX_PAGE:
            raise _broken(
                chunk, f"has a page of {whole:,} bytes, where at most {MAX_PAGE:,} are accepted"
            )
        with memoryview(data)[body : body + size] as page:
            if CHECKSUM in header and zlib.crc32(page) != header[CHECKSUM] & 0xFFFFFFFF:
                raise _broken(chunk, "has a page whose checksum is wrong")
        yield size
        place = body + size
    if values != chunk.values:
        raise _broken(
            chunk, f"has {values:,} values, but the file's footer counts {chunk.values:,}"
        )


def _broken(chunk: Chunk, fault: str) -> JobError:
    return JobError(
        "parquet-broken", f"Column {chunk.column[:80]!r} {fault}: upload the file again."
    )
