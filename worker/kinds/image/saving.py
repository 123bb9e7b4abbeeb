"""Encodes a rendition with its format, quality and largest size in bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.jobs import JobError
from worker.kinds.image.metadata import without_previews
from worker.kinds.image.options import Format, Rendition

EXTENSION: dict[Format, str] = {
    "jpeg": "jpg",
    "png": "png",
    "webp": "webp",
    "avif": "avif",
    "gif": "gif",
}
QUALITY: dict[Format, int] = {"jpeg": 82, "webp": 80, "avif": 55}
# Options beyond quality. AVIF: effort 4, libvips' default, took 5 times as long for 5% fewer bytes.
SAVE: dict[Format, dict[str, object]] = {
    "jpeg": {"optimize_coding": True},
    "png": {},
    "webp": {},
    "avif": {"effort": 2},
    "gif": {},
}


def save(
    image: Any,
    target: Path,
    rendition: Rendition,
    *,
    keep_metadata: bool,
    hold: Callable[[Any], Any],
) -> int | None:
    """Compute and write a rendition, and return the quality of a lossy format.

    `hold` computes an image and gives it back in memory.
    Raises `JobError` with `max-bytes-too-small`.
    """
    options = dict(SAVE[rendition.format])
    if rendition.effort is not None:
        options["effort"] = rendition.effort
    if keep_metadata:
        options["keep"] = "all"
        image = without_previews(image)
    else:
        options["keep"] = "none"
    if rendition.format not in QUALITY:
        image.write_to_file(str(target), **options)
        return None
    quality = rendition.quality or QUALITY[rendition.format]
    if rendition.max_bytes is None:
        image.write_to_file(str(target), Q=quality, **options)
        return quality
    return _fit(hold(image), target, rendition, quality, options)


def _fit(
    image: Any, target: Path, rendition: Rendition, quality: int, options: dict[str, object]
) -> int:
    """Write the file at the highest quality that fits, found by bisection: at most 8 tries."""
    attempt = target.with_name(f"attempt-{target.name}")
    fits, exceeds = 0, quality + 1
    smallest = 0
    tried = quality
    while exceeds - fits > 1:
        image.write_to_file(str(attempt), Q=tried, **options)
        smallest = attempt.stat().st_size
        if smallest <= (rendition.max_bytes or 0):
            fits = tried
            attempt.replace(target)
        else:
            exceeds = tried
        tried = (fits + exceeds) // 2
    attempt.unlink(missing_ok=True)
    if not fits:
        remedy = "raise max_bytes, or ask for a smaller width and height"
        if options["keep"] == "all":
            remedy += ", or set metadata to strip"
        raise JobError(
            "max-bytes-too-small",
            f"Rendition {rendition.name} has {smallest:,} bytes even at quality 1, which is more "
            f"than the {rendition.max_bytes:,} allowed: {remedy}.",
        )
    return fits
