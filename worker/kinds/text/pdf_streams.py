"""Refuses PDF files whose drawings or masks would fill the memory, before PDFium reads them.

PDFium keeps every operator of a page as an object: 16 MiB of operators took 0.34 to 1.4 GB. Deflate
makes a gigabyte of them out of one megabyte, so that the size of the file says nothing. Pictures,
fonts and attached files are left out, unless a page names them as its drawing: pictures are checked
by their dimensions, and PDFium reads fonts as they are needed. The rest, such as the drawings of
encrypted files, ends at the limit of memory for one call (see pdf.py).
"""

import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Event

from app.jobs import JobError
from worker.kinds.text.pdf_filters import CHUNK, decoders, inflated

MAX_DRAWING = 16 * 1024 * 1024
MAX_PICTURE = 450_000_000  # bytes of one decoded picture
MAX_FILTERS = 8
STREAM = re.compile(rb"(?<!end)stream\b[^\r\n]{0,64}(?:\r\n|\r|\n)")
END = b"endstream"
# A dictionary is read from so many bytes at most in front of its stream.
DICTIONARY = 256 * 1024
MAX_WORDS = 8  # `stream` after one `obj`: the strings of a dictionary may hold the word, too
OBJECT = re.compile(rb"(\d{1,9})\s+\d+\s+obj\b")
ESCAPE = re.compile(rb"#([0-9A-Fa-f]{2})")
REFERENCE = re.compile(rb"(\d{1,9})\s+\d{1,5}\s+R\b")
OTHERS = re.compile(
    rb"/Subtype\s*/(Image|Type1C|CIDFontType0C|OpenType|U3D|PRC|XML)\b|/Length1\b|/EmbeddedFile\b"
    rb"|/XRef\b"
)
DRAWING = re.compile(rb"/Subtype\s*/Form\b|/PatternType\b|/ObjStm\b")
INDIRECT = re.compile(rb"/(?:Filter|F)\s*(\d{1,9})\s+\d{1,5}\s+R\b")
# The keys by which pages and fonts name their drawings, and pictures their masks.
DRAWINGS = re.compile(rb"/(?:Contents|CharProcs)\s*(?=[\[<\d])")
MASKS = re.compile(rb"/S?Mask\s*(?=\d)")
MAX_NUMBER = 1 << 22  # of an object, in PDFium
ZLIB = re.compile(rb"[\x08\x18\x28\x38\x48\x58\x68\x78]")


@dataclass(frozen=True, slots=True)
class _Stream:
    number: int
    dictionary: bytes
    start: int


def refuse_bombs(path: Path, stop: Event) -> None:
    """Raise `JobError` (`pdf-page-too-large`) if a drawing or a mask is too large to be read."""
    if path.stat().st_size == 0:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        _File(data, stop).check()


