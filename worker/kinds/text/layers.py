"""Decides whether the text layer of a page says what the page shows.

Some files have text without meaning, or little text: a scan with a stamp, a font without a table of
characters, or with a wrong one. A wrong table can only be seen: a line of each font is read from
the drawn page.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from worker.kinds.text import scripts
from worker.kinds.text.lines import Page, Quad, Turn, ordered
from worker.kinds.text.pdf import Layer, LayerLine, PdfPage
from worker.kinds.text.recognise import Recogniser, cropped

if TYPE_CHECKING:
    from worker.kinds.text.recognise import Corners, Pixels

# A page with pictures over a third of it may be a scan, and its layer a stamp or a footer: the
# layer must then cover this share of the lines that the page shows.
SCAN = 0.33
COMPLETE = 0.7
STEP = 4  # pixels along a line
# A layer is useless if a larger share of its characters has no meaning.
GARBAGE = 0.1
# Shorter lines do not show whether their font is right.
MIN_LETTERS = 4
MAX_LETTERS = 60
# The picture contradicts the layer if it is read with this confidence and is less alike.
SURE = 0.85
ALIKE = 0.4
MARGIN = 0.1  # of a line's height, around it


class Layers:
    """Judges the layers of one document.

    A font that was right is checked less and less often, but never for the last time: fonts are
    known by their names, and a merged document may hold different fonts of one name.
    """

    def __init__(self, recogniser: Callable[[], Recogniser], watch: Callable[[], None]) -> None:
        self._recogniser = recogniser
        self._watch = watch
        self._trusted: set[str] = set()
        self._seen = Counter[str]()

    def usable(self, page: PdfPage, layer: Layer, pixels: "Callable[[], Pixels]") -> bool:
        if is_empty(layer) or _is_vertical(layer):
            return False
        if page.pictures() >= SCAN and not self._complete(layer, page, pixels()):
            return False
        wrong = layer.garbage
        fonts = Counter[str]()
        for line in layer.lines:
            fonts[line.font] += len(line.line.text)
        for font, characters in fonts.items():
            if self._is_trusted(font):
                continue
            sample = [line for line in layer.lines if line.font == font and _telling(line)]
            if not sample:
                continue
            self._trusted.discard(font)
            if self._agrees(
                max(sample, key=lambda line: _letters(line, MAX_LETTERS)), page, pixels()
            ):
                self._trusted.add(font)
            else:
                wrong += characters
        return wrong <= GARBAGE * layer.characters

    def _is_trusted(self, font: str) -> bool:
        """Return whether a font was right before, except on its 1st, 2nd, 4th, 8th ... page."""
        self._seen[font] += 1
        pages = self._seen[font]
        return font in self._trusted and font != "" and pages & (pages - 1) != 0

    def _complete(self, layer: Layer, page: PdfPage, pixels: "Pixels") -> bool:
        """Return whether each line that the page shows has text in the layer."""
        import cv2
        import numpy

        scale = pixels.shape[1] / page.width, pixels.shape[0] / page.height
        said = numpy.zeros(pixels.shape[:2], numpy.uint8)
        for line in layer.lines:
            corners = numpy.array(line.line.box) * scale
            cv2.fillPoly(said, [corners.round().astype(numpy.int32)], 1)
        spots: list[Corners] = [numpy.empty((0, 2), numpy.float32)]
        for corners in self._recogniser().detect(pixels, self._watch):
            first, last = _middle_line(corners)
            count = int(numpy.linalg.norm(last - first)) // STEP + 1
            spots.append(numpy.linspace(first, last, count, dtype=numpy.float32))
        across, down = numpy.concatenate(spots).round().astype(int).T
        height, width = said.shape
        found = said[down.clip(0, height - 1), across.clip(0, width - 1)]
        return len(found) == 0 or float(found.mean()) >= COMPLETE

    def _agrees(self, line: LayerLine, page: PdfPage, pixels: "Pixels") -> bool:
        import numpy

        scale = pixels.shape[1] / page.width, pixels.shape[0] / page.height
        corners = numpy.array(line.line.box, numpy.float32)
        # Away from the middle line: ascenders and accents reach over a font's own box.
        down = (corners[3] - corners[0]) * MARGIN
        corners += numpy.array([-down, -down, down, down])
        crop = cropped(pixels, corners * numpy.array(scale, numpy.float32))
        read = self._recogniser().read([crop])[0]
        if read.confidence < SURE or read.unread > GARBAGE:
            return True
        seen, said = _plain(read.text), _plain(line.line.text)
        if len(seen) < MIN_LETTERS:
            return True
        return SequenceMatcher(None, seen, said, autojunk=False).ratio() >= ALIKE


def _middle_line(corners: "Corners") -> "tuple[Corners, Corners]":
    """Both ends of the line through the middle of a quadrangle, along its longer sides."""
    top, right, bottom, left = ((corners[i] + corners[(i + 1) % 4]) / 2 for i in range(4))
    return max((left, right), (top, bottom), key=lambda ends: abs(ends[1] - ends[0]).sum())


def is_empty(layer: Layer) -> bool:
    """Return whether a layer has no text, or only text without meaning."""
    return layer.characters == 0 or layer.garbage > GARBAGE * layer.characters


def _is_vertical(layer: Layer) -> bool:
    """Return whether most of the text is Chinese or Japanese, one character below the other.

    The layer has no lines then, but the picture does.
    """
    single = [line.line.text for line in layer.lines if len(line.line.text) == 1]
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in single)
    return wide > layer.characters / 2


def read_layer(page: PdfPage, layer: Layer, watch: Callable[[], None]) -> Page:
    """The page's text in reading order, which need not be the order of the file."""
    turns: Counter[Turn] = Counter()
    for line in layer.lines:
        turns[line.turn] += len(line.line.text)
    turn: Turn = turns.most_common(1)[0][0] if turns else 0
    quads: list[Quad] = [line.line.box for line in layer.lines]
    order, skew = ordered(quads, turn, page.width, page.height, watch)
    lines = [layer.lines[index].line for index in order]
    size = page.width, page.height
    return Page(page.number, *size, "text_layer", lines, turn, vertical=False, skew=skew)


def _plain(text: str) -> str:
    """Letters and digits alone: marks, ligatures and the width of characters don't matter."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in decomposed if character.isalnum())


def _letters(line: LayerLine, most: int) -> int:
    """The number of letters and digits, of a line that is not too long to be read quickly."""
    count = len(_plain(line.line.text))
    return count if count <= most else -count


def _telling(line: LayerLine) -> bool:
    visible = "".join(line.line.text.split())
    return len(visible) >= MIN_LETTERS and scripts.readable(visible)
