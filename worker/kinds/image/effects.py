"""The steps after the resize: blur, sharpening and rotation, then a background for the format."""

from typing import Any

from worker.kinds.image.options import OPAQUE, Rendition
from worker.kinds.image.resize import rgba


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
    # libvips' defaults cut the curve off early: 16 of 255 wrong at worst with sigma 8, against 2.
    # A small mask of whole numbers is as wrong, and one of floats is cheap.
    options = {"min_ampl": 0.01, "precision": "float" if sigma < 1 else "integer"}
    if not image.hasalpha():
        return image.gaussblur(sigma, **options).cast("uchar")
    # Premultiplied: the colour of transparent parts must not bleed into the rest.
    return image.premultiply().gaussblur(sigma, **options).unpremultiply().cast("uchar")


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
