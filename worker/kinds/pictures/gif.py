"""The parts of a GIF file that its decoder ignores or does not check, read without decoding."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

GIF_TRAILER = b"\x3b"
GIF_IMAGE = b"\x2c"
GIF_EXTENSION = b"\x21"
PADDING = 1024
HEAD = 13  # bytes before the palette


# A frame of one transparent pixel, before and after its place.
CLEAR_PIXEL = (
    GIF_EXTENSION + b"\xf9\x04\x05\0\0\0\0" + GIF_IMAGE,
    struct.pack("<HHB", 1, 1, 0x80) + bytes(6) + b"\x02\x02\x44\x01\x00",
)


@dataclass(frozen=True, slots=True)
class Layout:
    """The size of the logical screen, which all frames are drawn on, and the number of frames.

    `covered` says whether the first frame covers the screen, and `whole` whether the file goes on
    to the end of the last frame.
    """

    width: int
    height: int
    frames: int
    covered: bool
    whole: bool


def read_layout(path: Path) -> Layout:
    """Walk through a file's frames.

    libvips leaves out all frames from the first that it can't read, and does not check the last
    one.
    """
    frames = 0
    covered = True
    with path.open("rb") as file:
        head = file.read(HEAD).ljust(HEAD, b"\0")
        width, height = struct.unpack_from("<HH", head, 6)
        file.seek(_palette(head[10]), 1)
        while (kind := file.read(1)) in (GIF_IMAGE, GIF_EXTENSION):
            if kind == GIF_IMAGE:
                *place, flags = struct.unpack("<4HB", file.read(9).ljust(9, b"\0"))
                if not frames:
                    covered = _covers(place, width, height)
                frames += 1
                file.seek(_palette(flags), 1)
            file.read(1)  # the size of a code, or the extension's label
            if not _skip_blocks(file):
                return Layout(width, height, frames, covered, whole=False)
        # Decoders accept a missing trailer, and zeros before it.
        rest = (kind + file.read(PADDING)).lstrip(b"\0")
        return Layout(width, height, frames, covered, whole=rest[:1] in (b"", GIF_TRAILER))


def with_first_frame(path: Path, width: int, height: int) -> bytes:
    """The file with one more frame before its first: a transparent pixel at the screen's end.

    libvips ignores the size of the screen if it is that of a common monitor or more than 2048
    pixels a side, and cuts all frames to the part that the first one reaches; with this one it
    decodes the whole screen. It also keeps the transparency round frames that have none.
    """
    data = path.read_bytes()
    end = HEAD + _palette(data[10])
    before, after = CLEAR_PIXEL
    frame = before + struct.pack("<HH", width - 1, height - 1) + after
    return data[:end] + frame + data[end:]


def _covers(place: list[int], width: int, height: int) -> bool:
    left, top, across, down = place
    return (left, top) == (0, 0) and across >= width and down >= height


def _palette(flags: int) -> int:
    """The size of a palette in bytes, by the flags of the screen or the frame."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _skip_blocks(file: BinaryIO) -> bool:
    """Skip blocks up to the empty one. Returns whether there is one."""
    while size := file.read(1):
        if size == b"\0":
            return True
        file.seek(size[0], 1)
    return False
