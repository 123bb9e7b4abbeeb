"""Lays a second picture over a rendition."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.jobs import JobError
from worker.kinds.image.options import Watermark
from worker.kinds.pictures import open_picture

# Largest side of a watermark in memory (67 MB); a larger one is enlarged while it is laid on.
MAX_HELD = 4096


@dataclass(frozen=True, slots=True)
class Overlay:
    """A watermark that was decoded and resized for one rendition, and its place on it."""

    image: Any
    left: int
    top: int

    def on(self, image: Any) -> Any:
        laid = image.composite2(self.image, "over", x=self.left, y=self.top).cast("uchar")
        return laid if image.hasalpha() else laid.extract_band(0, n=image.bands)


def overlay(library: Any, path: Path, watermark: Watermark, width: int, height: int) -> Overlay:
    """Decode the watermark's file for a rendition of this size.

    Raises the same `JobError`s as a source; their text says that they are about the watermark.
    """
    box = [max(1, round(side * watermark.scale)) for side in (width, height)]
    held = [min(side, MAX_HELD) for side in box]
    try:
        picture = open_picture(library, path)
        mark = picture.decode(
            lambda: picture.reduced(*held, size="both", output_profile="srgb").copy_memory()
        )
    except JobError as error:
        raise JobError(error.code, f"Watermark: {error.detail}") from error
    if held != box:
        mark = mark.resize(min(box[0] / mark.width, box[1] / mark.height))
    if not mark.hasalpha():
        mark = mark.bandjoin(255)
    alpha = (mark.extract_band(3) * watermark.opacity).cast("uchar")
    mark = mark.extract_band(0, n=3).bandjoin(alpha).copy(interpretation="srgb")
    if watermark.position == "tile":
        tile = mark.embed(0, 0, mark.width + watermark.margin, mark.height + watermark.margin)
        across, down = -(-width // tile.width), -(-height // tile.height)
        return Overlay(tile.replicate(across, down).crop(0, 0, width, height), 0, 0)
    left, top = place(watermark, (mark.width, mark.height), (width, height))
    return Overlay(mark, left, top)


def place(watermark: Watermark, mark: tuple[int, int], picture: tuple[int, int]) -> tuple[int, int]:
    """Left and top of the watermark, each kept inside the picture whatever the margin."""
    position = watermark.position
    free = [whole - part for whole, part in zip(picture, mark, strict=True)]
    left, top = (side // 2 for side in free)
    if "left" in position:
        left = min(watermark.margin, free[0])
    elif "right" in position:
        left = max(0, free[0] - watermark.margin)
    if "top" in position:
        top = min(watermark.margin, free[1])
    elif "bottom" in position:
        top = max(0, free[1] - watermark.margin)
    return left, top
