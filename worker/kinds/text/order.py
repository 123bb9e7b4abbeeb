"""Reading order of the lines of a page: columns, headings that span them, tables, footnotes.

A recursive XY-cut over the boxes of lines. A gutter is a vertical strip with lines that face each
other on both sides; lines that cross it (headings, a footnote over the whole width) cut the page
into bands, and each band is read column by column. A grid of short cells is read row by row.
Coordinates are those of the upright page: x grows along a line, y from line to line.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

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
MAX_BOXES = 2000


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


@dataclass(frozen=True, slots=True)
class _Gutter:
    x: float
    left: list[int]
    right: list[int]
    across: list[int]
    score: float


def reading_order(boxes: Sequence[Box]) -> list[int]:
    """The indices of the boxes in the order in which a reader takes them.

    Very many boxes are the labels of a map or a drawing, and are taken row by row.
    """
    if len(boxes) > MAX_BOXES:
        return [index for row in rows(boxes, range(len(boxes))) for index in row]
    return list(_Page(boxes).read(list(range(len(boxes))), 0))


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


def _overlap(first: Box, second: Box) -> float:
    return min(first.bottom, second.bottom) - max(first.top, second.top)


def _beside(first: Box, second: Box) -> bool:
    return _overlap(first, second) > 0.5 * min(first.height, second.height)


class _Page:
    def __init__(self, boxes: Sequence[Box]) -> None:
        self.boxes = boxes
        self.bits = [1 << index for index in range(len(boxes))]
        self.facing = self._facing()

    def _facing(self) -> list[int]:
        """The boxes beside each box, as the bits of a number: columns are tried by the hundred."""
        boxes = self.boxes
        facing = [0] * len(boxes)
        near: list[int] = []
        for i in sorted(range(len(boxes)), key=lambda i: boxes[i].top):
            box = boxes[i]
            near = [j for j in near if boxes[j].bottom > box.top]
            for j in near:
                if _overlap(box, boxes[j]) > FACING * min(box.height, boxes[j].height):
                    facing[i] |= self.bits[j]
                    facing[j] |= self.bits[i]
            near.append(i)
        return facing

    def _count_facing(self, members: list[int], others: list[int]) -> int:
        """The number of members that have one of the others beside them."""
        mask = self._mask(others)
        return sum(self.facing[i] & mask != 0 for i in members)

    def _mask(self, members: list[int]) -> int:
        mask = 0
        for i in members:
            mask |= self.bits[i]
        return mask

    def read(self, members: list[int], depth: int) -> Iterator[int]:
        gutter = self._gutter(members) if len(members) > 3 and depth < MAX_DEPTH else None
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
        boxes = self.boxes
        unit = median(boxes[i].height for i in members)
        starts = sorted({round(boxes[i].right / unit * 4) for i in members})
        step = max(1, len(starts) // MAX_CANDIDATES)
        best: _Gutter | None = None
        for start in starts[::step]:
            found = self._parted(members, start * unit / 4 + MIN_GUTTER * unit / 2, unit)
            if found is not None and (best is None or found.score > best.score):
                best = found
        return best

    def _parted(self, members: list[int], x: float, unit: float) -> _Gutter | None:
        boxes = self.boxes
        left, right, across = [], [], []
        for i in members:
            box = boxes[i]
            if box.right <= x + OVERHANG * unit and box.centre < x:
                left.append(i)
            elif box.left >= x - OVERHANG * unit and box.centre > x:
                right.append(i)
            else:
                across.append(i)
        if len(left) < 2 or len(right) < 2:
            return None
        facing = min(self._count_facing(left, right), self._count_facing(right, left))
        # A line that crosses the gutter beside others shows that the strip is only a wide space.
        clashing = self._count_facing(across, left + right)
        if facing < 2 or clashing > 0.2 * facing:
            return None
        inner_right = max(boxes[i].right for i in left)
        inner_left = min(boxes[i].left for i in right)
        if inner_left - inner_right < -2 * OVERHANG * unit:
            return None
        gap = min(max(inner_left - inner_right, 0.0) / unit, 3.0)
        return _Gutter(x, left, right, across, facing - 2 * clashing + 0.3 * gap)

    def _bands(self, gutter: _Gutter) -> Iterator[list[int]]:
        """The lines above, between and below those that cross the gutter, and these lines."""
        boxes = self.boxes
        columns = sorted(gutter.left + gutter.right, key=lambda i: boxes[i].middle)
        across = sorted(gutter.across, key=lambda i: boxes[i].middle)
        band: list[int] = []
        spanning: list[int] = []
        while columns or across:
            if across and (not columns or boxes[across[0]].middle <= boxes[columns[0]].middle):
                if band:
                    headings = self._headings(band, boxes[across[0]])
                    yield band[: len(band) - len(headings)]
                    spanning += headings
                    band = []
                spanning.append(across.pop(0))
            else:
                if spanning:
                    yield spanning
                    spanning = []
                band.append(columns.pop(0))
        if spanning:
            yield spanning
        if band:
            yield band

    def _headings(self, band: list[int], below: Box) -> list[int]:
        """The last lines of a band that belong to the line below, by the white space around them.

        A heading that is shorter than its column does not cross the gutter itself.
        """
        boxes = self.boxes
        count = 0
        while count < len(band) - 1:
            box = boxes[band[-1 - count]]
            above = max(boxes[i].bottom for i in band[: len(band) - 1 - count])
            if not max(below.top - box.bottom, 0.0) < 0.5 * (box.top - above):
                break
            below = box
            count += 1
        return band[len(band) - count :]

    def _sides(self, gutter: _Gutter, band: list[int]) -> tuple[list[int], list[int]] | None:
        left_of, right_of = set(gutter.left), set(gutter.right)
        left = [i for i in band if i in left_of]
        right = [i for i in band if i in right_of]
        if not left or not right:
            return None
        if min(self._count_facing(left, right), len(right)) < 2:
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
        left_of = set(gutter.left)
        for side in (
            [i for i in members if i in left_of],
            [i for i in members if i not in left_of],
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
                both = {i in set(gutter.left) for i in part} == {True, False}
                grid = edge and both and len(rows(boxes, part)) == 1
            marked.append((grid, part))
        return marked

    def _is_grid(self, left: list[int], right: list[int]) -> bool:
        boxes = self.boxes
        few, many = sorted((left, right), key=len)
        partners = sum(
            any(abs(boxes[i].middle - boxes[j].middle) < 0.35 * boxes[i].height for j in many)
            for i in few
        )
        shortest = min(
            median(boxes[i].width / boxes[i].height for i in side) for side in (left, right)
        )
        return shortest < CELL and partners >= ALIGNED * len(few)
