"""The steps after the resize: blur, sharpening and rotation, then a background for the format."""

import math
from typing import Any

from worker.kinds.image.options import OPAQUE, Rendition
from worker.kinds.image.resize import rgba

# Beyond twice this sigma a picture is reduced before it is blurred.
FINE = 8.0
MIN_CELLS = 8
# From this reduction on all cells are held in memory: 110 MB for the largest picture.
HELD = 4


def finished(image: Any, rendition: Rendition) -> Any:
    """The resized picture with its effects, turned."""
    if rendition.blur is not None:
        image = _blurred(image, rendition.blur)
    if rendition.sharpen is not None:
        image = _sharpened(image, rendition.sharpen)
    if rendition.rotate:
        # Only the resized picture is held whole, to be read in another order.
        image = image.copy_memory().rot(f"d{rendition.rotate}")
    return image


def _blurred(image: Any, sigma: float) -> Any:
    if not image.hasalpha():
        return _smoothed(image, sigma).cast("uchar")
    # Premultiplied: the colour of transparent parts must not bleed into the rest.
    return _smoothed(image.premultiply(), sigma).unpremultiply().cast("uchar")


def _smoothed(image: Any, sigma: float) -> Any:
    factor = int(sigma / FINE)
    if factor < 2 or min(image.width, image.height) < MIN_CELLS * factor:
        # libvips' defaults cut the curve off early: with sigma 8 the largest error is 16 of 255,
        # here 2. A small mask of whole numbers has the same error, and one of floats is cheap.
        precision = "float" if sigma < 1 else "integer"
        return image.gaussblur(sigma, min_ampl=0.01, precision=precision)
    # The time grows with sigma: 4 s a megapixel with 100. A wide blur leaves no details to lose.
    width, height = image.width, image.height
    margin = math.ceil(3 * sigma / factor) * factor
    whole = [math.ceil(side / factor) * factor + 2 * margin for side in (width, height)]
    wider = image.embed(margin, margin, *whole, extend="copy")
    cells = wider.cast("float").shrink(factor, factor)
    blurred = cells.gaussblur(sigma / factor, min_ampl=0.01, precision="float")
    if factor >= HELD:  # else libvips computes the same cells again and again
        blurred = blurred.copy_memory()
    return blurred.resize(factor, kernel="linear").crop(margin, margin, width, height)


def _sharpened(image: Any, sigma: float) -> Any:
    if not image.hasalpha():
        return image.sharpen(sigma=sigma).cast("uchar")
    colour = image.extract_band(0, n=image.bands - 1).sharpen(sigma=sigma).cast("uchar")
    return colour.bandjoin(image.extract_band(image.bands - 1))


def flattened(image: Any, rendition: Rendition) -> Any:
    """The picture on its background, if the format has no transparency."""
    if rendition.format in OPAQUE and image.hasalpha():
        return image.flatten(background=rgba(rendition.background)[:3])
    return image
