"""Opening a stranger's picture: which formats, how large, and what counts as broken."""

import logging
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from app.jobs import JobError

# libvips' loaders by the name of the format. Everything else it could open (SVG, PDF, its own
# format, CSV, ...) stays blocked: those are interpreters, not pictures.
LOADERS = {
    "jpeg": "VipsForeignLoadJpeg",
    "png": "VipsForeignLoadPng",
    "webp": "VipsForeignLoadWebp",
    "heif": "VipsForeignLoadHeif",  # AVIF as well as HEIC
    "tiff": "VipsForeignLoadTiff",
    "gif": "VipsForeignLoadNsgif",
}
# A phone's 108 megapixels and a 1200 dpi scan of A4 pass. Decoded whole it takes 600 MB, which
# libvips puts in a file rather than in memory (its disc threshold below).
MAX_PIXELS = 150_000_000
MAX_SIDE = 65_500  # JPEG's own limit
DISC_THRESHOLD = "100m"


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture's header declares; width and height are as people see it (EXIF applied)."""

    format: str
    width: int
    height: int
    turned: bool


@cache
def _load_vips() -> Any:
    os.environ.setdefault("VIPS_DISC_THRESHOLD", DISC_THRESHOLD)
    import pyvips

    # Its warnings are about what strangers' pictures hold (a colour profile out of order).
    logging.getLogger("pyvips").setLevel(logging.ERROR)
    pyvips.operation_block_set("VipsForeignLoad", True)
    for loader in LOADERS.values():
        pyvips.operation_block_set(loader, False)
    # Again for what an allowed loader may have under it that libvips itself calls untrusted.
    pyvips.block_untrusted_set(True)
    # Jobs have nothing in common: a cache would only keep the last one's picture in memory.
    pyvips.cache_set_max(0)
    return pyvips


def vips(threads: int) -> Any:
    """libvips, for untrusted input, using up to `threads` threads."""
    library = _load_vips()
    library.concurrency_set(threads)
    return library


def read_header(library: Any, path: Path) -> Header:
    """Read the header alone and refuse what would not fit, before a pixel is decoded.

    Raises `JobError`: `image-unsupported`, `image-too-large`.
    """
    path.stat()  # a file that isn't there is no fault of the picture's
    try:
        image = library.Image.new_from_file(str(path), access="sequential")
    except library.Error as error:
        raise JobError(
            "image-unsupported",
            "The file can't be opened as a picture: send a JPEG, PNG, WebP, AVIF, HEIC, TIFF "
            f"or GIF file ({reason(error)}).",
        ) from error
    width, height = image.width, image.height
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise JobError(
            "image-too-large",
            f"The picture declares {width} x {height} pixels: at most {MAX_SIDE:,} a side and "
            f"{MAX_PIXELS:,} altogether are accepted.",
        )
    orientation = image.get("orientation") if image.get_typeof("orientation") else 1
    turned = 2 <= orientation <= 8
    if orientation in (5, 6, 7, 8):
        width, height = height, width
    return Header(image.get("vips-loader").removesuffix("load"), width, height, turned)


def reject_broken(library: Any, path: Path) -> None:
    """Raise `JobError` (`image-broken`) if the picture can't be decoded to its end.

    Called after an operation failed, to tell the input's fault from ours (a full disk).
    """
    try:
        library.Image.new_from_file(str(path), access="sequential", fail_on="truncated").avg()
    except library.Error as error:
        raise JobError(
            "image-broken",
            f"The picture is damaged or cut short: upload it again ({reason(error)}).",
        ) from error


def reason(error: Any) -> str:
    """What libvips says was wrong, without the path of the scratch file."""
    lines = [line.split(': "/')[0].strip() for line in str(error.detail).splitlines()]
    return next((line for line in lines if line), "no reason given")[:200]
