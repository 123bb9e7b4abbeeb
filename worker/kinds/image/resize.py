"""Plans the steps of libvips that make a rendition's size out of the picture's."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from app.jobs import JobError
from worker.kinds.image.options import MAX_SIDE, FocalPoint, Rendition
from worker.kinds.pictures import MAX_PIXELS

UNBOUNDED = 10_000_000  # libvips' largest coordinate: no limit
CENTRE = FocalPoint(x=0.5, y=0.5)

# libvips' `thumbnail` on a source: width, height and options.
Thumbnail = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Resize:
    """Width, height and options of libvips' `thumbnail`, then what is cut out or put round it.

    `stretch` is the width and height after a side has grown that `thumbnail` leaves as it is.
    `window` is left, top, width and height of a part. `search` is the width and height of a part
    that libvips looks for, in the way that the rendition's `focus` says.
    """

    width: int
    height: int
    options: dict[str, object]
    stretch: tuple[int, int] | None = None
    window: tuple[int, int, int, int] | None = None
    search: tuple[int, int] | None = None
    canvas: tuple[int, int] | None = None


def plan(rendition: Rendition, source_width: int, source_height: int) -> Resize:
    """Plan the resize of a picture of this size (that of the crop, if there is one).

    Raises `JobError` with `rendition-too-large`.
    """
    width, height = rendition.width, rendition.height
    if rendition.rotate in (90, 270):  # which comes after the resize
        width, height = height, width
    # sRGB whatever came in: stripped of its profile a wide-gamut picture would look washed out.
    options: dict[str, object] = {"output_profile": "srgb"}
    if rendition.fit in ("contain", "pad") or width is None or height is None:
        grows = rendition.enlarge is True and bool(width or height)
        options["size"] = "both" if grows else "down"
        if width is None and height is None:
            width, height = source_width, source_height
        canvas = (width, height) if rendition.fit == "pad" and width and height else None
        return Resize(width or UNBOUNDED, height or UNBOUNDED, options, canvas=canvas)
    options["size"] = "force"
    if rendition.fit == "cover":
        return _cover(rendition, width, height, source_width, source_height, options)
    if rendition.enlarge is False:  # "force" would enlarge too
        width, height = min(width, source_width), min(height, source_height)
    return _forced(width, height, source_width, source_height, options)


def _forced(
    width: int, height: int, source_width: int, source_height: int, options: dict[str, object]
) -> Resize:
    """Exactly this size.

    Where libvips (8.18) enlarges one side only, it shifts the picture along the other one by half
    a pixel of the result.
    """
    if (width > source_width) == (height > source_height):
        return Resize(width, height, options)
    least = min(width, source_width), min(height, source_height)
    return Resize(*least, options, stretch=(width, height))


def _cover(
    rendition: Rendition,
    width: int,
    height: int,
    source_width: int,
    source_height: int,
    options: dict[str, object],
) -> Resize:
    """The whole picture just as large as it takes to cover, of which a part is kept."""
    scale = max(width / source_width, height / source_height)
    if rendition.enlarge is False and scale > 1:
        whole_width, whole_height = source_width, source_height
        width, height = min(width, source_width), min(height, source_height)
    else:
        whole_width = max(width, round(source_width * scale))
        whole_height = max(height, round(source_height * scale))
    if scale > 1:
        # A line of 1 x 10,000 pixels that is to cover a square of 100 grows to 100 x 1,000,000.
        _check(rendition, whole_width, whole_height, side=UNBOUNDED)
    whole = _forced(whole_width, whole_height, source_width, source_height, options)
    if rendition.focus in ("attention", "entropy"):
        return replace(whole, search=(width, height))
    focus = rendition.focus if isinstance(rendition.focus, FocalPoint) else CENTRE
    left = _start(focus.x, whole_width, width)
    top = _start(focus.y, whole_height, height)
    return replace(whole, window=(left, top, width, height))


def _start(focus: float, whole: int, part: int) -> int:
    """Where a part begins that has the focus in its middle, as far as the edges allow."""
    return min(max(0, round(focus * whole - part / 2)), whole - part)


def resized(
    thumbnail: Thumbnail, resize: Resize, rendition: Rendition, hold: Callable[[Any], Any]
) -> Any:
    """The image to compute; libvips computes it in strips while it is saved.

    `hold` computes an image and gives it back in memory, where a part is looked for.

    Raises `JobError` with `rendition-too-large`.
    """
    image = thumbnail(resize.width, height=resize.height, **resize.options)
    if resize.stretch:
        image = _stretched(image, *resize.stretch)
    if resize.search:
        image = hold(image).smartcrop(*resize.search, interesting=rendition.focus)
    elif resize.window:
        image = image.crop(*resize.window)
    width, height = resize.canvas or (image.width, image.height)
    _check(rendition, width, height, side=MAX_SIDE)
    return image


def _stretched(image: Any, width: int, height: int) -> Any:
    """The image enlarged to this size around its middle."""
    import pyvips

    # Transparent pixels have colours that must not show beside them.
    transparent, format_ = image.hasalpha(), image.format
    if transparent:
        image = image.premultiply()
    across, down = width / image.width, height / image.height
    image = image.affine(
        (across, 0, 0, down),
        interpolate=pyvips.Interpolate.new("bicubic"),
        oarea=(0, 0, width, height),
        odx=(across - 1) / 2,
        ody=(down - 1) / 2,
        extend="copy",
    )
    return image.unpremultiply().cast(format_) if transparent else image


def as_found(resize: Resize, image: Any) -> Resize:
    """The same steps, but with the part that was found in the resized `image`."""
    if not resize.search:
        return resize
    return replace(
        resize, search=None, window=(-image.xoffset, -image.yoffset, image.width, image.height)
    )


def padded(image: Any, canvas: tuple[int, int], rendition: Rendition) -> Any:
    """The image in the middle of its background."""
    *colour, alpha = rgba(rendition.background)
    if alpha < 255 and rendition.format != "jpeg" and not image.hasalpha():
        image = image.bandjoin(255)
    background = [*colour, alpha] if image.hasalpha() else colour
    return image.gravity("centre", *canvas, extend="background", background=background)


def rgba(colour: str) -> list[int]:
    """Red, green, blue and opacity of `#rrggbb` or `#rrggbbaa`."""
    return [*bytes.fromhex(colour.removeprefix("#")), 255][:4]


def _check(rendition: Rendition, width: int, height: int, *, side: int) -> None:
    if max(width, height) > side or width * height > MAX_PIXELS:
        raise JobError(
            "rendition-too-large",
            f"Rendition {rendition.name} would have {width} x {height} pixels: at most "
            f"{MAX_SIDE:,} a side and {MAX_PIXELS:,} altogether are made. Ask for a smaller width "
            "and height.",
        )
