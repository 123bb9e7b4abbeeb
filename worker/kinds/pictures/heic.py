"""Decodes HEIC, the format of phones, by pi-heif: libvips' wheel has no decoder for HEVC."""

import re
import struct
from pathlib import Path
from typing import Any, BinaryIO

from app.jobs import JobError
from worker.kinds.pictures.faults import fault

# pi-heif decodes whole pictures only, at 4.3 bytes a pixel at its peak (measured: 860 MB for 200
# megapixels): the 50 megapixels of a phone pass, in a child's share of memory.
MAX_PIXELS = 100_000_000
# The compressed file is read whole as well: 10 MB are usual for 50 megapixels.
MAX_BYTES = 200_000_000

AVIF = {b"avif", b"avis"}
HEIF = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}

# pi-heif's modes of pixels: libvips' number of bands, type of a sample and colour space.
LAYOUTS = {
    "L": (1, "uchar", "b-w"),
    "LA": (2, "uchar", "b-w"),
    "RGB": (3, "uchar", "srgb"),
    "RGBA": (4, "uchar", "srgb"),
    "RGBa": (4, "uchar", "srgb"),
    "I;16": (1, "ushort", "grey16"),
    "L;16": (1, "ushort", "grey16"),
}


class OtherCodecError(Exception):
    """HEIF is a container: this file has a codec in it that pi-heif does not decode."""


def is_heic(start: bytes) -> bool:
    """Whether a file with these first bytes is HEIF of any kind but AVIF."""
    named = brands(start)
    return bool(named & HEIF) and not named & AVIF


def brands(start: bytes) -> set[bytes]:
    """The brand of the container that the file begins with, if it is one."""
    if start[4:8] != b"ftyp":
        return set()
    size = int.from_bytes(start[:4], "big")
    return {start[8:12], *(start[at : at + 4] for at in range(16, min(size, len(start)), 4))}


def read_sizes(path: Path) -> list[tuple[int, int]]:
    """Width and height as people see it, then those of the coded pictures that are its parts.

    A part may be larger than the picture, which shows only some of it.

    Raises `JobError`: `image-broken`, `image-unsupported`, `image-too-large`.
    """
    size = _primary(path, threads=1).size
    with path.open("rb") as file:
        meta = _box(file, b"meta")
    coded = re.finditer(rb"ispe.{4}(.{4})(.{4})", meta, re.DOTALL)
    parts = [
        (int.from_bytes(width), int.from_bytes(height))
        for width, height in map(re.Match.groups, coded)
    ]
    return [size, *parts]


def _box(file: BinaryIO, wanted: bytes) -> bytes:
    """The content of the first box of this type, or nothing."""
    while len(head := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8).ljust(8, b"\0"))
            size -= 8
        if kind == wanted:
            return file.read(max(0, size - 8) if size else -1)
        if size < 8:
            break
        file.seek(size - 8, 1)
    return b""


def decode(library: Any, path: Path) -> Any:
    """The pixels of the primary picture, upright, as an image of libvips with its metadata.

    Raises `OtherCodecError`, and `JobError`: `image-broken`, `image-unsupported`.
    """
    picture = _primary(path, threads=library.concurrency_get())
    try:
        data = picture.data
    except (ValueError, EOFError, SyntaxError, RuntimeError) as error:
        if "not been built in" in str(error):
            raise OtherCodecError from error
        raise fault(str(error), path) from error
    bands, sample, space = LAYOUTS[picture.mode]
    image = library.Image.new_from_memory(data, *picture.size, bands, sample)
    # The memoryview does not hold the memory, which is freed with `picture`: pyvips hands these
    # references on to every image that is made from this one.
    image._references.append(picture)
    image = image.copy(interpretation=space)
    if picture.mode == "RGBa":
        image = image.unpremultiply().cast(sample)
    image = image.copy()
    for field, name in (("icc_profile", "icc-profile-data"), ("xmp", "xmp-data")):
        if blob := picture.info.get(field):
            image.set_type(library.GValue.blob_type, name, bytes(blob))
    return _with_exif(library, image, picture.info.get("exif"))


def _primary(path: Path, threads: int) -> Any:
    """The container's main picture, not yet decoded."""
    import pi_heif

    pi_heif.options.DECODE_THREADS = threads
    pi_heif.options.DISABLE_SECURITY_LIMITS = False
    pi_heif.options.THUMBNAILS = False
    pi_heif.options.DEPTH_IMAGES = False
    pi_heif.options.AUX_IMAGES = False
    if (size := path.stat().st_size) > MAX_BYTES:
        raise JobError(
            "image-too-large",
            f"The HEIC file has {size:,} bytes: at most {MAX_BYTES:,} are accepted.",
        )
    try:
        container = pi_heif.open_heif(path)
        return container[container.primary_index]
    except (ValueError, EOFError, SyntaxError, RuntimeError, IndexError) as error:
        raise fault(str(error), path) from error


def _with_exif(library: Any, image: Any, exif: bytes | None) -> Any:
    """The image with the fields of an EXIF block, as libvips reads them from a JPEG file."""
    if not exif or len(exif) > 65_533:
        return image
    if not exif.startswith(b"Exif\0\0"):
        exif = b"Exif\0\0" + exif
    jpeg = library.Image.black(1, 1).jpegsave_buffer(keep="none")
    head = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    carrier = library.Image.jpegload_buffer(jpeg[:2] + head + jpeg[2:])
    for name in carrier.get_fields():
        if name.startswith("exif-"):
            image.set_type(carrier.get_typeof(name), name, carrier.get(name))
    # libheif has turned the pixels already.
    image.set_type(library.GValue.gint_type, "orientation", 1)
    return image
