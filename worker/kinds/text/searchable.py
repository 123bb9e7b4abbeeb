"""Searchable PDF files: the pages of the source with their text, invisible, where it stands.

PDFium writes the files. The font was made for this purpose with fontTools (556 bytes): a single
empty glyph, half as wide as it is high, stands for every character, and a table in the file
(ToUnicode) maps the codes to characters.
"""

import base64
import ctypes
import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.kinds.text.lines import Line, Page, Spot, Word

if TYPE_CHECKING:
    from typing import BinaryIO

GLYPHLESS = zlib.decompress(
    base64.b64decode(
        "eNqVkLFKA0EQhv+5vYgaMSAaLK+wEBEFC0khWEQUBBH0AXSJZw68M4eJkHSWFhYprHwGQewEfYA8gLU2FhaWZ2F1"
        "/rvZgBgQnGN25pvZm/13IQDGcQGFYHd/eWXjtdoFZJ7Vw1qiU0xgk3xFXqzHneOPnZcv8hO5HIX6SBerFea39NWI"
        "hUJZlpi/0eeipNWWjBnkkosfN2qasUh+MJzodspzffIoOTjVSahuStfkZ/J22mi22Kd5genDaKWfPN7dH5TWPqHU"
        "O4Ysr0imzH4Fz5X4jwpy6nRqMjvpp4mb7bmONzRWSSZdFIza/9k6zY2wGqit92tLMFBmzzU3nuYqNvqYtXWrKM+t"
        "9zUWTXS3ZTYjkvUGD6KwYCb4Y+xMWTa5h0lSPx+x9S3E6CBFxBiiyW+PsY5zssaZU/OHfQNo60GU"
    )
)
ADVANCE = 0.5  # of the glyph, in heights
BASELINE = 0.2  # above the bottom of a line, in heights
MAX_SIDE = 14_400  # points: what PDF readers accept
CODES = 65_535
POINTS = 72


class TextLayer:
    """Adds invisible text to pages of one document."""

    def __init__(self, document: Any, pages: Iterable[Page]) -> None:
        from pypdfium2 import raw

        self._document = document
        characters = sorted({c for page in pages for line in page.lines for c in line.text} | {" "})
        self._codes = {c: code for code, c in enumerate(characters[: CODES - 1], start=1)}
        font = (ctypes.c_uint8 * len(GLYPHLESS)).from_buffer_copy(GLYPHLESS)
        glyphs = (ctypes.c_uint8 * (2 * len(self._codes) + 2))()
        self._font = raw.FPDFText_LoadCidType2Font(
            document, font, len(font), _to_unicode(self._codes), glyphs, len(glyphs)
        )
        if not self._font:
            raise RuntimeError("PDFium did not load the invisible font")

    def close(self) -> None:
        from pypdfium2 import raw

        raw.FPDFFont_Close(self._font)

    def add(self, page: Any, lines: Iterable[Line], place: Callable[[Spot], Spot]) -> None:
        """Add lines to a page; `place` maps their corners to the page's own coordinates."""
        from pypdfium2 import raw

        for line in lines:
            words = list(line.words())
            for index, word in enumerate(words):
                self._add_word(page, word, words[index + 1 : index + 2], place)
        if not raw.FPDFPage_GenerateContent(page):
            raise RuntimeError("PDFium did not write the page's text")

    def _add_word(
        self, page: Any, word: Word, following: Sequence[Word], place: Callable[[Spot], Spot]
    ) -> None:
        from pypdfium2 import raw

        text = word.text
        left, _, _, low = (place(corner) for corner in word.box)
        right = place(word.box[1])
        if following:
            # The space reaches to the next word, so that readers see one line.
            text += " "
            right = place(following[0].box[0])
        codes = [self._codes[c] for c in text if c in self._codes]
        length, height = math.dist(left, right), math.dist(left, low)
        if not codes or length <= 0 or height <= 0:
            return
        along = (right[0] - left[0]) / length, (right[1] - left[1]) / length
        up = (left[0] - low[0]) / height, (left[1] - low[1]) / height
        stretch = length / (len(codes) * ADVANCE * height)
        start = low[0] + up[0] * BASELINE * height, low[1] + up[1] * BASELINE * height
        item = raw.FPDFPageObj_CreateTextObj(self._document, self._font, height)
        raw.FPDFText_SetCharcodes(item, (ctypes.c_uint32 * len(codes))(*codes), len(codes))
        raw.FPDFTextObj_SetTextRenderMode(item, raw.FPDF_TEXTRENDERMODE_INVISIBLE)
        matrix = raw.FS_MATRIX(
            along[0] * stretch, along[1] * stretch, up[0], up[1], start[0], start[1]
        )
        raw.FPDFPageObj_SetMatrix(item, matrix)
        raw.FPDFPage_InsertObject(page, item)


