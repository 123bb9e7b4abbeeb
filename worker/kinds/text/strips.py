"""Cuts pictures and lines that are too long for the models, and joins the results."""

import unicodedata
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worker.kinds.text.recognise import Pixels

# The detector gets the shorter side with no fewer pixels than MODEL_SIDE. A narrower strip than
# LEAST_SIDE is padded first, so that its letters are enlarged by no more than half.
MODEL_SIDE, LEAST_SIDE = 736, 500
CELL = 32  # sides of the detector's input are multiples of it
# Length of a tile, and of the part that two tiles share. Each gives half of it: at its ends, the
# detector does not see enough of a line.
TILE, SHARED = 1536, 256
# In line heights: the longest piece of a line, and the narrowest gap that stands for a space.
PIECE, SPACE = 40.0, 0.25


def map_of_text(
    pixels: "Pixels", detect: "Callable[[Pixels], Any]"
) -> "tuple[Any, tuple[float, float]]":
    """The detector's scores all over a long picture, and their number for each pixel.

    `detect` gives the scores of one tile. The picture lies at the top left of the map.
    """
    import cv2
    import numpy

    height, width = pixels.shape[:2]
    upright = height > width
    side = max(min(height, width), LEAST_SIDE)
    scale = max(1.0, MODEL_SIDE / side)
    size = round(width * scale), round(height * scale)
    scaled = cv2.resize(pixels, size) if scale > 1 else pixels
    length = max(size)
    across = _cells(round(side * scale))
    scores = numpy.zeros((_cells(length), across), numpy.float32)
    for start in range(0, max(1, length - SHARED), TILE - SHARED):
        end = min(start + TILE, length)
        tile = scaled[start:end] if upright else scaled[:, start:end]
        found = detect(_padded(tile, across, _cells(end - start), upright=upright))
        first = start + SHARED // 2 if start else 0
        scores[first:end] = (found if upright else found.T)[first - start : end - start]
    return scores if upright else scores.T, (size[0] / width, size[1] / height)


def _cells(side: int) -> int:
    return -(-side // CELL) * CELL


def _padded(tile: Any, across: int, along: int, *, upright: bool) -> Any:
    """The tile on a ground of its most usual colour."""
    import numpy

    shape = (along, across) if upright else (across, along)
    ground = numpy.empty((*shape, 3), numpy.uint8)
    ground[:] = numpy.median(tile, axis=(0, 1))
    ground[: tile.shape[0], : tile.shape[1]] = tile
    return ground


def pieces(ink: Any) -> list[tuple[int, int, bool]]:
    """Where to cut a long line, by its ink (height x width): first and last column of each piece.

    With each piece: whether the gap behind it is as wide as a space.
    """

    height, width = ink.shape
    most = int(PIECE * height)
    # Descenders and accents of the neighbouring lines reach into the first and last rows.
    blank = ~ink[height // 5 : height - height // 5].any(axis=0)
    found: list[tuple[int, int, bool]] = []
    start = 0
    while width - start > most:
        gaps = _runs(blank[start + most // 2 : start + most])
        offset = start + most // 2
        first, last = max(gaps, key=lambda gap: gap[1] - gap[0], default=(most - most // 2,) * 2)
        cut = offset + (first + last) // 2
        found.append((start, cut, bool(last - first >= SPACE * height)))
        start = cut
    return [*found, (start, width, False)]


def _runs(blank: Any) -> list[tuple[int, int]]:
    import numpy

    edges = numpy.flatnonzero(numpy.diff(numpy.concatenate([[0], blank.astype(numpy.int8), [0]])))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]


def joined(
    parts: Sequence[tuple[str, float, tuple[float, ...]]], cuts: Sequence[tuple[int, int, bool]]
) -> tuple[str, float, tuple[float, ...]]:
    """The text, confidence and places of a line, from those of its pieces."""
    width = cuts[-1][1]
    text, places, sure = "", [], 0.0
    spaced = False
    for (part, confidence, spots), (first, last, space) in zip(parts, cuts, strict=True):
        if part and text and spaced and not (_is_wide(text[-1]) or _is_wide(part[0])):
            text += " "
            places.append(first / width)
        text += part
        places += [(first + spot * (last - first)) / width for spot in spots]
        sure += confidence * len(part)
        spaced = space or (spaced and not part)
    letters = sum(len(part) for part, _, _ in parts)
    return text, sure / letters if letters else 0.0, tuple(places)


def _is_wide(character: str) -> bool:
    """Whether it is of a script without spaces between words, such as Chinese."""
    return unicodedata.east_asian_width(character) in ("W", "F")
