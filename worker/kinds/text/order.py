"""Reading order of the lines of a page: columns, headings that span them, tables, footnotes.

A recursive XY-cut over the boxes of lines. A gutter is a vertical strip with lines that face each
other on both sides; lines that cross it (headings, a footnote over the whole width) cut the page
into bands, and each band is read column by column. A grid of short cells is read row by row.
Coordinates are those of the upright page: x grows along a line, y from line to line.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy

    Numbers = numpy.ndarray[Any, numpy.dtype[numpy.float64]]
    Flags = numpy.ndarray[Any, numpy.dtype[numpy.bool]]
    Indices = numpy.ndarray[Any, numpy.dtype[numpy.intp]]
    Words = numpy.ndarray[Any, numpy.dtype[numpy.uint64]]

# In line heights, with the margin that the detector adds around a line.
MIN_GUTTER = 0.25
OVERHANG = 0.5  # of a line over the gutter's edge, which makes it no spanning line yet
SECTION_GAP = 1.0  # white space over the whole width that separates a table from what follows
# A cell of a table is shorter than this many line heights in at least one of two columns: some
# 12 letters. Lines of running text are longer in both.
CELL = 6.0
ALIGNED = 0.8  # share of the lines with a partner beside them, from which two columns are a grid
# Lines of two columns need not stand at the same height; lines above one another overlap by 0.2.
FACING = 0.3
MAX_DEPTH = 40
MAX_CANDIDATES = 200
MAX_BOXES = 5000
# Boxes that are compared with a gutter's place, over all levels; the rest is read row by row. Four
# columns of 450 lines take 1.2 million.
MAX_COMPARED = 5_000_000
BLOCK = 256  # boxes compared with all others at a time


@dataclass(frozen=True, slots=True)
class Box:
    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return max(self.bottom - self.top, 1e-6)

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2

    @property
    def centre(self) -> float:
        return (self.left + self.right) / 2


@dataclass(frozen=True)
class _Gutter:
    left: list[int]
    right: list[int]
    across: list[int]
    score: float

    @cached_property
    def on_left(self) -> frozenset[int]:
        return frozenset(self.left)

    @cached_property
    def on_right(self) -> frozenset[int]:
        return frozenset(self.right)


def reading_order(boxes: Sequence[Box], check: Callable[[], object] = lambda: None) -> list[int]:
    """Return the indices of the boxes in the order in which a person reads them.

    More than `MAX_BOXES` boxes are the labels of a map or a drawing, and are read row by row.
    `check` is called every few milliseconds: an exception that it raises ends the work.
    """
    if len(boxes) > MAX_BOXES:
        return [index for row in rows(boxes, range(len(boxes))) for index in row]
    return list(_Page(boxes, check).read(list(range(len(boxes))), 0))


def rows(boxes: Sequence[Box], members: Sequence[int]) -> list[list[int]]:
    """Members that stand side by side, each row from left to right, rows from top to bottom."""
    found: list[list[int]] = []
    for index in sorted(members, key=lambda i: boxes[i].middle):
        box = boxes[index]
        # The row's first is its reference: neighbours of neighbours would chain a skewed page.
        if found and _beside(boxes[found[-1][0]], box):
            found[-1].append(index)
        else:
            found.append([index])
    for row in found:
        row.sort(key=lambda i: boxes[i].left)
    return found


def _beside(first: Box, second: Box) -> bool:
    overlap = min(first.bottom, second.bottom) - max(first.top, second.top)
    return overlap > 0.5 * min(first.height, second.height)


def _packed(flags: "Flags") -> "Words":
    import numpy

    words: Words = numpy.packbits(flags, axis=-1, bitorder="little").view(numpy.uint64)
    return words


class _Page:
    def __init__(self, boxes: Sequence[Box], check: Callable[[], object]) -> None:
        import numpy

        self.boxes = boxes
        self.check = check
        edges = numpy.array([(box.left, box.top, box.right, box.bottom) for box in boxes])
        self.left, self.top, self.right, self.bottom = edges.reshape(-1, 4).T
        self.compared = 0
        self.centre = (self.left + self.right) / 2
        self.facing = self._facing()

    def _facing(self) -> "Words":
        """The boxes beside each box, as a row of bits: columns are tried by the hundred."""
        import numpy

        count = len(self.boxes)
        height = numpy.maximum(self.bottom - self.top, 1e-6)
        rows = []
        for start in range(0, count, BLOCK):
            self.check()
            block = slice(start, start + BLOCK)
            overlap = numpy.minimum(self.bottom[block, None], self.bottom)
            overlap -= numpy.maximum(self.top[block, None], self.top)
            beside = self._flags(len(overlap))
            beside[:, :count] = overlap > FACING * numpy.minimum(height[block, None], height)
            mine = numpy.arange(len(overlap))
            beside[mine, mine + start] = False
            rows.append(_packed(beside))
        return numpy.concatenate(rows) if rows else self._flags(0).view(numpy.uint64)

    def _flags(self, *shape: int) -> "Flags":
        """A flag for each box along the last axis, which fills whole words of bits."""
        import numpy

        return numpy.zeros((*shape, -(-len(self.boxes) // 64) * 64), bool)

    def _count_facing(self, members: "Indices", others: "Indices") -> int:
        """Count the members that have one of the others beside them."""
        if len(members) == 0:
            return 0
        flags = self._flags()
        flags[others] = True
        mask = _packed(flags)
        used = mask.nonzero()[0]
        facing = (
            self.facing[members] if len(used) == len(mask) else self.facing[members[:, None], used]
        )
        return int((facing & mask[used]).any(axis=1).sum())

    def read(self, members: list[int], depth: int) -> Iterator[int]:
        bounded = depth < MAX_DEPTH and self.compared < MAX_COMPARED
        gutter = self._gutter(members) if len(members) > 3 and bounded else None
        if gutter is None:
            for row in rows(self.boxes, members):
                yield from row
            return
        for band in self._bands(gutter):
            sides = self._sides(gutter, band)
            if sides is None:
                # No member crosses this gutter here, and it is none: the next call finds another.
                if len(band) < len(members):
                    yield from self.read(band, depth + 1)
                else:
                    yield from (index for row in rows(self.boxes, band) for index in row)
            else:
                yield from self._columns(gutter, band, depth)

    def _gutter(self, members: list[int]) -> _Gutter | None:
        """The vertical strip that parts the most lines which face each other."""
        import numpy

        boxes = self.boxes
        unit = median(boxes[i].height for i in members)
        starts = sorted({round(boxes[i].right / unit * 4) for i in members})
        indices = numpy.array(members)
        step = max(1, len(starts) // MAX_CANDIDATES)
        best: _Gutter | None = None
        for start in starts[::step]:
            self.check()
            self.compared += len(members)
            found = self._parted(indices, start * unit / 4 + MIN_GUTTER * unit / 2, unit)
            if found is not None and (best is None or found.score > best.score):
                best = found
        return best

    def _parted(self, members: "Indices", x: float, unit: float) -> _Gutter | None:
        import numpy

        centre = self.centre[members]
        on_left = (self.right[members] <= x + OVERHANG * unit) & (centre < x)
        on_right = (self.left[members] >= x - OVERHANG * unit) & (centre > x)
        left, right = members[on_left], members[on_right]
        if len(left) < 2 or len(right) < 2:
            return None
        inner_right, inner_left = self.right[left].max(), self.left[right].min()
        if inner_left - inner_right < -2 * OVERHANG * unit:
            return None
        facing = min(self._count_facing(left, right), self._count_facing(right, left))
        if facing < 2:
            return None
        # A line that crosses the gutter beside others shows that the strip is only a wide space.
        across = members[~(on_left | on_right)]
        clashing = self._count_facing(across, numpy.concatenate([left, right]))
        if clashing > 0.2 * facing:
            return None
        gap = min(max(float(inner_left - inner_right), 0.0) / unit, 3.0)
        score = facing - 2 * clashing + 0.3 * gap
        return _Gutter(left.tolist(), right.tolist(), across.tolist(), score)

    def _bands(self, gutter: _Gutter) -> Iterator[list[int]]:
        """The lines above, between and below those that cross the gutter, and these lines."""
        boxes = self.boxes
        columns = sorted(gutter.left + gutter.right, key=lambda i: boxes[i].middle)[::-1]
        across = sorted(gutter.across, key=lambda i: boxes[i].middle)[::-1]
        band: list[int] = []
        spanning: list[int] = []
        while columns or across:
            if across and (not columns or boxes[across[-1]].middle <= boxes[columns[-1]].middle):
                if band:
                    headings = self._headings(band, boxes[across[-1]])
                    yield band[: len(band) - len(headings)]
                    spanning += headings
                    band = []
                spanning.append(across.pop())
            else:
                if spanning:
                    yield spanning
                    spanning = []
                band.append(columns.pop())
        if spanning:
            yield spanning
        if band:
            yield band

    def _headings(self, band: list[int], below: Box) -> list[int]:
        """The last lines of a band that belong to the line below, by the white space around them.

        A heading that is shorter than its column does not cross the gutter itself.
        """
        boxes = self.boxes
        bottoms = list(accumulate((boxes[i].bottom for i in band), max))
        count = 0
        while count < len(band) - 1:
            box = boxes[band[-1 - count]]
            above = bottoms[-2 - count]
            if not max(below.top - box.bottom, 0.0) < 0.5 * (box.top - above):
                break
            below = box
            count += 1
        return band[len(band) - count :]

    def _sides(self, gutter: _Gutter, band: list[int]) -> tuple[list[int], list[int]] | None:
        import numpy

        left = [i for i in band if i in gutter.on_left]
        right = [i for i in band if i in gutter.on_right]
        if not left or not right:
            return None
        if len(right) < 2 or self._count_facing(numpy.array(left), numpy.array(right)) < 2:
            return None
        return left, right

    def _columns(self, gutter: _Gutter, band: list[int], depth: int) -> Iterator[int]:
        """Sections of text are read column by column, across the white space between them too."""
        pending: list[int] = []
        for grid, section in self._sections(gutter, band):
            if not grid:
                pending += section
                continue
            yield from self._side_by_side(gutter, pending, depth)
            pending = []
            yield from (index for row in rows(self.boxes, section) for index in row)
        yield from self._side_by_side(gutter, pending, depth)

    def _side_by_side(self, gutter: _Gutter, members: list[int], depth: int) -> Iterator[int]:
        for side in (
            [i for i in members if i in gutter.on_left],
            [i for i in members if i not in gutter.on_left],
        ):
            if side:
                yield from self.read(side, depth + 1)

    def _sections(self, gutter: _Gutter, band: list[int]) -> list[tuple[bool, list[int]]]:
        """The band cut at white space over its whole width; with True what is read by rows."""
        boxes = self.boxes
        unit = median(boxes[i].height for i in band)
        parts: list[list[int]] = [[]]
        bottom = float("inf")
        for i in sorted(band, key=lambda i: boxes[i].top):
            if boxes[i].top - bottom > SECTION_GAP * unit and parts[-1]:
                parts.append([])
                bottom = boxes[i].bottom
            parts[-1].append(i)
            bottom = boxes[i].bottom if bottom == float("inf") else max(bottom, boxes[i].bottom)
        marked = []
        for number, part in enumerate(parts):
            sides = self._sides(gutter, part)
            if sides is not None:
                grid = self._is_grid(*sides)
            else:
                # One row at the edge of the band, such as a running head with a page number.
                edge = number in (0, len(parts) - 1) and len(parts) > 1
                both = {i in gutter.on_left for i in part} == {True, False}
                grid = edge and both and len(rows(boxes, part)) == 1
            marked.append((grid, part))
        return marked

    def _is_grid(self, left: list[int], right: list[int]) -> bool:
        boxes = self.boxes
        few, many = sorted((left, right), key=len)
        middles = sorted(boxes[j].middle for j in many)
        partners = 0
        for i in few:
            reach = 0.35 * boxes[i].height
            first = bisect_right(middles, boxes[i].middle - reach)
            partners += first < bisect_left(middles, boxes[i].middle + reach)
        shortest = min(
            median(boxes[i].width / boxes[i].height for i in side) for side in (left, right)
        )
        return shortest < CELL and partners >= ALIGNED * len(few)
