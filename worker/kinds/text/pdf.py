"""Reading PDF files with PDFium: text layers, and pages drawn as pictures.

PDFium runs without JavaScript and without XFA: the wheel of pypdfium2 is built without both.
Annotations and filled form fields are made part of the page first, so that their text counts.
A page is drawn in steps, which end when the job does. A step of a hostile page may not return for
hours (forms that draw forms that draw forms), or take all memory: the job then fails, and its
process is replaced.
"""

import ctypes
import math
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import psutil

from app.jobs import JobError
from worker.kinds.pictures import is_picture
from worker.kinds.text.glyphs import Glyph, codes, continues, font_name, space_after
from worker.kinds.text.lines import Line, Quad, Turn, area_of, turn_of, upright
from worker.kinds.text.pdf_hidden import hidden
from worker.kinds.text.pdf_streams import MAX_PICTURE, refuse_bombs
from worker.kinds.watch import OverdueError, watched

if TYPE_CHECKING:
    from worker.kinds.text.recognise import Pixels

Result = TypeVar("Result")
Watch = Callable[[], None]

MAX_DPI = 300
# A page of small print has some 10,000. PDFium takes about 150 bytes for each.
MAX_CHARACTERS = 200_000
MIN_SIDE = 8  # pixels of the drawn page
# Columns, and rows, in which the area of pictures is counted.
GRID = 32
# The colour that PDFium gives for a pattern (CPDF_ColorState::SetPattern).
OF_PATTERN = (0xBF, 0xBF, 0xBF)
SPACES = (9, 32, 0xA0)
SOFT_HYPHEN = 0xAD
# Unicode's categories of control characters, surrogates, unassigned and private characters.
MEANINGLESS = ("Cc", "Cs", "Cn", "Co")
# Seconds for one step of a page. The dearest drawing that the other limits allow takes some 10.
PATIENCE = 120.0
# Bytes by which one step may increase the memory: a picture of `MAX_PICTURE`, and the drawn page.
# It is looked at ten times a second, and a slot has some 900 MB.
MAX_GROWTH = 500_000_000


@dataclass(frozen=True, slots=True)
class LayerLine:
    """A line of a text layer, with the font of its first character and its direction."""

    line: Line
    font: str
    turn: Turn


@dataclass(frozen=True, slots=True)
class Layer:
    lines: list[LayerLine]
    characters: int
    garbage: int


def is_pdf(path: Path) -> bool:
    """Return whether the header is in the first 1,024 bytes, as PDF readers accept it.

    A picture may have these characters in its metadata.
    """
    with path.open("rb") as file:
        start = file.read(1024)
    return b"%PDF-" in start and not is_picture(start)


class _OvergrownError(OverdueError):
    """The library's call has taken too much memory."""


class _Calls:
    """Runs the calls of one document. After a call that was given up, its objects are not used."""

    # Their memory may still be in use: never freed.
    abandoned: ClassVar[list[object]] = []

    def __init__(self) -> None:
        self.stuck = False

    def run(
        self, work: Callable[[Event], Result], watch: Watch, place: str, *used: object
    ) -> Result:
        memory = psutil.Process().memory_info
        limit = memory().rss + MAX_GROWTH

        def watch_memory() -> None:
            watch()
            if memory().rss > limit:
                raise _OvergrownError

        try:
            return watched(work, watch_memory, patience=PATIENCE)
        except OverdueError as error:
            self.stuck = True
            self.abandoned.extend(used)
            if isinstance(error, _OvergrownError):
                raise JobError(
                    "pdf-page-too-large",
                    f"{place} of the PDF file takes more than {MAX_GROWTH:,} bytes of memory to "
                    "draw: simplify it, or leave the page out with `pages`.",
                ) from error
            raise JobError(
                "pdf-page-too-slow",
                f"{place} of the PDF file takes more than {PATIENCE:.0f} s to draw: simplify it, "
                "or leave the page out with `pages`.",
            ) from error


