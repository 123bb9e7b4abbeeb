"""Reads the pages of a picture: all of a TIFF file, the first of every other format."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.jobs import JobError
from worker.kinds.pictures import Header, Picture, is_picture, open_picture, page_named, vips
from worker.kinds.watch import watched

if TYPE_CHECKING:
    import numpy

    from worker.kinds.text.recognise import Pixels

MIN_SIDE = 8
# A longer picture, such as 1:4, is reduced by its shorter side. MAX_LONG_PIXELS take as much time
# as seven pages of A4 (160 s on one thread), and no more memory than one (0.7 GB).
LONG = 3
MAX_LONG_PIXELS = 20_000_000
# Least share of light, and of dark, pixels beside transparent ones if there is text of both.
BOTH = 0.1
LIGHT, DARK = 170, 85
WHITE, GREY, BLACK = 255, 128, 0
# Dots per inch of scans, and how many times as many one way as the other: a fax has 204 x 98, or
# 204 x 391. Pictures that state others get the usual value of a scan.
DPI = range(50, 2401)
MAX_DPI_RATIO = 4
COMMON_DPI = 150.0
QUALITY = 80
UNKNOWN_FORMAT = (
    "The file is neither a PDF file nor a picture that can be read here: send a PDF, JPEG, PNG, "
    "WebP, AVIF, HEIC, TIFF or GIF file."
)


class PictureSource:
    """A picture, opened. Raises `JobError` as `open_picture` does."""

    def __init__(self, path: Path, threads: int) -> None:
        self._library = vips(threads)
        self._path = path
        try:
            self._first = open_picture(self._library, path)
        except JobError as error:
            if error.code == "image-unsupported" and not _begins_as_picture(path):
                raise JobError(error.code, UNKNOWN_FORMAT) from error
            raise

    def __len__(self) -> int:
        header: Header = self._first.header
        return header.pages if header.format == "tiff" else 1

    def page(self, number: int) -> "PicturePage":
        picture = self._first if number == 1 else self._opened(number)
        page = PicturePage(picture, number)
        if min(page.width, page.height) < MIN_SIDE:
            raise JobError(
                "image-too-small",
                f"{self._name(number)} has {page.width} x {page.height} pixels: text needs at "
                f"least {MIN_SIDE} on each side.",
            )
        return page

    def _opened(self, number: int) -> Picture:
        with page_named(number, self._first.header):
            return open_picture(self._library, self._path, number - 1)

    def _name(self, number: int) -> str:
        return f"Page {number} of the picture" if len(self) > 1 else "The picture"


class PicturePage:
    def __init__(self, picture: Picture, number: int) -> None:
        self._picture = picture
        self.number = number
        self.width: int = picture.header.width
        self.height: int = picture.header.height
        self._behind: int | None = None

    def pixels(self, resolution: int, watch: Callable[[], None]) -> "Pixels":
        """The page upright, reduced, opaque, in the channel order of OpenCV: blue first."""

        most = longest_side(self.width, self.height, resolution)

        def work() -> "Pixels":
            image = self._picture.reduced(most, most, size="down", output_profile="srgb")
            found: Pixels = image.numpy()
            return found

        with page_named(self.number, self._picture.header):
            found = watched(lambda stop: self._picture.decode(work, stop), watch)
        if found.shape[2] == 4:
            found = self._opaque(found)
        return found[:, :, ::-1].copy()

    def _opaque(self, pixels: "Pixels") -> "Pixels":
        import numpy

        alpha = pixels[:, :, 3:].astype(numpy.uint16)
        self._behind = background(pixels)
        mixed = pixels[:, :, :3] * alpha + self._behind * (255 - alpha)
        laid: Pixels = (mixed // 255).astype(numpy.uint8)
        return laid

    def save(self, target: Path, watch: Callable[[], None]) -> tuple[float, float]:
        """Write the page as a JPEG file in its own size.

        Returns its dots per inch across and down, which differ on a fax.
        """

        def work() -> tuple[float, float]:
            image: Any = self._picture.reduced(
                self.width, self.height, size="down", output_profile="srgb"
            )
            across, down = float(image.xres) * 25.4, float(image.yres) * 25.4
            if self._picture.header.sideways:  # libvips leaves them as they were
                across, down = down, across
            if image.hasalpha():
                behind = WHITE if self._behind is None else self._behind
                image = image.flatten(background=[behind] * 3)
            image.jpegsave(str(target), Q=QUALITY, optimize_coding=True, keep="none")
            return _trusted(across, down)

        with page_named(self.number, self._picture.header):
            return watched(lambda stop: self._picture.decode(work, stop), watch)


def _begins_as_picture(path: Path) -> bool:
    with path.open("rb") as file:
        return is_picture(file.read(64))


def _trusted(across: float, down: float) -> tuple[float, float]:
    """The dots per inch that a file states, if a scanner may have made it."""
    if (
        int(across) in DPI
        and int(down) in DPI
        and max(across, down) <= MAX_DPI_RATIO * min(across, down)
    ):
        return across, down
    return COMMON_DPI, COMMON_DPI


def longest_side(width: float, height: float, resolution: int) -> int:
    """The longer side, in pixels, at which a picture of this size is read.

    A picture longer than LONG to 1 is reduced by its shorter side: the letters on a long
    screenshot are as large as on one of usual shape.
    """
    shape = max(width, height) / min(width, height)
    if shape <= LONG:
        return resolution
    return round(min(resolution / LONG * shape, math.sqrt(MAX_LONG_PIXELS * shape)))


def background(pixels: "numpy.ndarray[Any, numpy.dtype[numpy.uint8]]") -> int:
    """The grey value on which the drawing in an RGBA picture can be seen.

    It is judged at the edges of what is drawn: the inside of an opaque area (a label, a photo)
    doesn't touch the background.
    """
    import numpy

    opaque = pixels[:, :, 3] > 127
    clear = ~opaque
    edge = numpy.zeros_like(opaque)
    edge[1:] |= clear[:-1]
    edge[:-1] |= clear[1:]
    edge[:, 1:] |= clear[:, :-1]
    edge[:, :-1] |= clear[:, 1:]
    drawn = pixels[edge & opaque][:, :3]
    if len(drawn) == 0:
        # Everything is opaque, or so faint that only the average tells.
        weights = pixels[:, :, 3].astype(float)
        if opaque.all() or weights.sum() == 0:
            return WHITE
        light = (pixels[:, :, :3].mean(axis=2) * weights).sum() / weights.sum()
        return BLACK if light > GREY else WHITE
    grey = drawn @ numpy.array([0.299, 0.587, 0.114])
    light, dark = (grey > LIGHT).mean(), (grey < DARK).mean()
    if light >= BOTH and dark >= BOTH:
        return GREY
    return BLACK if grey.mean() > GREY else WHITE
