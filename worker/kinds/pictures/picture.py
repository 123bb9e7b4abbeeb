"""An untrusted picture, opened, and the ways to its pixels."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from app.jobs import JobError
from worker.kinds.pictures import gif, heic
from worker.kinds.pictures.faults import (
    STRICT,
    STRICTEST,
    broken,
    complaints,
    fault,
    is_ours,
    reject_broken,
)
from worker.kinds.pictures.header import Header, read_header
from worker.kinds.pictures.library import load

Result = TypeVar("Result")

# The decoders that can skip most of their work. With other formats, libvips' `thumbnail` would use
# smaller pictures that are stored beside the page: of an AVIF file its thumbnail, which may show
# something else, and of a TIFF file the smallest, however large the rendition is to be.
REDUCED_WHILE_DECODED = {"jpeg", "webp"}
MAX_FRAMES = 1000  # 40 seconds at 25 frames a second
# All frames are held at once, at 4 bytes a pixel: 150 frames of 640 x 600, in a share of a child's
# memory. 150 megapixels took 1.1 GB, and 84 seconds to encode.
MAX_ANIMATION_PIXELS = 60_000_000


class Picture:
    """One page of a picture.

    `pixels` and `reduced` return images of libvips, upright and not yet computed: compute them
    inside `decode`. `damaged` says whether pixels were found to be missing or wrong, which raises
    `JobError` unless `tolerate_damage` was given.
    """

    def __init__(self, library: Any, path: Path, header: Header, *, tolerate_damage: bool) -> None:
        self.library = library
        self.path = path
        self.header = header
        self.page = header.index
        self.tolerate_damage = tolerate_damage
        self.damaged = False
        with path.open("rb") as file:
            self._heic = heic.is_heic(file.read(64))
        self._decoded: Any = None
        self._read_through = False
        self._animated = False  # whether the work at hand reads all frames

    def pixels(self, access: str = "sequential") -> Any:
        """The whole page. With `sequential` access it is read once, from top to bottom."""
        # A turned picture is read in another order than it is stored in.
        return self._opened("random" if self.header.turned else access).autorot()

    def reduced(self, width: int, height: int, **options: Any) -> Any:
        """The page resized to fit, by libvips' `thumbnail` and with its options."""
        if self.header.format in REDUCED_WHILE_DECODED and not self.page:
            return self.library.Image.thumbnail(
                str(self.path), width, height=height, fail_on=self._fail_on, **options
            )
        return self._opened("sequential").thumbnail_image(width, height=height, **options)

    def _opened(self, access: str) -> Any:
        """The page as it is stored."""
        if (image := self._from_heic()) is not None:
            return image
        if self.page:
            self._check_last_frame()
        options = {"page": self.page} if self.page else {}
        return self._shown(self._load(access=access, **options))

    def _load(self, *, page: int = 0, **options: Any) -> Any:
        options["fail_on"] = self._fail_on
        if self.header.covered:
            if page:
                options["page"] = page
            return load(self.library, self.path, **options)
        data = gif.with_first_frame(self.path, self.header.width, self.header.height)
        image = self.library.Image.gifload_buffer(data, page=page + 1, **options).copy()
        # These are about all frames of the file, whichever is loaded.
        delays = image.get("delay")[1:]
        image.set("delay", delays)
        image.set("gif-delay", round(delays[0] / 10) if delays else 0)
        image.set("n-pages", image.get("n-pages") - 1)
        return image

    def _shown(self, image: Any) -> Any:
        """The image with the channels that are to be shown."""
        if (channels := self.header.channels) is None:
            return image
        first, *others = (image.extract_band(channel) for channel in channels)
        return first.bandjoin(others) if others else first

    def frames(self) -> list[Any]:
        """All frames of a GIF or WebP animation, upright.

        Raises `JobError`: `image-too-large`, `image-broken`.
        """
        header = self.header
        total = header.pages * header.width * header.height
        if header.pages > MAX_FRAMES or total > MAX_ANIMATION_PIXELS:
            raise JobError(
                "image-too-large",
                f"The animation has {header.pages:,} frames of {header.width} x {header.height} "
                f"pixels: at most {MAX_FRAMES:,} frames and {MAX_ANIMATION_PIXELS:,} pixels "
                "altogether are accepted. Leave `animated` out to have its first frame.",
            )
        self._check_last_frame()
        self._animated = True
        roll = self._load(n=-1, access="random")
        count = roll.get_n_pages()
        if count < header.pages and not self.damaged:
            raise broken(f"frame {count + 1} is not readable")
        height = roll.get_page_height()
        frames = []
        for top in range(0, roll.height, height):
            frame = roll.crop(0, top, roll.width, height).copy()
            frame.remove("page-height")
            frames.append(frame.autorot())
        return frames

    def decode(self, work: Callable[[], Result], stop: Event | None = None) -> Result:
        """Run `work`, which computes pixels of this picture, and return its result.

        With `tolerate_damage`, `work` runs again if pixels are missing or wrong, on those that can
        be read. Once `stop` is set, it fails soon; `work` sees to its own end.

        Raises `JobError`: `image-broken`, `image-unsupported`.
        """
        if self.header.format == "tiff" and not self._read_through:
            # libtiff's errors don't stop libvips, and pyvips clears them in many of its calls: a
            # pass without such calls sees them all.
            self._tolerated(lambda: self._reject_broken(stop))
            self._read_through = True
        if not self.damaged:
            done: list[Result] = []
            self._tolerated(lambda: done.append(self._decode(work, stop)))
            if done:
                return done[0]
        return self._decode(work, stop)

    def _tolerated(self, work: Callable[[], None]) -> None:
        try:
            work()
        except JobError as error:
            if error.code != "image-broken" or not self.tolerate_damage:
                raise
            self.damaged = True

    def _reject_broken(self, stop: Event | None) -> None:
        reject_broken(
            self.library,
            self.path,
            form=self.header.format,
            page=self.page,
            animated=self._animated,
            stop=stop,
        )

    def _decode(self, work: Callable[[], Result], stop: Event | None) -> Result:
        self._animated = False
        with complaints(self.library) as heard:
            try:
                result = work()
            except self.library.Error as error:
                stopped = stop is not None and stop.is_set()
                if not stopped and self._decoded is None and not is_ours(error):
                    self._reject_broken(stop)
                raise
        damage = heard.damage()
        if damage and not self.damaged:
            raise fault(damage, self.path)
        return result

    def _check_last_frame(self) -> None:
        # libvips takes a GIF that is cut within a later frame for whole.
        if not self.header.whole and not self.damaged:
            raise broken("the file ends within a frame")

    @property
    def _fail_on(self) -> str:
        return "none" if self.damaged else STRICT.get(self.header.format, STRICTEST)

    def _from_heic(self) -> Any:
        """The decoded picture if it is HEIC, or None. It is kept for the next call."""
        if self._heic and self._decoded is None:
            try:
                self._decoded = heic.decode(self.library, self.path)
            except heic.OtherCodecError:
                self._heic = False  # libvips decodes AV1 in any container
        return self._decoded


@contextmanager
def page_named(number: int, header: Header) -> Iterator[None]:
    """Name the page, counted from 1, in errors about the pixels of a TIFF file with several."""
    try:
        yield
    except JobError as error:
        if error.code not in ("image-broken", "image-unsupported") or header.pages == 1:
            raise
        if header.format != "tiff" or error.detail.startswith("Watermark"):
            raise
        detail = f"Page {number}: {error.detail} Or leave the page out with `pages`."
        raise JobError(error.code, detail) from error


def open_picture(
    library: Any, path: Path, page: int = 0, *, tolerate_damage: bool = False
) -> Picture:
    """Read the header of a page, counted from 0, and refuse a picture that is too large.

    Raises `JobError`: `image-unsupported`, `image-too-large`, `image-broken`.
    """
    header = read_header(library, path, page)
    return Picture(library, path, header, tolerate_damage=tolerate_damage)
