"""OCR of one page: find the lines, decide which way up the page is, read them in order.

Light text on a dark ground needs no treatment: white on blue, green on black and grey on grey
were read at 0.99 and above, in one picture with black on white.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from worker.kinds.text import scripts
from worker.kinds.text.lines import Line, Page, Quad, Turn, ordered
from worker.kinds.text.recognise import BATCH, Read, Recogniser, cropped, turned

if TYPE_CHECKING:
    from worker.kinds.text.recognise import Corners, Pixels

# Upright lines read at 0.93 and up, upside down at 0.59 to 0.78: the recogniser itself knows.
SURE = 0.9
# A page is taken as turned from here on only: Hebrew and Armenian upside down are read as
# look-alikes at 0.59 to 0.81.
BELIEVED = 0.85
# Lines that decide which way up a page is: the longest, since they hold the most letters.
SAMPLE = 6
UPSIDE_DOWN: dict[Turn, Turn] = {0: 180, 90: 270, 180: 0, 270: 90}
# A box so much higher than wide holds a line that runs up or down.
TALL = 1.5
# A tall box of at most so many heights of a common line may be a single upright letter, such as I.
LETTER = 1.5
# Columns of upright characters cut into squares and set side by side were read at 0.80 and up if
# the column is vertical Chinese or Japanese, at 0.77 and below if the page has been turned.
VERTICAL = 0.79

Progress = Callable[[float, str], None]


def read_page(
    recogniser: Recogniser,
    pixels: "Pixels",
    number: int,
    size: tuple[float, float],
    minimum: float,
    progress: Progress,
) -> Page:
    """Read the page in `pixels`; `size` is its width and height in the unit of the result."""
    message = "looking for lines of text"
    corners = recogniser.detect(pixels, lambda: progress(0.0, message))
    page = _Pixels(recogniser, pixels, corners)
    if len(corners) == 0:
        return Page(number, *size, "ocr")
    progress(0.3, f"reading lines 1 to {min(SAMPLE, len(corners))} of {len(corners)}")
    turn, believed = page.turn()
    vertical = turn == 270 and page.is_vertical()
    page.read_all(turn, lambda done, what: progress(0.35 + 0.65 * done, what))

    height, width = pixels.shape[:2]
    scale = size[0] / width, size[1] / height
    reads = [page.known[index] for index in range(len(corners))]
    quads = [
        _quad(corner, direction, scale)
        for corner, (direction, _) in zip(corners, reads, strict=True)
    ]
    # A box without ink or letters is not a line but a stain or a frame.
    kept = [i for i, (_, read) in enumerate(reads) if read.text or read.unread > 0]
    marked, unknown = scripts.unreadable(
        [scripts.Sized(reads[i][1], math.dist(*quads[i][:2]), page.heights[i]) for i in kept]
    )
    if not believed:
        marked, unknown = [True] * len(kept), scripts.is_legible(_median(page.heights))
    bad = {i for i, is_bad in zip(kept, marked, strict=True) if is_bad}
    order, skew = ordered(
        [quads[i] for i in kept], turn, *size, lambda: progress(1.0, "ordering the lines")
    )
    lines, unreadable = [], []
    for place in order:
        index = kept[place]
        read = reads[index][1]
        confidence = read.confidence * (1 - read.unread)
        if index in bad:
            unreadable.append(quads[index])
        elif read.text and confidence >= minimum:
            lines.append(Line(read.text, quads[index], confidence, read.places))
    return Page(number, *size, "ocr", lines, turn, vertical, skew, unreadable, unknown)


def _quad(corners: "Corners", turn: Turn, scale: tuple[float, float]) -> Quad:
    spots = [(float(x) * scale[0], float(y) * scale[1]) for x, y in turned(corners, turn)]
    return spots[0], spots[1], spots[2], spots[3]


class _Pixels:
    """The lines that were found on a page, and what has been read of them so far."""

    def __init__(self, recogniser: Recogniser, pixels: "Pixels", corners: "Corners") -> None:
        import numpy

        self.recogniser = recogniser
        self.pixels = pixels
        self.corners = corners
        self.known: dict[int, tuple[Turn, Read]] = {}
        sides = numpy.linalg.norm(corners - numpy.roll(corners, -1, axis=1), axis=2)
        self.across = sides[:, (0, 2)].max(axis=1) if len(corners) else sides
        self.down = sides[:, (1, 3)].max(axis=1) if len(corners) else sides
        self.tall = self.down >= TALL * self.across
        self.lengths = numpy.maximum(self.across, self.down)
        self.heights = numpy.minimum(self.across, self.down)

    def _read(self, indices: list[int], turn: Turn) -> dict[int, Read]:
        crops = [cropped(self.pixels, turned(self.corners[index], turn)) for index in indices]
        return dict(zip(indices, self.recogniser.read(crops), strict=True)) if crops else {}

    def turn(self) -> tuple[Turn, bool]:
        """Degrees clockwise that make the page upright, by the longest lines of most of it.

        Also whether any direction gave text.
        """
        lengths = self.lengths
        sideways = bool(lengths[self.tall].sum() > lengths[~self.tall].sum())
        longest = sorted(range(len(lengths)), key=lambda i: -lengths[i])
        sample = [i for i in longest if self.tall[i] == sideways][:SAMPLE]
        ways: tuple[Turn, Turn] = (90, 270) if sideways else (0, 180)
        tried: dict[Turn, tuple[float, dict[int, Read]]] = {}
        for way in ways:
            reads = self._read(sample, way)
            score = sum(read.confidence * (1 - read.unread) for read in reads.values())
            tried[way] = score / len(sample), reads
            if tried[way][0] >= SURE:
                break
        best = max(tried, key=lambda way: tried[way][0])
        believed = tried[best][0] >= BELIEVED
        if not believed and not sideways:
            best, believed = 0, True
        self.known = {index: (best, read) for index, read in tried[best][1].items()}
        return best, believed

    def is_vertical(self) -> bool:
        """Whether characters stand upright in lines that run down: vertical Chinese, Japanese.

        On a page that has been turned clockwise the lines run down as well, with their characters
        lying on the side.
        """
        import numpy

        sample = [i for i, (_, read) in self.known.items() if _is_ideographic(read.text)]
        if len(sample) * 2 < len(self.known):
            return False
        squares = []
        for index in sample:
            column = cropped(self.pixels, self.corners[index])
            side = min(column.shape[1], column.shape[0])
            tiles = [column[top : top + side] for top in range(0, len(column) - side + 1, side)]
            squares.append(numpy.hstack(tiles))
        reads = self.recogniser.read(squares)
        score = sum(read.confidence * (1 - read.unread) for read in reads) / len(reads)
        return score >= VERTICAL - 0.1

    def read_all(self, turn: Turn, progress: Progress) -> None:
        """Read every line; one that runs across the page's lines in the way that reads best."""
        sideways = turn in (90, 270)
        odd = [i for i in range(len(self.corners)) if self._runs_across(i, sideways)]
        others = set(range(len(self.corners))).difference(odd, self.known)
        # The longest first: memory that was freed is large enough for the others.
        plain = sorted(others, key=lambda i: -self.lengths[i] / max(1, self.heights[i]))
        for start in range(0, len(plain), BATCH):
            batch = plain[start : start + BATCH]
            first, last = len(self.known) + 1, len(self.known) + len(batch)
            progress(start / len(plain), f"reading lines {first} to {last} of {len(self.corners)}")
            for index, read in self._read(batch, turn).items():
                self.known[index] = turn, read
        progress(1, f"{len(self.known)} lines read")
        self._read_odd(odd, turn, lambda: progress(1, "reading lines that run across the others"))
        self._turn_doubtful(turn, lambda: progress(1, "turning doubtful lines"))

    def _read_odd(self, odd: list[int], turn: Turn, watch: Callable[[], None]) -> None:
        sideways = turn in (90, 270)
        common = float(_median(self.across if sideways else self.down))
        lengths = self.across if sideways else self.down
        ways: list[Turn] = [0, 180] if sideways else [90, 270]
        members = sorted(odd, key=lambda i: lengths[i])
        letters = [i for i in members if lengths[i] <= LETTER * common]
        tried: dict[int, list[tuple[Turn, Read]]] = {index: [] for index in members}
        for way, some in ((turn, letters), (ways[0], members), (ways[1], members)):
            for start in range(0, len(some), BATCH):
                watch()
                for index, read in self._read(some[start : start + BATCH], way).items():
                    tried[index].append((way, read))
        for index, reads in tried.items():
            self.known[index] = max(
                reads, key=lambda pair: pair[1].confidence * (1 - pair[1].unread)
            )

    def _runs_across(self, index: int, sideways: bool) -> bool:
        if sideways:
            return bool(self.across[index] >= TALL * self.down[index])
        return bool(self.tall[index])

    def _turn_doubtful(self, turn: Turn, watch: Callable[[], None]) -> None:
        """Turn a single line that is upside down on its page, only if that makes it certain."""
        other = UPSIDE_DOWN[turn]
        doubtful = [
            index
            for index, (way, read) in self.known.items()
            if way == turn and read.confidence * (1 - read.unread) < SURE
        ]
        for start in range(0, len(doubtful), BATCH):
            watch()
            for index, read in self._read(doubtful[start : start + BATCH], other).items():
                if read.confidence >= SURE and read.unread == 0 and len(read.text) > 2:
                    self.known[index] = other, read


def _is_ideographic(text: str) -> bool:
    scripts_of = [scripts.script(character) for character in text]
    eastern = sum(name in ("CJK", "HIRAGANA", "KATAKANA") for name in scripts_of)
    return eastern * 2 > len(text)


def _median(values: Any) -> float:
    import numpy

    return float(numpy.median(values))
