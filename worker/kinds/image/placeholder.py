"""Placeholders until a rendition is loaded: its BlurHash and its dominant colour."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.kinds.image.resize import rgba

if TYPE_CHECKING:
    import numpy

    Pixels = numpy.ndarray[Any, numpy.dtype[numpy.uint8]]

# https://github.com/woltapp/blurhash/blob/master/Algorithm.md
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"
# Enough for the few waves of a hash: more pixels hardly change it.
SIDE = 64
# Colours are counted in cubes of 16 values a channel.
CUBE = 16


def placeholder(library: Any, path: Path, background: str) -> tuple[str, str]:
    """BlurHash and dominant colour of a rendition's file (of its first frame)."""
    image = library.Image.thumbnail(str(path), SIDE, height=SIDE, output_profile="srgb")
    if image.hasalpha():
        image = image.flatten(background=rgba(background)[:3])
    pixels: Pixels = image.numpy()
    # The longer side has the more waves, as the format's authors advise.
    across, down = (4, 3) if image.width >= image.height else (3, 4)
    return blurhash(pixels, across, down), dominant_colour(pixels)


def blurhash(pixels: "Pixels", across: int, down: int) -> str:
    """The BlurHash of sRGB pixels (height x width x 3) with this many waves each way."""
    import numpy

    height, width = pixels.shape[:2]
    level = pixels / 255.0
    linear = numpy.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    waves_across = numpy.cos(
        numpy.outer(numpy.arange(across), numpy.arange(width) * math.pi / width)
    )
    waves_down = numpy.cos(numpy.outer(numpy.arange(down), numpy.arange(height) * math.pi / height))
    factors = numpy.einsum("jy,yxc,ix->jic", waves_down, linear, waves_across) / (width * height)
    factors = factors.reshape(-1, 3)
    factors[1:] *= 2
    mean, rest = factors[0], factors[1:]
    peak = float(numpy.abs(rest).max(initial=0.0))
    quantised = max(0, min(82, math.floor(peak * 166 - 0.5))) if len(rest) else 0
    largest = (quantised + 1) / 166 if len(rest) else 1.0
    red, green, blue = (_srgb(float(value)) for value in mean)
    digits = _base83(across - 1 + (down - 1) * 9, 1) + _base83(quantised, 1)
    digits += _base83((red << 16) + (green << 8) + blue, 4)
    for factor in rest:
        red, green, blue = (_wave(float(value) / largest) for value in factor)
        digits += _base83((red * 19 + green) * 19 + blue, 2)
    return digits


def _srgb(linear: float) -> int:
    value = min(1.0, max(0.0, linear))
    level = value * 12.92 if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055
    return int(level * 255 + 0.5)


def _wave(value: float) -> int:
    return max(0, min(18, math.floor(math.copysign(abs(value) ** 0.5, value) * 9 + 9.5)))


def _base83(value: int, length: int) -> str:
    return "".join(DIGITS[value // 83**place % 83] for place in reversed(range(length)))


def dominant_colour(pixels: "Pixels") -> str:
    """The mean of the pixels whose colours are the most frequent, as `#rrggbb`."""
    import numpy

    flat = pixels.reshape(-1, 3)
    cubes = flat // CUBE @ numpy.array([CUBE * CUBE, CUBE, 1])
    most = numpy.bincount(cubes).argmax()
    red, green, blue = flat[cubes == most].mean(axis=0).round().astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"
