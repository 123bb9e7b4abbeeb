"""Reads structures of Thrift's compact protocol, in which Parquet describes its files.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

import mmap
import struct
from typing import Any

# Errors at bytes that are not a structure, or not the one that was expected.
DAMAGED = (LookupError, TypeError, AttributeError, struct.error, RecursionError)
TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
INTEGERS = (4, 5, 6)
# Elements of a list; those of a page's header are shorter.
MAX_ELEMENTS = 10_000


def structure(data: mmap.mmap, place: int) -> tuple[dict[int, Any], int]:
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
        return structure(data, place)
    if kind == BINARY:
        size, place = _unsigned(data, place)
        if size > len(data) - place:
            raise IndexError(size)
        # A copy might take as much memory as the file.
        return slice(place, place + size), place + size
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
