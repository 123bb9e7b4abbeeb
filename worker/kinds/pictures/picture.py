"""A stranger's picture, opened, and the ways to its pixels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from app.jobs import JobError
from worker.kinds.pictures import heic
from worker.kinds.pictures.faults import (
    STRICT,
    STRICTEST,
    UNSUPPORTED,
    complaints,
    fault,
    is_ours,
    reject_broken,
)
from worker.kinds.pictures.header import Header, read_header

Result = TypeVar("Result")


class Picture:
    """One page of a picture.

    `pixels` and `reduced` return images of libvips, upright and not yet computed: compute them
    inside `decode`. `damaged` says whether pixels were found to be missing or wrong, which raises
    `JobError` unless `tolerate_damage` was given.
    """

    def __init__(
        self, library: Any, path: Path, header: Header, *, page: int, tolerate_damage: bool
    ) -> None:
        self.library = library
        self.path = path
        self.header = header
        self.page = page
        self.tolerate_damage = tolerate_damage
        self.damaged = False
        with path.open("rb") as file:
            self._heic = heic.is_heic(file.read(64))
        self._decoded: Any = None

    def pixels(self, access: str = "sequential") -> Any:
        """The whole page. With `sequential` access it is read once, from top to bottom."""
        if (image := self._from_heic()) is not None:
            return image
        # A turned picture is read in another order than it is stored in.
        access = "random" if self.header.turned else access
        options = {"page": self.page} if self.page else {}
        return self.library.Image.new_from_file(
            str(self.path), access=access, fail_on=self._fail_on, **options
        ).autorot()

    def reduced(self, width: int, height: int, **options: Any) -> Any:
        """The page resized to fit, by libvips' `thumbnail` and with its options.

        JPEG and WebP files are reduced while they are decoded, which is the fastest way.
        """
        if (image := self._from_heic()) is not None:
            return image.thumbnail_image(width, height=height, **options)
        page = f"[page={self.page}]" if self.page else ""
        return self.library.Image.thumbnail(
            f"{self.path}{page}", width, height=height, fail_on=self._fail_on, **options
        )

    def decode(self, work: Callable[[], Result]) -> Result:
        """Run `work`, which computes pixels of this picture, and return its result.

        Raises `JobError` (`image-broken`, `image-unsupported`) if not all pixels are there and
        right. With `tolerate_damage`, `work` runs again instead, on those that can be read.
        """
        try:
            return self._decode(work)
        except JobError as error:
            if error.code != "image-broken" or not self.tolerate_damage or self.damaged:
                raise
        self.damaged = True
        return self._decode(work)

    def _decode(self, work: Callable[[], Result]) -> Result:
        form = self.header.format
        with complaints(self.library) as heard:
            try:
                result = work()
            except self.library.Error as error:
                if self._decoded is None and not is_ours(error):
                    reject_broken(self.library, self.path, form=form, page=self.page)
                raise
        damage = heard.damage(form)
        if damage and (not self.damaged or UNSUPPORTED.search(damage)):
            raise fault(damage, self.path)
        return result

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


def open_picture(
    library: Any, path: Path, page: int = 0, *, tolerate_damage: bool = False
) -> Picture:
    """Read the header of a page, counted from 0, and refuse what would not fit.

    Raises `JobError`: `image-unsupported`, `image-too-large`, `image-broken`.
    """
    header = read_header(library, path, page)
    return Picture(library, path, header, page=page, tolerate_damage=tolerate_damage)
