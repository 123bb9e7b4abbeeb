"""Lines of text with the place of each character, from OCR or from a text layer."""

import math
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from worker.kinds.text.order import Box, reading_order

Spot = tuple[float, float]
Quad = tuple[Spot, Spot, Spot, Spot]
Turn = Literal[0, 90, 180, 270]
TURNS: dict[int, Turn] = {0: 0, 90: 90, 180: 180, 270: 270}

# In line heights: shorter lines say little about the slope of a page.
LONG = 5.0
MIN_SKEW, MAX_SKEW = 0.2, 15.0  # degrees; a steeper line is a label in a drawing


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    box: Quad
    confidence: float


@dataclass(frozen=True, slots=True)
class Line:
    """`box` begins at the line's own top left; `places` are its characters' middles, 0 to 1."""

    text: str
    box: Quad
    confidence: float
    places: tuple[float, ...]

    def words(self) -> Iterator[Word]:
        """The words between spaces, each ending half-way to the next character."""
        start = 0
        for end in range(len(self.text) + 1):
            if end < len(self.text) and not self.text[end].isspace():
                continue
            if end > start:
                yield Word(self.text[start:end], self._part(start, end), self.confidence)
            start = end + 1

    def _part(self, start: int, end: int) -> Quad:
        places = self.places
        if right_to_left(self.text):
            half = 0.5 / len(places)
            left = max(0.0, min(places[start:end]) - half)
            right = min(1.0, max(places[start:end]) + half)
            return self._between(left, right)
        left = 0.0 if start == 0 else (places[start - 1] + places[start]) / 2
        right = 1.0 if end == len(self.text) else (places[end - 1] + places[end]) / 2
        return self._between(left, right)

    def _between(self, left: float, right: float) -> Quad:
        top_left, top_right, bottom_right, bottom_left = self.box
        return (
            _between(top_left, top_right, left),
            _between(top_left, top_right, right),
            _between(bottom_left, bottom_right, right),
            _between(bottom_left, bottom_right, left),
        )


@dataclass(frozen=True, slots=True)
class Page:
    """One page as read; sizes and boxes in the unit of the source."""

    number: int
    width: float
    height: float
    source: Literal["ocr", "text_layer"]
    lines: list[Line] = field(default_factory=list)
    rotation: Turn = 0
    vertical: bool = False
    skew: float = 0.0
    unreadable: list[Quad] = field(default_factory=list)
    unknown_script: bool = False


def area_of(quad: Quad) -> tuple[float, float, float, float]:
    """The left, top, right and bottom of the upright rectangle around a quadrangle."""
    across, down = zip(*quad, strict=True)
    return min(across), min(down), max(across), max(down)


def right_to_left(text: str) -> bool:
    """Return whether there are letters of a script that runs to the left, such as Hebrew."""
    return any(unicodedata.bidirectional(character) in ("R", "AL") for character in text)


def _between(first: Spot, second: Spot, share: float) -> Spot:
    return (
        first[0] + (second[0] - first[0]) * share,
        first[1] + (second[1] - first[1]) * share,
    )


def turn_of(degrees: int) -> Turn:
    """A multiple of 90 degrees, positive or negative, as a turn."""
    return TURNS[degrees % 360]


def upright(spot: Spot, turn: Turn, width: float, height: float) -> Spot:
    """A point of a page of `width` x `height` after the page has been turned clockwise."""
    x, y = spot
    match turn:
        case 90:
            return height - y, x
        case 180:
            return width - x, height - y
        case 270:
            return y, width - x
        case _:
            return x, y


def skew_of(quads: Iterable[Quad]) -> float:
    """The slope of the lines of an upright page in degrees, clockwise."""
    slopes = []
    for top_left, top_right, _, bottom_left in quads:
        length = math.dist(top_left, top_right)
        if length >= LONG * math.dist(top_left, bottom_left):
            slope = math.degrees(math.atan2(top_right[1] - top_left[1], top_right[0] - top_left[0]))
            if abs(slope) <= MAX_SKEW:
                slopes.append((slope, length))
    if not slopes:
        return 0.0
    # Weighted by length: the corners of a long line are off by no more than those of a short one.
    longest = sorted(slopes, key=lambda pair: -pair[1])[:25]
    angle = median(slope for slope, _ in longest)
    return round(angle, 2) if abs(angle) >= MIN_SKEW else 0.0


def ordered(
    quads: Sequence[Quad],
    turn: Turn,
    width: float,
    height: float,
    check: Callable[[], object] = lambda: None,
) -> tuple[list[int], float]:
    """Return the reading order of lines of a page that has to be turned, and the page's skew.

    `check` is called while the order is sought: an exception that it raises ends the work.
    """
    turned: list[Quad] = []
    for quad in quads:
        first, second, third, fourth = (upright(spot, turn, width, height) for spot in quad)
        turned.append((first, second, third, fourth))
    skew = skew_of(turned)
    cosine, sine = math.cos(math.radians(-skew)), math.sin(math.radians(-skew))
    boxes = []
    for quad in turned:
        straight = [(x * cosine - y * sine, x * sine + y * cosine) for x, y in quad]
        across, down = zip(*straight, strict=True)
        boxes.append(Box(min(across), min(down), max(across), max(down)))
    return reading_order(boxes, check), skew