def _to_unicode(codes: dict[str, int]) -> bytes:
    """A CMap from codes to characters in UTF-16 (PDF 32000-1, 9.10.3)."""
    entries = [f"<{code:04X}> <{c.encode('utf-16-be').hex()}>" for c, code in codes.items()]
    blocks = []
    for start in range(0, len(entries), 100):
        block = entries[start : start + 100]
        blocks.append(f"{len(block)} beginbfchar\n" + "\n".join(block) + "\nendbfchar\n")
    return (
        "/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n"
        "/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def\n"
        "/CMapName /Adobe-Identity-UCS def\n/CMapType 2 def\n"
        "1 begincodespacerange\n<0000> <FFFF>\nendcodespacerange\n"
        + "".join(blocks)
        + "endcmap\nCMapName currentdict /CMap defineresource pop\nend\nend\n"
    ).encode("ascii")


def from_pictures(
    pages: Sequence[Page],
    pictures: Sequence[tuple[Path, tuple[float, float]]],
    target: Path,
    check: Callable[[], None],
) -> None:
    """Write a file with a page for each JPEG file, given with its dots per inch each way."""
    import pypdfium2

    document = pypdfium2.PdfDocument.new()
    layer = TextLayer(document, pages)
    try:
        for page, (path, dpi) in zip(pages, pictures, strict=True):
            check()
            width, height = page.width * POINTS / dpi[0], page.height * POINTS / dpi[1]
            fit = min(1.0, MAX_SIDE / max(width, height))
            width, height = width * fit, height * fit
            sheet = document.new_page(width, height)
            picture = pypdfium2.PdfImage.new(document)
            with path.open("rb") as file:
                picture.load_jpeg(file, inline=True, autoclose=False)
            picture.set_matrix(pypdfium2.PdfMatrix().scale(width, height))
            sheet.insert_obj(picture)
            layer.add(sheet, page.lines, _flipped(page, width, height))
            # The picture stays as it is; readers of the file turn the page.
            sheet.set_rotation(0 if page.vertical else page.rotation)
            sheet.close()
        _save(document, target)
    finally:
        layer.close()
        document.close()


def _flipped(page: Page, width: float, height: float) -> Callable[[Spot], Spot]:
    across, down = width / page.width, height / page.height
    return lambda spot: (spot[0] * across, height - spot[1] * down)


def from_pdf(
    source: Path, pages: Sequence[Page], needy: set[int], target: Path, check: Callable[[], None]
) -> None:
    """Write the chosen pages of a PDF file, with text on the `needy` ones."""
    import pypdfium2

    original = pypdfium2.PdfDocument(source)
    document = original
    try:
        if len(pages) < len(original):
            document = pypdfium2.PdfDocument.new()
            document.import_pages(original, [page.number - 1 for page in pages])
        layer = TextLayer(document, [page for page in pages if page.number in needy])
        try:
            added = [i for i, page in enumerate(pages) if page.number in needy and page.lines]
            before = {index: _count_objects(document, index, check) for index in added}
            for index in added:
                # Two pages may be one object, or share their content: the text is there already.
                if _count_objects(document, index, check) > before[index]:
                    continue
                sheet = document[index]
                layer.add(sheet, pages[index].lines, _unturned(sheet))
                sheet.close()
            _save(document, target)
        finally:
            layer.close()
    finally:
        document.close()
        original.close()


def _count_objects(document: Any, index: int, check: Callable[[], None]) -> int:
    from pypdfium2 import raw

    check()
    sheet = document[index]
    count: int = raw.FPDFPage_CountObjects(sheet)
    sheet.close()
    return count


def _unturned(sheet: Any) -> Callable[[Spot], Spot]:
    """Coordinates of a page's content, for spots on the page as people see it."""
    left, bottom, right, top = sheet.get_bbox()
    match sheet.get_rotation():
        case 90:
            return lambda spot: (left + spot[1], bottom + spot[0])
        case 180:
            return lambda spot: (right - spot[0], bottom + spot[1])
        case 270:
            return lambda spot: (right - spot[1], top - spot[0])
        case _:
            return lambda spot: (left + spot[0], top - spot[1])


def _save(document: Any, target: Path) -> None:
    file: BinaryIO
    with target.open("wb") as file:
        document.save(file)
