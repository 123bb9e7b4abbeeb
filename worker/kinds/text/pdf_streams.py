"""Refuses PDF files whose drawings would fill the memory, before PDFium reads them.

PDFium keeps every operator of a page as an object: 16 MiB of operators took 0.34 to 1.4 GB. Deflate
makes a gigabyte of them out of one megabyte, so that the size of the file says nothing. Streams
that are no drawings (pictures, fonts, attached files) are left out: pictures are checked by their
dimensions, and PDFium reads fonts as they are needed. The worker's memory limit stops the rest.
"""

import mmap
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from threading import Event

from app.jobs import JobError

MAX_DRAWING = 16 * 1024 * 1024
CHUNK = 64 * 1024
STREAM = re.compile(rb">>\s{0,4}stream\r?\n")
# A dictionary in front of a stream is shorter, or it is none of a drawing.
DICTIONARY = 4096
OTHERS = re.compile(
    rb"/Subtype\s*/(Image|Type1C|CIDFontType0C|OpenType|U3D|PRC|XML)|/Length1|/EmbeddedFile|/XRef"
)
DEFLATE = re.compile(rb"/(FlateDecode|Fl)\b")
INDIRECT = re.compile(rb"/Filter\s+\d+\s+\d+\s+R\b")  # named elsewhere: mostly deflate
MAX_FILTERS = 3


def refuse_bombs(path: Path, stop: Event) -> None:
    """Raise `JobError` (`pdf-page-too-large`) if a drawing inflates to more than is accepted."""
    if path.stat().st_size == 0:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for found in STREAM.finditer(data):
            if stop.is_set():
                return
            dictionary = data[max(0, found.start() - DICTIONARY) : found.start()]
            dictionary = dictionary[dictionary.rfind(b" obj") + 1 :]
            filters = len(DEFLATE.findall(dictionary)) or len(INDIRECT.findall(dictionary))
            if filters == 0 or OTHERS.search(dictionary):
                continue
            if _inflates_beyond(data, found.end(), min(filters, MAX_FILTERS), stop):
                raise JobError(
                    "pdf-page-too-large",
                    f"The PDF file holds a drawing of more than {MAX_DRAWING // 1024 // 1024} MiB: "
                    "save its pages as pictures, then upload those.",
                )


def _inflates_beyond(data: mmap.mmap, start: int, filters: int, stop: Event) -> bool:
    pieces = _chunks(data, start)
    for _ in range(filters):
        pieces = _inflated(pieces)
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > MAX_DRAWING:
            return True
        if stop.is_set():
            return False
    return False


def _chunks(data: mmap.mmap, start: int) -> Iterator[bytes]:
    for offset in range(start, len(data), CHUNK):
        yield data[offset : offset + CHUNK]


def _inflated(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Up to the stream's end, or to the first byte that is not deflated data."""
    inflater = zlib.decompressobj()
    try:
        for piece in pieces:
            rest = piece
            while rest and not inflater.eof:
                yield inflater.decompress(rest, CHUNK)
                rest = inflater.unconsumed_tail
            if inflater.eof:
                return
    except zlib.error:
        return
