"""Finds text that a page does not show: on layers that are switched off, and outside of clips.

The page's text is drawn alone, on a colour that text does not have: a line without any ink is
hidden. Text behind a picture, as some scanners write it, is not, nor is text in the invisible mode.
A font without glyphs leaves no ink either, so that a line must have another reason: its font has
ink elsewhere on the page, or it is marked as content of a layer (ISO 32000-1, 8.11.3).
"""

import ctypes
import math
from collections.abc import Sequence
from typing import Any

# Pixels of the drawing. Letters of 2 points leave some ink on a page of A4 at 1,000 pixels.
LONG_SIDE = 1500
MAX_SCALE = 2.0
GROUND = (253, 1, 127, 255)

Area = tuple[float, float, float, float]  # left, top, right, bottom, in points from the top left


def hidden(page: Any, textpage: Any, lines: Sequence[tuple[int, str, Area]]) -> set[int]:
    """The places in `lines` of those that the page does not show.

    Each line is given by the index of its first character, its font and its area on the page.
    """
    if not lines:
        return set()
    pixels, scale = _text_alone(page)
    height, width = pixels.shape[:2]
    empty, fonts = set(), set()
    for place, (index, font, area) in enumerate(lines):
        left, top = (max(0, math.floor(edge * scale)) for edge in area[:2])
        right, bottom = (math.ceil(edge * scale) for edge in area[2:])
        ink = pixels[
            min(top, height - 1) : max(bottom, top + 1), min(left, width - 1) : max(right, left + 1)
        ]
        if (ink != GROUND[:3]).any():
            fonts.add(font)
        elif not _is_invisible(textpage, index):
            empty.add(place)
    return {
        place
        for place in empty
        if lines[place][1] in fonts or _is_on_layer(textpage, lines[place][0])
    }


def _text_alone(page: Any) -> tuple[Any, float]:
    import pypdfium2
    from pypdfium2 import raw

    kinds = (raw.FPDF_PAGEOBJ_TEXT, raw.FPDF_PAGEOBJ_FORM)
    others = [item for item in page.get_objects(max_depth=5) if item.type not in kinds]
    width, height = page.get_size()
    scale = min(MAX_SCALE, LONG_SIDE / max(width, height))
    size = max(1, math.ceil(width * scale)), max(1, math.ceil(height * scale))
    bitmap = pypdfium2.PdfBitmap.new_native(*size, raw.FPDFBitmap_BGR, rev_byteorder=True)
    try:
        for item in others:
            raw.FPDFPageObj_SetIsActive(item, False)
        bitmap.fill_rect(GROUND, 0, 0, *size)
        raw.FPDF_RenderPageBitmap(bitmap, page, 0, 0, *size, 0, raw.FPDF_REVERSE_BYTE_ORDER)
        return bitmap.to_numpy().copy(), scale
    finally:
        for item in others:
            raw.FPDFPageObj_SetIsActive(item, True)
        bitmap.close()


def _is_invisible(textpage: Any, index: int) -> bool:
    """Return whether a character is drawn in the invisible mode, or cuts out what is drawn next."""
    from pypdfium2 import raw

    item = raw.FPDFText_GetTextObject(textpage, index)
    return raw.FPDFTextObj_GetTextRenderMode(item) in (
        raw.FPDF_TEXTRENDERMODE_INVISIBLE,
        raw.FPDF_TEXTRENDERMODE_CLIP,
    )


def _is_on_layer(textpage: Any, index: int) -> bool:
    from pypdfium2 import raw

    item = raw.FPDFText_GetTextObject(textpage, index)
    for number in range(raw.FPDFPageObj_CountMarks(item)):
        name = (ctypes.c_uint16 * 8)()
        length = ctypes.c_ulong()
        mark = raw.FPDFPageObj_GetMark(item, number)
        if raw.FPDFPageObjMark_GetName(mark, name, ctypes.sizeof(name), length) and (
            bytes(name)[: length.value] == "OC\0".encode("utf-16-le")
        ):
            return True
    return False
