"""Reads the directories of a TIFF file: which are pages, and how a page's pixels are stored.

libtiff counts pages slowly, and libvips does not say what a page's channels mean.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from worker.kinds.pictures.faults import unsupported

# Tags and their values that matter here (TIFF 6.0).
BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC, SAMPLES_PER_PIXEL = 258, 259, 262, 277
INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT = 332, 338, 339
NEW_SUBFILE_TYPE, SUB_DIRECTORIES, DNG_VERSION = 254, 330, 50706
REDUCED = 1
GREY, RGB, CMYK, YCBCR, CIE_LAB = (0, 1), 2, 5, 6, 8
COLOURS = {0: 1, 1: 1, RGB: 3, CMYK: 4, YCBCR: 3, CIE_LAB: 3}
# Palette, mask, LogL and LogLuv: libtiff or libvips make other channels of these.
AS_DECODED = (3, 4, 32844, 32845)
JPEG = (6, 7)
OTHER_INKS = 2
TRANSPARENCY = (1, 2)  # associated and unassociated alpha
SIGNED, FLOAT = 2, 3

# Layout of a value by its type. Others (fractions, floats) don't occur in the tags above.
INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
MAX_VALUES = 64
MAX_ENTRIES = 4096


@dataclass(frozen=True, slots=True)
class _Form:
    """How a file is laid out: byte order, whether its directories are those of BigTIFF, its end."""

    order: str
    big: bool
    end: int

    @property
    def count(self) -> str:
        return self.order + ("Q" if self.big else "H")

    @property
    def place(self) -> str:
        return self.order + ("Q" if self.big else "I")

    @property
    def entry(self) -> int:
        return 20 if self.big else 12


def pages(path: Path, limit: int) -> list[int]:
    """The numbers, from 0, of the directories that are pages, looked for up to `limit` + 1.

    Smaller copies of a page (thumbnails, overviews) have directories too; if there is nothing
    else, they are the pages. libtiff looks for each directory from the first: it took seconds over
    a file of 100,000.
    """
    copies = []
    with path.open("rb") as file:
        form = _form(file, path)
        for start, count in islice(_directories(file, form), limit + 1):
            first = _tags(file, form, start, min(count, 1))  # tags are in order
            copies.append(_is_copy(first))
    whole = [number for number, is_copy in enumerate(copies) if not is_copy]
    return whole or list(range(len(copies)))


def channels(path: Path, directory: int) -> tuple[int, ...] | None:
    """The channels of a page, counted from 0, that make its colours and its transparency.

    None stands for all of them. The others are masks, infrared or anything: not to be shown.

    Raises `JobError` (`image-unsupported`) if libvips would decode the page to other colours.
    """
    with path.open("rb") as file:
        form = _form(file, path)
        start, count = next(islice(_directories(file, form), directory, None), (form.end, 0))
        tags = _tags(file, form, start, count)
    if DNG_VERSION in tags or (_is_copy(tags) and SUB_DIRECTORIES in tags):
        raise unsupported("a camera's raw picture")
    photometric = tags.get(PHOTOMETRIC, (AS_DECODED[0],))[0]
    if photometric in AS_DECODED:
        return None
    _check_colours(photometric, tags)
    if photometric in (*GREY, RGB, CMYK):
        _check_samples(photometric, tags)
    colours = COLOURS[photometric]
    samples = tags.get(SAMPLES_PER_PIXEL, (1,))[0]
    extra = tags.get(EXTRA_SAMPLES, ())
    if samples <= colours or (not extra and samples == colours + 1):
        return None  # the meaning of a single further channel may be left out: transparency
    clear = [index for index, meaning in enumerate(extra, colours) if meaning in TRANSPARENCY]
    return (*range(colours), *clear[:1])


def _is_copy(tags: dict[int, tuple[int, ...]]) -> bool:
    return bool(tags.get(NEW_SUBFILE_TYPE, (0,))[0] & REDUCED)


def _check_colours(photometric: int, tags: dict[int, tuple[int, ...]]) -> None:
    if photometric not in COLOURS:
        raise unsupported(f"TIFF with colours of kind {photometric}")
    if photometric == YCBCR and tags.get(COMPRESSION, (1,))[0] not in JPEG:
        raise unsupported("TIFF with YCbCr colours and without JPEG compression")
    if photometric == CMYK and tags.get(INK_SET, (1,))[0] == OTHER_INKS:
        raise unsupported("TIFF with other inks than CMYK")


def _check_samples(photometric: int, tags: dict[int, tuple[int, ...]]) -> None:
    bits = tags.get(BITS_PER_SAMPLE, (1,))[0]
    sample = tags.get(SAMPLE_FORMAT, (1,))[0]
    if sample == SIGNED:
        raise unsupported("TIFF with signed samples")
    if sample == FLOAT and photometric in GREY:
        raise unsupported("grey TIFF with floating-point samples")
    if sample != FLOAT and bits > 16:
        raise unsupported(f"TIFF with {bits} bits a sample")


def _form(file: BinaryIO, path: Path) -> _Form:
    head = file.read(4)
    order = "<" if head[:2] == b"II" else ">"
    return _Form(order, head[2:4] in (b"+\0", b"\0+"), path.stat().st_size)


def _directories(file: BinaryIO, form: _Form) -> Iterator[tuple[int, int]]:
    """The place and the number of entries of each page's directory, in order."""
    file.seek(8 if form.big else 4)
    place = _unpack(form.place, file.read(8))
    seen: set[int] = set()
    while 0 < place < form.end and place not in seen:
        seen.add(place)
        file.seek(place)
        count = _unpack(form.count, file.read(8))
        start = place + struct.calcsize(form.count)
        yield start, count
        file.seek(min(form.end, start + count * form.entry))
        place = _unpack(form.place, file.read(8))


def _tags(file: BinaryIO, form: _Form, start: int, count: int) -> dict[int, tuple[int, ...]]:
    """The values of the tags of a directory that are whole numbers, by the tags' numbers."""
    tags: dict[int, tuple[int, ...]] = {}
    file.seek(start)
    entries = file.read(min(count, MAX_ENTRIES) * form.entry)
    for at in range(0, len(entries) - form.entry + 1, form.entry):
        tag, kind = struct.unpack_from(form.order + "HH", entries, at)
        length = _unpack(form.place, entries[at + 4 : at + form.entry])
        content = entries[at + 4 + struct.calcsize(form.place) : at + form.entry]
        if values := _values(file, form, kind, length, content):
            tags.setdefault(tag, values)
    return tags


def _values(file: BinaryIO, form: _Form, kind: int, length: int, content: bytes) -> tuple[int, ...]:
    """An entry's values, which stand elsewhere if they don't fit into it."""
    if kind not in INTEGERS or not 0 < length <= MAX_VALUES:
        return ()
    layout = f"{form.order}{length}{INTEGERS[kind]}"
    size = struct.calcsize(layout)
    if size > len(content):
        file.seek(min(_unpack(form.place, content), form.end))
        content = file.read(size)
    return struct.unpack(layout, content[:size]) if len(content) >= size else ()


def _unpack(form: str, data: bytes) -> int:
    size = struct.calcsize(form)
    (value,) = struct.unpack(form, data[:size].ljust(size, b"\0"))
    return int(value)
