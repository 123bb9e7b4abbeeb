"""Configures libvips for untrusted pictures."""

import logging
import os
from functools import cache
from pathlib import Path
from typing import Any

# libvips' loaders by the name of the format. Everything else it could open (SVG, PDF, its own
# format, CSV, ...) stays blocked: those are interpreters, not pictures.
LOADERS = {
    "jpeg": "VipsForeignLoadJpeg",
    "png": "VipsForeignLoadPng",
    "webp": "VipsForeignLoadWebp",
    "heif": "VipsForeignLoadHeif",  # AVIF; the wheel has no decoder for HEVC, which HEIC needs
    "tiff": "VipsForeignLoadTiff",
    "gif": "VipsForeignLoadNsgif",
}
# Larger pictures that have to be held whole are put in a file, not in memory.
DISC_THRESHOLD = "100m"


@cache
def _load_vips() -> Any:
    os.environ.setdefault("VIPS_DISC_THRESHOLD", DISC_THRESHOLD)
    import pyvips

    # Its warnings are about the contents of untrusted pictures: `faults.Complaints` reads them,
    # and none reaches the worker's log.
    logger = logging.getLogger("pyvips")
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    pyvips.operation_block_set("VipsForeignLoad", True)
    for loader in LOADERS.values():
        pyvips.operation_block_set(loader, False)
    # Block loaders that libvips itself marks as untrusted, also below an allowed one.
    pyvips.block_untrusted_set(True)
    # Jobs have nothing in common: a cache would only keep the last one's picture in memory.
    pyvips.cache_set_max(0)
    return pyvips


def vips(threads: int) -> Any:
    """libvips, for untrusted input, using up to `threads` threads."""
    library = _load_vips()
    library.concurrency_set(threads)
    return library


def load(library: Any, path: Path, **options: object) -> Any:
    """Open a file, without decoding it yet. Raises the library's `Error`."""
    with path.open("rb") as file:
        container = file.read(8)[4:] == b"ftyp"
    # libvips knows these files by one of their brands only, and not an animation's.
    opened = library.Image.heifload if container else library.Image.new_from_file
    return opened(str(path), **options)