class PdfSource:
    """An open PDF file. Use it from one thread at a time: PDFium has no locks."""

    def __init__(self, path: Path, watch: Watch) -> None:
        self._calls = _Calls()

        import pypdfium2

        def work(stop: Event) -> Any:
            refuse_bombs(path, stop)
            document = pypdfium2.PdfDocument(path)
            document.init_forms()
            return document

        try:
            self.document = self._calls.run(work, watch, "A part")
        except pypdfium2.PdfiumError as error:
            raise _refused(error) from error

    def __len__(self) -> int:
        return len(self.document)

    def close(self) -> None:
        if not self._calls.stuck:
            self.document.close()

    def page(self, number: int, watch: Watch) -> "PdfPage":
        import pypdfium2
        from pypdfium2 import raw

        def work(_: Event) -> Any:
            page = self.document[number - 1]
            raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY)
            page.close()  # its objects are those from before
            return self.document[number - 1]

        try:
            page = self._calls.run(work, watch, f"Page {number}", self.document)
            return PdfPage(page, number, self._calls)
        except pypdfium2.PdfiumError as error:
            raise JobError(
                "pdf-broken",
                f"Page {number} of the PDF file is damaged: repair the file, or leave the page "
                "out with `pages`.",
            ) from error


class PdfPage:
    """A page as it is shown: cropped, and turned as the file says. Sizes are in points."""

    def __init__(self, page: Any, number: int, calls: _Calls) -> None:
        self._page, self._calls = page, calls
        self.number = number
        self.width, self.height = page.get_size()
        self._turn: Turn = page.get_rotation()
        left, bottom, right, top = page.get_bbox()
        self._crop = left, bottom, right, top

    def close(self) -> None:
        if not self._calls.stuck:
            self._page.close()

    def _run(self, work: Callable[[Event], Result], watch: Watch) -> Result:
        return self._calls.run(work, watch, f"Page {self.number}", self._page)

    def pictures(self) -> float:
        """The share of the page that its pictures cover together, such as the strips of a scan.

        A pattern may hold pictures: an area that is filled with one counts as a picture.
        """
        left, bottom, right, top = self._crop
        covered: set[tuple[int, int]] = set()
        for picture in chain(self._pictures(), self._patterns()):
            box = picture.get_bounds()
            form = picture.container
            while form is not None:  # the bounds are in the form's own coordinates
                box = form.get_matrix().on_rect(*box)
                form = form.container
            across = _cells(box[0], box[2], left, right)
            down = _cells(box[1], box[3], bottom, top)
            covered.update((column, row) for column in across for row in down)
        return len(covered) / GRID**2

    def refuse_large_pictures(self) -> None:
        """Raise `JobError` if a picture inside the page would not fit into memory."""
        from pypdfium2 import raw

        for picture in self._pictures():
            details = raw.FPDF_IMAGEOBJ_METADATA()
            raw.FPDFImageObj_GetImageMetadata(picture, self._page, details)
            if details.width * details.height * max(details.bits_per_pixel, 1) / 8 > MAX_PICTURE:
                raise JobError(
                    "pdf-page-too-large",
                    f"Page {self.number} holds a picture of {details.width} x {details.height} "
                    f"pixels, which takes more than {MAX_PICTURE:,} bytes: reduce it, or leave "
                    "the page out with `pages`.",
                )

    def _pictures(self) -> Iterator[Any]:
        from pypdfium2 import raw

        pictures: Iterator[Any] = self._page.get_objects(
            filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=5
        )
        return pictures

    def _patterns(self) -> Iterator[Any]:
        from pypdfium2 import raw

        for path in self._page.get_objects(filter=[raw.FPDF_PAGEOBJ_PATH], max_depth=5):
            colour = [ctypes.c_uint() for _ in range(4)]
            if (
                raw.FPDFPageObj_GetFillColor(path, *colour)
                and tuple(part.value for part in colour[:3]) == OF_PATTERN
            ):
                yield path

    def layer(self, watch: Watch) -> Layer:
        """The text that the page contains, line by line in the order of the file.

        Text that the page does not show is left out, but for that in the invisible mode.
        """
        return self._run(self._layer, watch)

    def _layer(self, stop: Event) -> Layer:
        textpage = self._page.get_textpage()
        try:
            count = textpage.count_chars()
            if count > MAX_CHARACTERS:
                raise JobError(
                    "pdf-page-too-large",
                    f"Page {self.number} holds {count:,} characters: at most {MAX_CHARACTERS:,} "
                    "are read. Leave the page out with `pages`.",
                )
            fragments = [
                glyphs
                for glyphs in self._fragments(textpage.raw, count, stop)
                if any(not glyph.text.isspace() for glyph in glyphs)
            ]
            every = [self._line(glyphs) for glyphs in fragments]
            places = [
                (glyphs[0].index, line.font, area_of(line.line.box))
                for glyphs, line in zip(fragments, every, strict=True)
            ]
            unseen = hidden(self._page, textpage.raw, places)
            lines = [line for place, line in enumerate(every) if place not in unseen]
            text = "".join(line.line.text for line in lines).split()
            characters = sum(map(len, text))
            return Layer(lines, characters, sum(word.count("\ufffd") for word in text))
        finally:
            textpage.close()

    def _fragments(self, textpage: Any, count: int, stop: Event) -> Iterator[list[Glyph]]:
        """Characters that follow one another on one line, without a wide space between them."""
        glyphs: list[Glyph] = []
        for index, code in codes(textpage, count):
            if stop.is_set():
                return
            glyph = self._glyph(textpage, index, code)
            if glyph is None:
                if code in SPACES and glyphs:
                    glyphs.append(space_after(glyphs[-1]))
                elif code in (10, 13) and glyphs:
                    yield glyphs
                    glyphs = []
                continue
            if glyphs and not continues(glyphs, glyph):
                yield glyphs
                glyphs = []
            glyphs.append(glyph)
        if glyphs:
            yield glyphs

    def _glyph(self, textpage: Any, index: int, code: int) -> Glyph | None:
        """A character inside the page; None for spaces and line ends, which have no place."""
        from pypdfium2 import raw

        if code in (10, 13, *SPACES) or raw.FPDFText_IsGenerated(textpage, index) == 1:
            return None
        area = raw.FS_RECTF()
        if not raw.FPDFText_GetLooseCharBox(textpage, index, area):
            return None
        angle = round(math.degrees(raw.FPDFText_GetCharAngle(textpage, index)) / 90) * 90
        # Both angles are clockwise: that of the text on the page, and that of the page.
        turn = turn_of(-angle - self._turn)
        first = self._spot(area.left, area.top)
        second = self._spot(area.right, area.bottom)
        middle = (first[0] + second[0]) / 2, (first[1] + second[1]) / 2
        if not (0 <= middle[0] <= self.width and 0 <= middle[1] <= self.height):
            return None
        first = upright(first, turn, self.width, self.height)
        second = upright(second, turn, self.width, self.height)
        box = (
            min(first[0], second[0]),
            min(first[1], second[1]),
            max(first[0], second[0]),
            max(first[1], second[1]),
        )
        text = chr(code)
        if raw.FPDFText_IsHyphen(textpage, index) == 1 or code == SOFT_HYPHEN:
            text = "-"
        elif (
            raw.FPDFText_HasUnicodeMapError(textpage, index) == 1
            or unicodedata.category(text) in MEANINGLESS
        ):
            text = "\ufffd"
        return Glyph(text, box, turn, font_name(textpage, index), index)

    def _spot(self, x: float, y: float) -> tuple[float, float]:
        left, bottom, right, top = self._crop
        match self._turn:
            case 90:
                return y - bottom, x - left
            case 180:
                return right - x, y - bottom
            case 270:
                return top - y, right - x
            case _:
                return x - left, top - y

    def _line(self, glyphs: list[Glyph]) -> LayerLine:
        while glyphs[-1].text.isspace():
            glyphs.pop()
        left = min(glyph.box[0] for glyph in glyphs)
        top = min(glyph.box[1] for glyph in glyphs)
        right = max(glyph.box[2] for glyph in glyphs)
        bottom = max(glyph.box[3] for glyph in glyphs)
        width = max(right - left, 1e-6)
        places = []
        for glyph in glyphs:
            middle = (glyph.box[0] + glyph.box[2]) / 2
            places += [min(1.0, max(0.0, (middle - left) / width))] * len(glyph.text)
        turn = glyphs[0].turn
        line = Line(
            "".join(glyph.text for glyph in glyphs),
            self._quad((left, top, right, bottom), turn),
            1.0,
            tuple(places),
        )
        return LayerLine(line, glyphs[0].font, turn)

    def _quad(self, box: tuple[float, float, float, float], turn: Turn) -> Quad:
        """The corners on the page of a box on the upright line, from the line's own top left."""
        left, top, right, bottom = box
        back = turn_of(-turn)
        sideways = turn in (90, 270)
        size = (self.height, self.width) if sideways else (self.width, self.height)
        return (
            upright((left, top), back, *size),
            upright((right, top), back, *size),
            upright((right, bottom), back, *size),
            upright((left, bottom), back, *size),
        )

    def pixels(self, resolution: int, watch: Watch) -> "Pixels":
        """The page drawn on white, in the channel order of OpenCV: blue first."""
        scale = min(MAX_DPI / 72, resolution / max(self.width, self.height))
        width = round(self.width * scale)
        height = round(self.height * scale)
        if min(width, height) < MIN_SIDE:
            raise JobError(
                "pdf-page-too-small",
                f"Page {self.number} measures {self.width:g} x {self.height:g} points: text needs "
                f"at least {MIN_SIDE} pixels on each side at the given resolution. Leave the page "
                "out with `pages`.",
            )
        return self._run(lambda stop: self._drawn(width, height, stop), watch)

    def _drawn(self, width: int, height: int, stop: Event) -> "Pixels":
        import pypdfium2
        from pypdfium2 import raw
        from pypdfium2.internal import set_callback

        bitmap = pypdfium2.PdfBitmap.new_native(width, height, raw.FPDFBitmap_BGR)
        try:
            bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
            pause = raw.IFSDK_PAUSE(version=1)
            set_callback(pause, "NeedToPauseNow", lambda _: stop.is_set())
            arguments = (bitmap, self._page, 0, 0, width, height, 0)
            flags = raw.FPDF_ANNOT | raw.FPDF_RENDER_LIMITEDIMAGECACHE
            status = raw.FPDF_RenderPageBitmap_Start(*arguments, flags, pause)
            while status == raw.FPDF_RENDER_TOBECONTINUED and not stop.is_set():
                status = raw.FPDF_RenderPage_Continue(self._page, pause)
            raw.FPDF_RenderPage_Close(self._page)
            if self._page.formenv:
                raw.FPDF_FFLDraw(self._page.formenv, *arguments, flags)
            drawn: Pixels = bitmap.to_numpy().copy()
            return drawn
        finally:
            bitmap.close()


def _cells(first: float, last: float, start: float, end: float) -> range:
    """The columns or rows of a grid over the page whose middles lie between two places."""
    size = max(end - start, 1e-6) / GRID
    begin, stop = (
        math.ceil(max(0.0, min(GRID, (place - start) / size - 0.5))) for place in (first, last)
    )
    return range(begin, stop)


def _refused(error: Any) -> JobError:
    from pypdfium2 import raw

    code = error.err_code
    if code == raw.FPDF_ERR_SECURITY:
        return JobError(
            "pdf-encrypted",
            "The PDF file is encrypted for certain readers or in an unsupported way: save it "
            "without encryption, then upload it again.",
        )
    if code == raw.FPDF_ERR_PASSWORD:
        return JobError(
            "pdf-encrypted",
            "The PDF file is encrypted and needs a password: remove the password, then upload it "
            "again.",
        )
    if code == raw.FPDF_ERR_SUCCESS:
        return JobError("pdf-broken", "The PDF file has no pages: upload another one.")
    return JobError(
        "pdf-broken", "The PDF file is damaged or cut short: repair it, then upload it again."
    )
