"""Reads a picture's header, and refuses pictures before a pixel is decoded."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.jobs import JobError
from worker.kinds.pictures import gif, heic, tiff
from worker.kinds.pictures.faults import UNSUPPORTED, broken, is_ours, reason, unsupported
from worker.kinds.pictures.library import load

# A phone's 108 megapixels and a 1200 dpi scan of A4 pass. Decoded whole it takes 600 MB, which
# libvips puts in a file rather than in memory.
MAX_PIXELS = 150_000_000
MAX_SIDE = 65_500  # JPEG's own limit

MAX_TIFF_PAGES = 10_000  # a second's work for libtiff

SIDEWAYS = (5, 6, 7, 8)  # orientations of EXIF and TIFF that exchange width and height

TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# How a file of each format begins. A file that begins so and can't be opened is damaged.
SIGNATURES = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    *TIFF_SIGNATURES,
)


@dataclass(frozen=True, slots=True)
class Header:
    """A picture's header; width and height are as people see it (EXIF applied).

    `turned` says whether the pixels are stored in another order, `sideways` whether by columns.
    `pages` counts the pages of a TIFF file and the frames of a GIF or WebP file. `index` is the
    place of this one in the file, from 0. `channels` are those to be shown, or None for all.
    `whole` is false for a GIF file that is cut short, and `covered` for one whose first frame is
    smaller than its screen.
    """

    format: str
    width: int
    height: int
    turned: bool
    sideways: bool = False
    pages: int = 1
    index: int = 0
    channels: tuple[int, ...] | None = None
    whole: bool = True
    covered: bool = True


def is_picture(start: bytes) -> bool:
    """Whether a file that begins in this way has one of the formats that are read here."""
    webp = start.startswith(b"RIFF") and start[8:12] == b"WEBP"
    contained = heic.brands(start) & (heic.AVIF | heic.HEIF)
    return webp or start.startswith(SIGNATURES) or bool(contained)


def read_header(library: Any, path: Path, page: int = 0) -> Header:
    """Read the header alone and refuse a picture that is too large, before a pixel is decoded.

    `page` counts from 0 and must be below the `pages` of the first header.

    Raises `JobError`: `image-unsupported`, `image-too-large`, `image-broken`.
    """
    path.stat()  # a missing file is not a fault of the picture
    with path.open("rb") as file:
        start = file.read(64)
    if heic.is_heic(start):
        sizes = heic.read_sizes(path)
        header = Header("heif", *sizes[0], turned=False)
        _check_size(sizes, heic.MAX_PIXELS)
    else:
        pages: list[int] = []
        if start.startswith(TIFF_SIGNATURES):
            pages = _pages(path)
        index = pages[page] if page < len(pages) else page
        header = replace(_read(library, path, index, start), index=index)
        if header.format == "tiff":
            header = replace(
                header,
                pages=sum(number < header.pages for number in pages),
                channels=tiff.channels(path, index),
            )
        if header.format == "gif":
            layout = gif.read_layout(path)
            header = replace(
                header,
                # A first frame that reaches beyond the screen enlarges it, as in Pillow.
                width=max(header.width, layout.width),
                height=max(header.height, layout.height),
                pages=max(header.pages, layout.frames),
                whole=layout.whole,
                covered=layout.covered,
            )
        _check_size([(header.width, header.height)], MAX_PIXELS)
    return header


def _check_size(sizes: list[tuple[int, int]], limit: int) -> None:
    for width, height in sizes:
        if min(width, height) < 1:
            raise broken(f"its size is {width} x {height}")
        if max(width, height) > MAX_SIDE or width * height > limit:
            raise JobError(
                "image-too-large",
                f"The picture declares {width} x {height} pixels: at most {MAX_SIDE:,} a side and "
                f"{limit:,} altogether are accepted.",
            )


def _pages(path: Path) -> list[int]:
    pages = tiff.pages(path, MAX_TIFF_PAGES)
    if len(pages) > MAX_TIFF_PAGES:
        raise JobError(
            "image-too-large",
            f"The TIFF file has more than {MAX_TIFF_PAGES:,} pages, the most that is accepted: "
            "split it into several files.",
        )
    return pages


def _read(library: Any, path: Path, page: int, start: bytes) -> Header:
    options = {"page": page} if page else {}
    try:
        image = load(library, path, access="sequential", **options)
    except library.Error as error:
        if is_ours(error):
            raise
        raise _unopened(error, path, start) from error
    orientation = image.get("orientation") if image.get_typeof("orientation") else 1
    width, height = image.width, image.height
    if orientation in SIDEWAYS:
        width, height = height, width
    return Header(
        format=image.get("vips-loader").removesuffix("load"),
        width=width,
        height=height,
        turned=2 <= orientation <= 8,
        sideways=orientation in SIDEWAYS,
        # pyvips' `get_n_pages` takes more than 10,000 for 1.
        pages=image.get("n-pages") if image.get_typeof("n-pages") else 1,
    )


def _unopened(error: Any, path: Path, start: bytes) -> JobError:
    why = reason(error, path)
    if is_picture(start):
        return unsupported(why) if UNSUPPORTED.search(str(error.detail)) else broken(why)
    return JobError(
        "image-unsupported",
        "The file is not a picture that can be read here: send a JPEG, PNG, WebP, AVIF, HEIC, "
        "TIFF or GIF file.",
    )