class _File:
    def __init__(self, data: mmap.mmap, stop: Event) -> None:
        self._data = data
        self._stop = stop
        self._plain_start, self._plain_end = 0, -1

    def check(self) -> None:
        drawn = self._named(DRAWINGS, self._data)
        masks = self._named(MASKS, self._data)
        for stream in self._streams():
            if b"/ObjStm" in stream.dictionary:
                text = b"".join(self._pieces(stream))
                drawn |= self._named(DRAWINGS, text)
                masks |= self._named(MASKS, text)
        drawn |= self._listed(drawn)
        for stream in self._streams():
            if stream.number in masks:
                self._refuse_large_mask(stream.dictionary)
            named = stream.number in drawn or DRAWING.search(stream.dictionary)
            if named or not OTHERS.search(stream.dictionary):
                for _ in self._pieces(stream):
                    pass

    def _streams(self) -> Iterator[_Stream]:
        data = self._data
        last, head, count = 0, -1, 0
        for found in STREAM.finditer(data):
            if self._stop.is_set():
                return
            place = self._last_object(last, found.start())
            head, count = (place, 1) if place >= 0 else (head, count + 1)
            last = found.end()
            if count > MAX_WORDS or not 0 <= head > found.start() - DICTIONARY:
                continue
            numbers = OBJECT.findall(data[max(0, head - 32) : head + 3])
            dictionary = ESCAPE.sub(
                lambda pair: bytes.fromhex(pair[1].decode()), data[head + 3 : found.start()]
            )
            yield _Stream(int(numbers[-1]) if numbers else -1, dictionary, found.end())

    def _last_object(self, first: int, last: int) -> int:
        """Where the word `obj` stands last between two places; -1 if it does not."""
        while (last := self._data.rfind(b"obj", first, last)) > 0:
            if self._data[last - 3 : last] != b"end":
                return last
        return -1

    def _named(self, pattern: re.Pattern[bytes], text: "bytes | mmap.mmap") -> set[int]:
        """The numbers of the objects that a key names, directly or in a list."""
        found: set[int] = set()
        end = 0
        while (key := pattern.search(text, end)) and not self._stop.is_set():
            end = key.end() + 1
            value = text[key.end() : key.end() + 32]
            if value[:1] in b"[<":
                value = text[key.end() : key.end() + CHUNK]
                value = value.partition(b"]" if value[:1] == b"[" else b">>")[0]
                end = key.end() + len(value)
                found.update(int(number) for number in REFERENCE.findall(value))
            elif reference := REFERENCE.match(value):
                found.add(int(reference[1]))
        return found

    def _listed(self, numbers: set[int]) -> set[int]:
        """The objects in those of the given objects that are lists."""
        found: set[int] = set()
        for number in numbers:
            if self._stop.is_set():
                break
            value = self._object(number).lstrip()
            if value.startswith((b"[", b"<<")) and b"stream" not in value:
                found.update(int(other) for other in REFERENCE.findall(value))
        return found

    def _object(self, number: int) -> bytes:
        """The start of an object that stands in the file itself; empty if it is compressed."""
        place = self._places.get(number)
        if place is None:
            return b""
        return self._data[place : place + CHUNK].partition(b"endobj")[0]

    @cached_property
    def _places(self) -> dict[int, int]:
        """Where each object begins; the last one counts of those with the same number."""
        found: dict[int, int] = {}
        for head in OBJECT.finditer(self._data):
            if self._stop.is_set():
                break
            number = int(head[1])
            if number < MAX_NUMBER:
                found[number] = head.end()
        return found

    def _pieces(self, stream: _Stream) -> Iterator[bytes]:
        """The decoded stream. Raises `JobError` beyond `MAX_DRAWING`."""
        dictionary = stream.dictionary
        indirect = INDIRECT.search(dictionary)
        if indirect:
            dictionary = self._object(int(indirect[1])) + dictionary
        chain = decoders(dictionary)
        start = self._data[stream.start : stream.start + 2]
        if not chain and ZLIB.match(start) and int.from_bytes(start) % 31 == 0:
            chain = [inflated]  # its name is in a compressed object, or hidden
        pieces = self._raw(stream.start) if chain else self._plain(stream.start)
        for decoder in chain[:MAX_FILTERS]:
            pieces = decoder(pieces)
        size = 0
        for piece in pieces:
            size += len(piece)
            if size > MAX_DRAWING:
                raise JobError(
                    "pdf-page-too-large",
                    f"The PDF file holds a drawing of more than {MAX_DRAWING // 1024 // 1024} MiB: "
                    "save its pages as pictures, then upload those.",
                )
            if self._stop.is_set():
                return
            yield piece

    def _raw(self, start: int) -> Iterator[bytes]:
        """The rest of the file: encoded data may hold the word that ends streams."""
        for offset in range(start, len(self._data), CHUNK):
            yield self._data[offset : offset + CHUNK]

    def _plain(self, start: int) -> Iterator[bytes]:
        """A stream that is not encoded, in a single piece that may be cut at the limit."""
        if not self._plain_start <= start <= self._plain_end:
            end = self._data.find(END, start)
            self._plain_start, self._plain_end = start, len(self._data) if end < 0 else end
        yield self._data[start : min(self._plain_end, start + MAX_DRAWING + 1)]

    def _refuse_large_mask(self, dictionary: bytes) -> None:
        """Drawing a picture decodes its mask, whose size PDFium does not tell."""
        width, height, bits = (
            self._number(dictionary, key) for key in (b"Width", b"Height", b"BitsPerComponent")
        )
        if width * height * max(bits, 1) / 8 > MAX_PICTURE:
            raise JobError(
                "pdf-page-too-large",
                f"The PDF file holds a picture whose mask has {width} x {height} pixels, which "
                f"takes more than {MAX_PICTURE:,} bytes: reduce it, then upload the file again.",
            )

    def _number(self, dictionary: bytes, key: bytes) -> int:
        found = re.search(rb"/%s\s+(\d{1,9})(\s+\d{1,5}\s+R\b)?" % key, dictionary)
        if found is None:
            return 0
        if not found[2]:
            return int(found[1])
        digits = re.match(rb"\s*(\d{1,9})", self._object(int(found[1])))
        return int(digits[1]) if digits else 0
