"""The parts of a GIF file, which its decoder does not check: read without decoding."""

from pathlib import Path
from typing import BinaryIO

GIF_TRAILER = b"\x3b"
GIF_IMAGE = b"\x2c"
GIF_EXTENSION = b"\x21"
PADDING = 1024


def count_frames(path: Path) -> tuple[int, bool]:
    """The number of frames, and whether the file goes on to the end of the last.

    libvips leaves frames out from the first that it can't read, and does not check the last one.
    """
    frames = 0
    with path.open("rb") as file:
        head = file.read(13)
        _skip_palette(file, head[10:11])
        while (kind := file.read(1)) in (GIF_IMAGE, GIF_EXTENSION):
            if kind == GIF_IMAGE:
                frames += 1
                _skip_palette(file, file.read(9)[8:9])
            file.read(1)  # the size of a code, or the extension's label
            if not _skip_blocks(file):
                return frames, False
        # Decoders do without the trailer, and skip zeros before it.
        rest = (kind + file.read(PADDING)).lstrip(b"\0")
        return frames, rest[:1] in (b"", GIF_TRAILER)


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
