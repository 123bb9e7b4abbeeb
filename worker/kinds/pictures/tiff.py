"""The directories of a TIFF file: how many pages it has, and how the pixels of one are stored.

libtiff counts pages slowly, and libvips does not say what a page's channels mean.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from worker.kinds.pictures.faults import unsupported

# Tags, and the values of theirs that matter here (TIFF 6.0).
BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC, SAMPLES_PER_PIXEL = 258, 259, 262, 277
INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT = 332, 338, 339
GREY, RGB, CMYK, YCBCR, CIE_LAB = (0, 1), 2, 5, 6, 8
COLOURS = {0: 1, 1: 1, RGB: 3, CMYK: 4, YCBCR: 3, CIE_LAB: 3}
# Palette, mask, LogL and LogLuv: libtiff or libvips make other channels of these.
AS_DECODED = (3, 4, 32844, 32845)
JPEG = (6, 7)
OTHER_INKS = 2
TRANSPARENCY = (1, 2)  # associated and unassociated alpha
SIGNED, FLOAT = 2, 3

# Layout of a value by its type. Others (fractions, floats) don't occur in the tags above.
INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
MAX_VALUES = 64
MAX_ENTRIES = 4096


@dataclass(frozen=True, slots=True)
class _Form:
    """How a file is laid out: byte order, and the sizes of its BigTIFF or classic directories."""

    order: str
    big: bool

    @property
    def count(self) -> str:
        return self.order + ("Q" if self.big else "H")

    @property
    def place(self) -> str:
        return self.order + ("Q" if self.big else "I")

    @property
    def entry(self) -> int:
        return 20 if self.big else 12


def count_pages(path: Path, limit: int) -> int:
    """The number of pages, counted up to `limit` + 1.

    libtiff looks for each page from the first: it took seconds over a file of 100,000.
    """
    count = 0
    with path.open("rb") as file:
        form = _form(file)
        for count, _ in enumerate(_directories(file, form, path.stat().st_size), 1):
            if count > limit:
                break
    return count


def channels(path: Path, page: int) -> tuple[int, ...] | None:
    """The channels of a page, counted from 0, that make its colours and its transparency.

    None stands for all of them. The others are masks, infrared or anything: not to be shown.

    Raises `JobError` (`image-unsupported`) if libvips would decode the page to other colours.
    """
    tags = _tags(path, page)
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


def _form(file: BinaryIO) -> _Form:
    head = file.read(4)
    return _Form("<" if head[:2] == b"II" else ">", head[2:4] in (b"+\0", b"\0+"))


def _directories(file: BinaryIO, form: _Form, end: int) -> Iterator[tuple[int, int]]:
    """The place and the number of entries of each page's directory, in order."""
    file.seek(8 if form.big else 4)
    place = _unpack(form.place, file.read(8))
    seen: set[int] = set()
    while 0 < place < end and place not in seen:
        seen.add(place)
        file.seek(place)
        count = _unpack(form.count, file.read(8))
        start = place + struct.calcsize(form.count)
        yield start, count
        file.seek(min(end, start + count * form.entry))
        place = _unpack(form.place, file.read(8))


def _tags(path: Path, page: int) -> dict[int, tuple[int, ...]]:
    """The values of the tags that are whole numbers, by their numbers."""
    tags: dict[int, tuple[int, ...]] = {}
    with path.open("rb") as file:
        form = _form(file)
        end = path.stat().st_size
        directories = islice(_directories(file, form, end), page, None)
        start, count = next(directories, (end, 0))
        file.seek(start)
        entries = file.read(min(count, MAX_ENTRIES) * form.entry)
        for at in range(0, len(entries) - form.entry + 1, form.entry):
            tag, kind = struct.unpack_from(form.order + "HH", entries, at)
            length = _unpack(form.place, entries[at + 4 : at + form.entry])
            content = entries[at + 4 + struct.calcsize(form.place) : at + form.entry]
            if values := _values(file, form, end, kind, length, content):
                tags.setdefault(tag, values)
    return tags


def _values(
    file: BinaryIO, form: _Form, end: int, kind: int, length: int, content: bytes
) -> tuple[int, ...]:
    """An entry's values, which stand elsewhere if they don't fit into it."""
    if kind not in INTEGERS or not 0 < length <= MAX_VALUES:
        return ()
    layout = f"{form.order}{length}{INTEGERS[kind]}"
    size = struct.calcsize(layout)
    if size > len(content):
        file.seek(min(_unpack(form.place, content), end))
        content = file.read(size)
    return struct.unpack(layout, content[:size]) if len(content) >= size else ()


def _unpack(form: str, data: bytes) -> int:
    size = struct.calcsize(form)
    (value,) = struct.unpack(form, data[:size].ljust(size, b"\0"))
    return int(value)
