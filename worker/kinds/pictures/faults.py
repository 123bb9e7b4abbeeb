"""Tells damaged pictures, pictures that can't be decoded here, and our own faults apart."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

from app.jobs import JobError
from worker.kinds.pictures.library import load

# How strict each loader of libvips is. Measured over the test pictures of Pillow, libvips,
# scikit-image and pygame: "error" refuses no JPEG, PNG, WebP, AVIF or GIF file that Pillow decodes
# to its end, and every one that was cut within its pixels. "warning" refuses good files with odd
# metadata. The TIFF loader is the exception: "error" refuses good files with a bad pointer behind
# the last page, and misses damage in tiles; see `_tiff_damage`.
STRICT = {"tiff": "none"}
STRICTEST = "error"

UNSUPPORTED = re.compile(
    r"not configured|not supported|unsupported|not been built in|not implemented|bad labq format"
    r"|not a whole number of bytes|required field \d+ missing|samples out of range",
    re.IGNORECASE,
)
# Faults of the machine, which libvips reports in the same way as those of the picture.
OURS = re.compile(
    r"out of memory|no space left|cannot allocate|too many open files|permission denied"
    r"|input/output error|read-only file system|quota exceeded",
    re.IGNORECASE,
)
# Errors of libtiff that leave all the pixels of a page right: about tags and about other pages.
HARMLESS = re.compile(r"directory|IFD|custom tag|bad seek|tag ignored|unknown field", re.IGNORECASE)
# Warnings that mean wrong pixels. libjpeg skips bytes before the header's markers without loss
# ("extraneous bytes"); before a restart marker (0xd0 to 0xd7) they are lost pixels.
DAMAGE = re.compile(
    r"Corrupt JPEG data: (?!\d+ extraneous bytes before marker 0x(?!d[0-7]))"
    r"|premature end of (JPEG|data)|Line length mismatch|Premature EO|Bad code word"
    r"|Discarding \d+ bytes|bad adaptive filter|not enough data|Unexpected end of GIF",
)
# Size of libvips' buffer of errors in bytes: damage that it has no room for would go unnoticed.
FULL = 10_000


class Complaints(logging.Handler):
    """The warnings of libvips and its decoders while a picture is decoded."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.warnings: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.warnings) < 1000:
            self.warnings += record.getMessage().splitlines()

    def damage(self) -> str | None:
        """The first warning that means wrong pixels, or None."""
        return next((line for line in self.warnings if DAMAGE.search(line)), None)


@contextmanager
def complaints(library: Any) -> Iterator[Complaints]:
    logger = logging.getLogger(library.__name__)
    heard = Complaints()
    # A warning repeats all the errors in libvips' buffer, also those of the previous picture.
    library.vips_lib.vips_error_clear()
    logger.addHandler(heard)
    try:
        yield heard
    finally:
        logger.removeHandler(heard)


def is_ours(error: Any) -> bool:
    return OURS.search(str(error.detail)) is not None


def unsupported(why: str) -> JobError:
    return JobError(
        "image-unsupported",
        f"The picture is stored in a way that is not supported here{_aside(why)}: save it as an "
        "ordinary JPEG, PNG or TIFF file and send that.",
    )


def broken(why: str) -> JobError:
    return JobError(
        "image-broken", f"The picture is damaged or cut short{_aside(why)}: upload it again."
    )


def _aside(why: str) -> str:
    return f" ({why})" if why else ""


def fault(text: str, path: Path) -> JobError:
    """The job's error for a decoder's message."""
    why = reason(text, path)
    return unsupported(why) if UNSUPPORTED.search(text) else broken(why)


def reject_broken(
    library: Any,
    path: Path,
    *,
    form: str = "",
    page: int = 0,
    animated: bool = False,
    stop: Event | None = None,
) -> None:
    """Raise `JobError` (`image-broken`, `image-unsupported`) if the picture can't be decoded.

    Call it after an operation failed, to tell the input's fault from ours (a full disk).
    """
    options: dict[str, object] = {"page": page} if page else {}
    if animated:
        options["n"] = -1
    options["fail_on"] = STRICT.get(form, STRICTEST)

    def on_eval(image: Any, _progress: Any) -> None:
        if stop is not None and stop.is_set():
            image.set_kill(True)

    with complaints(library) as heard:
        try:
            image = load(library, path, access="sequential", **options)
            image.set_progress(True)
            image.signal_connect("eval", on_eval)
            image.avg()
            errors = _buffered_errors(library)
        except library.Error as error:
            if is_ours(error):
                raise
            raise fault(str(error.detail), path) from error
    damage = (_tiff_damage(errors) if form == "tiff" else None) or heard.damage()
    if damage:
        raise fault(damage, path)


def _tiff_damage(errors: str) -> str | None:
    """The most telling of libtiff's errors, or None if they leave the pixels right."""
    if len(errors) >= FULL:
        return "too many errors"
    lines = [line for line in errors.splitlines() if line.strip() and not HARMLESS.search(line)]
    unsupported = [line for line in lines if UNSUPPORTED.search(line)]
    return next(iter([*unsupported, *lines]), None)


def _buffered_errors(library: Any) -> str:
    """Take libvips' errors out of its buffer, which many calls of pyvips empty as well."""
    text: bytes = library.ffi.string(library.vips_lib.vips_error_buffer())
    library.vips_lib.vips_error_clear()
    return text.decode(errors="replace")


def reason(error: Any, path: Path | None = None) -> str:
    """The first line of a decoder's message without the path of any file, or an empty text."""
    text = str(getattr(error, "detail", error))
    for line in text.splitlines():
        said = line.replace(f"{path}", "the file") if path else line
        # `tiff2vips: Read error`: the name of one of libvips' modules.
        said = re.sub(r"^\s*(VIPS: )?([A-Za-z]\w+: )+", "", said)
        said = re.sub(r'"?(?<![\w.])/[^\s":]+"?', "the file", said).strip().rstrip(".")
        if said and "bad seek" not in said and "is not a known file format" not in said:
            return said[:200]
    return ""
