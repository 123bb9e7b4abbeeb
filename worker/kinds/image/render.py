"""Makes one rendition of one page, from the source's pixels to a file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Self

from app.jobs import JobError
from worker.kinds.image.effects import finished, flattened
from worker.kinds.image.options import ANIMATED, Rendition
from worker.kinds.image.resize import Resize, as_found, padded, plan, resized
from worker.kinds.image.saving import save
from worker.kinds.image.watermark import Overlay, overlay
from worker.kinds.pictures import MAX_ANIMATION_PIXELS, Picture


@dataclass(frozen=True, slots=True)
class Rendered:
    """Size in pixels, of each frame; the quality is that of a lossy format."""

    width: int
    height: int
    frames: int
    quality: int | None


class Evaluation:
    """Follows libvips' progress with a rendition, and stops it if asked to."""

    def __init__(self) -> None:
        self.percent = 0
        self._stop = Event()
        # pyvips frees a callback with the image that it was connected to, and libvips then aborts
        # the process: the images live as long as this.
        self._followed: list[Any] = []

    def until(self, stop: Event) -> Self:
        """End the work once `stop` is set."""
        self._stop = stop
        return self

    def follow(self, image: Any) -> Any:
        """Watch an image. Those that are made from it afterwards are watched, too."""
        image.set_progress(True)
        image.signal_connect("eval", self._on_eval)
        self._followed.append(image)
        return image

    def hold(self, image: Any) -> Any:
        """Compute an image now, into memory."""
        return self.follow(image).copy_memory()

    def _on_eval(self, image: Any, progress: Any) -> None:
        self.percent = max(self.percent, progress.percent)
        if self._stop.is_set():
            image.set_kill(True)


def render(
    picture: Picture,
    rendition: Rendition,
    target: Path,
    *,
    watermark: Path | None,
    keep_metadata: bool,
    evaluation: Evaluation,
) -> Rendered:
    """Render and save. It blocks for as long as it takes: call it through `watched`.

    Raises `JobError`: `crop-outside`, `rendition-too-large`, `max-bytes-too-small`, and those of
    the source and the watermark.
    """
    if rendition.animated and picture.header.format in ANIMATED and picture.header.pages > 1:
        frames = _frames(picture, rendition, evaluation.hold)
    else:
        frames = [_still(picture, rendition, evaluation)]
    mark: Overlay | None = None
    if rendition.watermark and watermark:
        first = frames[0]
        mark = overlay(picture.library, watermark, rendition.watermark, first.width, first.height)
    frames = [flattened(mark.on(frame) if mark else frame, rendition) for frame in frames]
    image = frames[0] if len(frames) == 1 else _joined(picture, frames, evaluation)
    quality = save(image, target, rendition, keep_metadata=keep_metadata, hold=evaluation.hold)
    return Rendered(frames[0].width, frames[0].height, len(frames), quality)


def _still(picture: Picture, rendition: Rendition, evaluation: Evaluation) -> Any:
    if crop := rendition.crop:
        image = picture.pixels().crop(crop.left, crop.top, crop.width, crop.height)
        resize = plan(rendition, crop.width, crop.height)
        image = resized(image.thumbnail_image, resize, rendition, evaluation.hold)
    else:
        resize = plan(rendition, picture.header.width, picture.header.height)
        image = resized(picture.reduced, resize, rendition, evaluation.hold)
    return _shaped(evaluation.follow(image), resize, rendition)


def _shaped(image: Any, resize: Resize, rendition: Rendition) -> Any:
    if resize.canvas:
        image = padded(image, resize.canvas, rendition)
    return finished(image, rendition)


def _frames(picture: Picture, rendition: Rendition, hold: Callable[[Any], Any]) -> list[Any]:
    frames: list[Any] = []
    resize: Resize | None = None
    for whole in picture.frames():
        crop = rendition.crop
        frame = whole.crop(crop.left, crop.top, crop.width, crop.height) if crop else whole
        resize = resize or plan(rendition, frame.width, frame.height)
        image = resized(frame.thumbnail_image, resize, rendition, hold)
        # The same part of all frames: the animation must not jump about.
        resize = as_found(resize, image)
        frames.append(_shaped(image, resize, rendition))
        _check_total(frames, picture.header.pages, rendition)
    return frames


def _check_total(frames: list[Any], count: int, rendition: Rendition) -> None:
    width, height = frames[0].width, frames[0].height
    if count * width * height > MAX_ANIMATION_PIXELS:
        raise JobError(
            "rendition-too-large",
            f"Rendition {rendition.name} would have {count:,} frames of {width} x {height} pixels: "
            f"at most {MAX_ANIMATION_PIXELS:,} pixels altogether are made. Ask for a smaller "
            "width and height.",
        )


def _joined(picture: Picture, frames: list[Any], evaluation: Evaluation) -> Any:
    """The frames one below the other, with the times of the source's."""
    gvalue = picture.library.GValue
    joined = picture.library.Image.arrayjoin(frames, across=1).copy()
    joined.set_type(gvalue.gint_type, "page-height", frames[0].height)
    joined.set_type(gvalue.gint_type, "n-pages", len(frames))
    return evaluation.follow(joined)
