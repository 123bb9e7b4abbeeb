"""Checks the pages of Parquet columns: their checksums, and that the footer does not lie of them.

DuckDB verifies no checksums (2.0). The headers of pages are Thrift structures in the compact
protocol: https://github.com/apache/parquet-format and the Thrift compact protocol specification.
"""

import mmap
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.jobs import JobError

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
    """The pages of one column in one row group, as the footer has them."""

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
            header, body = _structure(data, place)
            size, whole = header[COMPRESSED], header[UNCOMPRESSED]
            values += (header.get(DATA) or header.get(DATA_V2) or {}).get(NUM_VALUES, 0)
        except (LookupError, TypeError, AttributeError, struct.error, RecursionError) as error:
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
        raise _broken(chunk, f"has {values:,} values, and {chunk.values:,} by the file's footer")


def _broken(chunk: Chunk, fault: str) -> JobError:
    return JobError(
        "parquet-broken", f"Column {chunk.column[:80]!r} {fault}: upload the file again."
    )


# --- Thrift's compact protocol --------------------------------------------------------------------

TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
INTEGERS = (4, 5, 6)
# Elements of a list; a page's header has none longer.
MAX_ELEMENTS = 10_000


def _structure(data: mmap.mmap, place: int) -> tuple[dict[int, Any], int]:
    """The fields of the structure at `place` by their ids, and where it ends."""
    fields: dict[int, Any] = {}
    field = 0
    while kind := data[place]:
        place += 1
        if kind >> 4:
            field += kind >> 4
        else:
            field, place = _signed(data, place)
        if kind & 15 in (TRUE, FALSE):
            fields[field] = kind & 15 == TRUE
        else:
            fields[field], place = _value(data, place, kind & 15)
    return fields, place + 1


def _value(data: mmap.mmap, place: int, kind: int) -> tuple[Any, int]:
    if kind in INTEGERS:
        return _signed(data, place)
    if kind == STRUCT:
        return _structure(data, place)
    if kind == BINARY:
        size, place = _unsigned(data, place)
        if size > len(data) - place:
            raise IndexError(size)
        return None, place + size
    if kind in (TRUE, FALSE, BYTE):
        return data[place], place + 1
    if kind == DOUBLE:
        return struct.unpack_from("<d", data, place)[0], place + 8
    if kind in (LIST, SET):
        head = data[place]
        count, place = (head >> 4, place + 1) if head >> 4 < 15 else _unsigned(data, place + 1)
        return _elements(data, place, count, [head & 15])
    if kind == MAP:
        count, place = _unsigned(data, place)
        if count == 0:
            return [], place
        return _elements(data, place + 1, count, [data[place] >> 4, data[place] & 15])
    raise LookupError(kind)


def _elements(data: mmap.mmap, place: int, count: int, kinds: list[int]) -> tuple[list[Any], int]:
    if count > MAX_ELEMENTS:
        raise LookupError(count)
    found = []
    for _ in range(count):
        for kind in kinds:
            value, place = _value(data, place, kind)
            found.append(value)
    return found, place


def _unsigned(data: mmap.mmap, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
        if shift > 63:
            raise LookupError(shift)


def _signed(data: mmap.mmap, place: int) -> tuple[int, int]:
    value, place = _unsigned(data, place)
    return (value >> 1) ^ -(value & 1), place
