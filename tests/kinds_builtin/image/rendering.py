"""Renders pictures through the kind's function, and looks at the files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageSequence

from app.jobs import JobError
from tests.kinds_builtin.conftest import FolderContext
from worker.kinds.image import ImageTransformed

CASES = Path(__file__).parents[1] / "cases"

Transform = Callable[..., ImageTransformed]


def opened(job: FolderContext, result: ImageTransformed, index: int = 0) -> Image.Image:
    rendition = result.renditions[index]
    with Image.open(job.path(rendition.file)) as image:
        image.load()
    assert image.size == (rendition.width, rendition.height)
    return image


def frames_of(path: Path, mode: str = "RGB") -> list[Image.Image]:
    with Image.open(path) as image:
        return [frame.convert(mode) for frame in ImageSequence.Iterator(image)]


def times_of(path: Path) -> list[int]:
    """How long each frame is shown, in milliseconds."""
    with Image.open(path) as image:
        times = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            image.load()
            times.append(image.info["duration"])
        return times


def refused(render: Transform, path: Path, *renditions: dict[str, Any]) -> JobError:
    with pytest.raises(JobError) as caught:
        render(path, *(renditions or ({"width": 64},)))
    assert not caught.value.retryable
    assert str(path) not in caught.value.detail
    return caught.value


def rgba_at(image: Image.Image, place: tuple[int, int]) -> tuple[int, int, int, int]:
    left, top = place
    red, green, blue, alpha = image.convert("RGBA").crop((left, top, left + 1, top + 1)).tobytes()
    return red, green, blue, alpha


def close(pixel: Any, colour: tuple[int, int, int]) -> bool:
    return all(abs(a - b) <= 24 for a, b in zip(pixel[:3], colour, strict=True))


# A colour for each page or frame.
COLOURS = [(250, 20, 20), (20, 200, 20), (20, 20, 220), (240, 240, 20)]
RED, GREEN, BLUE, WHITE = (220, 20, 20), (20, 200, 20), (20, 20, 220), (250, 250, 250)


def corners(image: Image.Image) -> list[Any]:
    width, height = image.size
    image = image.convert("RGB")
    places = [(8, 8), (width - 8, 8), (8, height - 8), (width - 8, height - 8)]
    return [image.getpixel(place) for place in places]


def assert_corners(image: Image.Image, *colours: tuple[int, int, int]) -> None:
    for pixel, colour in zip(corners(image), colours, strict=True):
        assert close(pixel, colour), (corners(image), colours)
