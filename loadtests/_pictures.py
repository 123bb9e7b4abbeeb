"""Pictures to upload, made here, and the size of those that come back."""

import random
import struct
import zlib
from functools import lru_cache

SIGNATURE = b"\x89PNG\r\n\x1a\n"

# Of a row's pixels: a gradient alone would compress to nothing, noise alone not at all.
NOISE = 0.2


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


@lru_cache(maxsize=2)
def png(width: int, height: int) -> bytes:
    """The same each time: a second run finds the first one's."""
    grain = random.Random(width * height)  # noqa: S311
    noisy = int(width * NOISE)
    rows = []
    for y in range(height):
        smooth = b"".join(
            bytes((x * 255 // width, y * 255 // height, 128)) for x in range(width - noisy)
        )
        rows.append(b"\0" + smooth + grain.randbytes(noisy * 3))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"".join(
        (
            SIGNATURE,
            _chunk(b"IHDR", header),
            _chunk(b"IDAT", zlib.compress(b"".join(rows), 6)),
            _chunk(b"IEND", b""),
        )
    )


def png_size(content: bytes) -> tuple[int, int] | None:
    """Width and height; None of what is no whole PNG."""
    if not content.startswith(SIGNATURE) or not content.endswith(_chunk(b"IEND", b"")):
        return None
    width, height = struct.unpack(">II", content[16:24])
    return width, height
