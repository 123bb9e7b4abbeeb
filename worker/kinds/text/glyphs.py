"""Characters of a PDF page, and how they are joined to lines."""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from worker.kinds.text.lines import Turn, right_to_left

# In line heights: a gap that separates columns, and the width of a number or of words that run
# the other way than their line, and begin at their far end.
COLUMN_GAP, EMBEDDED = 1.2, 15.0
RECENT = 200  # characters of a line that are looked at for its direction


@dataclass(frozen=True, slots=True)
class Glyph:
    text: str
    box: tuple[float, float, float, float]  # left, top, right, bottom on the upright line
    turn: Turn
    font: str
    index: int  # in PDFium's list of the page's characters


def codes(textpage: Any, count: int) -> Iterator[tuple[int, int]]:
    """The place and code point of each character; surrogates come one by one."""
    from pypdfium2 import raw

    high = 0
    for index in range(count):
        code = raw.FPDFText_GetUnicode(textpage, index)
        if 0xD800 <= code < 0xDC00:
            high = code
            continue
        if 0xDC00 <= code < 0xE000:
            code = 0x10000 + ((high - 0xD800) << 10) + (code - 0xDC00) if high else 0xFFFD
        high = 0
        yield index, code


def font_name(textpage: Any, index: int) -> str:
    from pypdfium2 import raw

    name = ctypes.create_string_buffer(128)
    flags = ctypes.c_int()
    raw.FPDFText_GetFontInfo(textpage, index, name, len(name), flags)
    return name.value.decode("utf-8", errors="replace")


def space_after(last: Glyph) -> Glyph:
    """A space without a width, where the next character begins if none is left out."""
    left, top, right, bottom = last.box
    edge = left if right_to_left(last.text) else right
    return Glyph(" ", (edge, top, edge, bottom), last.turn, last.font, last.index)


def continues(line: list[Glyph], glyph: Glyph) -> bool:
    """Return whether a character continues the line, without a gap as wide as between columns."""
    last = line[-1]
    if last.turn != glyph.turn:
        return False
    height = max(last.box[3] - last.box[1], glyph.box[3] - glyph.box[1], 1e-6)
    overlap = min(last.box[3], glyph.box[3]) - max(last.box[1], glyph.box[1])
    least = min(last.box[3] - last.box[1], glyph.box[3] - glyph.box[1])
    if overlap <= 0.3 * least:
        return False
    if -height < glyph.box[0] - last.box[2] < COLUMN_GAP * height:
        return True
    recent = line[-RECENT:]
    if not (right_to_left(glyph.text) or any(right_to_left(one.text) for one in recent)):
        return False
    # PDFium gives such a line in the order in which it is read.
    left, right = min(one.box[0] for one in recent), max(one.box[2] for one in recent)
    gap = max(left - glyph.box[2], glyph.box[0] - right)
    before = next(one for one in reversed(line) if not one.text.isspace())
    same_way = right_to_left(before.text) == right_to_left(glyph.text)
    return gap < (COLUMN_GAP if same_way else EMBEDDED) * height
