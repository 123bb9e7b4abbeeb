"""The parts of a file that its decoder counts slowly or does not check: read without decoding."""

import struct
from pathlib import Path
from typing import BinaryIO

GIF_TRAILER = b"\x3b"
GIF_IMAGE = b"\x2c"
GIF_EXTENSION = b"\x21"


def tiff_pages(path: Path, limit: int) -> int:
    """The number of pages of a TIFF file, counted up to `limit` + 1.

    libtiff looks for each page from the first: it took seconds over a file of 100,000.
    """
    with path.open("rb") as file:
        head = file.read(16)
        order = "<" if head[:2] == b"II" else ">"
        big = head[2:4] in (b"+\0", b"\0+")
        entry, count_format, place_format = (20, "Q", "Q") if big else (12, "H", "I")
        start = 8 if big else 4
        (place,) = _unpack(order + place_format, head[start:])
        end = path.stat().st_size
        seen: set[int] = set()
        while 0 < place < end and place not in seen and len(seen) <= limit:
            seen.add(place)
            file.seek(place)
            (count,) = _unpack(order + count_format, file.read(8))
            file.seek(min(end, place + struct.calcsize(count_format) + count * entry))
            (place,) = _unpack(order + place_format, file.read(8))
    return len(seen)


def _unpack(form: str, data: bytes) -> tuple[int]:
    size = struct.calcsize(form)
    return struct.unpack(form, data[:size].ljust(size, b"\0"))


def gif_is_whole(path: Path) -> bool:
    """Whether a GIF file goes on to the end of its last frame, which libvips does not check."""
    with path.open("rb") as file:
        head = file.read(13)
        _skip_palette(file, head[10:11])
        while (kind := file.read(1)) in (GIF_IMAGE, GIF_EXTENSION):
            if kind == GIF_IMAGE:
                _skip_palette(file, file.read(9)[8:9])
            file.read(1)  # the size of a code, or the extension's label
            if not _skip_blocks(file):
                return False
        return kind == GIF_TRAILER


def _skip_palette(file: BinaryIO, flags: bytes) -> None:
    if flags and flags[0] & 0x80:
        file.seek(3 << (flags[0] & 7) + 1, 1)


def _skip_blocks(file: BinaryIO) -> bool:
    """Skip blocks up to the empty one; say whether there is one."""
    while size := file.read(1):
        if size == b"\0":
            return True
        file.seek(size[0], 1)
    return False
