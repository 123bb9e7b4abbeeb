"""`text.extract`: the text of a picture or a document, page by page."""

from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path

from app.jobs import FileId, JobContext, JobError, job_kind
from worker.kinds.text import hocr, searchable
from worker.kinds.text.layers import Layers, is_empty, read_layer
from worker.kinds.text.lines import Page, Quad
from worker.kinds.text.ocr import Progress, read_page
from worker.kinds.text.pdf import MAX_DPI, PdfPage, PdfSource, is_pdf
from worker.kinds.text.picture import PictureSource
from worker.kinds.text.recognise import Recogniser
from worker.kinds.text.spec import (
    INLINE_CHARACTERS,
    INLINE_LINES,
    LANGUAGES,
    MAX_PAGES,
    Point,
    TextExtract,
    TextExtracted,
    TextLine,
    TextLines,
    TextPage,
    UnreadableLine,
    page_ranges,
)

# Share of the work that is done once all pages have been read; the rest is writing files.
READ = 0.97


@job_kind("text.extract", pool="cpu", timeout=1800)
def extract(spec: TextExtract, job: JobContext) -> TextExtracted:
    """Read the text of a picture or a PDF file (OCR).

    Finds printed lines in a JPEG, PNG, WebP, AVIF, HEIC, TIFF or GIF file and gives each with its
    box and confidence, in reading order: columns, headings over columns, rows of tables, vertical
    Chinese and Japanese, pages that are turned or skewed. All pages of a TIFF file are read, and
    the first picture of the other formats. A page of a PDF file gives its own text where that is
    complete and agrees with what the page shows, and is read like a picture otherwise; the result
    says which. Also makes hOCR and searchable PDF files.

    One model reads English, the other languages of Latin script (Vietnamese excepted), simplified
    and traditional Chinese and Japanese, in one picture too. Lines in other scripts, such as
    Greek, Cyrillic, Arabic, Hebrew or Korean, are left out and counted as unreadable.

    Fails with `image-unsupported`, `image-too-large`, `image-too-small`, `image-broken`,
    `pdf-broken`, `pdf-encrypted`, `pdf-page-too-large`, `pdf-page-too-small`, `pdf-page-too-slow`,
    `page-not-found`, `too-many-pages` or `text-layer-missing`.
    """
    job.progress(0, "opening the file")
    path = job.input(spec.source)
    reader = _PdfReader if is_pdf(path) else _PictureReader
    return reader(spec, job, path).run()


class _Reader:
    """The part of a job that is the same for pictures and PDF files."""

    def __init__(self, spec: TextExtract, job: JobContext, path: Path) -> None:
        self.spec = spec
        self.job = job
        self.path = path
        self.done = 0.0
        self.message = ""
        self._recogniser: Recogniser | None = None

    def run(self) -> TextExtracted:
        count = self.count()
        numbers = chosen(self.spec.pages, count)
        pages = []
        for index, number in enumerate(numbers):
            pages.append(self.read(number, partial(self._progress, index, numbers)))
        lines = sum(len(page.lines) for page in pages)
        self.done = READ
        self.job.progress(READ, f"writing {lines} lines of {len(pages)} pages")
        result = self._result(pages, count)
        self.job.progress(1, f"{lines} lines" + (f" of {len(pages)} pages" if count > 1 else ""))
        return result

    def count(self) -> int:
        raise NotImplementedError

    def read(self, number: int, progress: Progress) -> Page:
        raise NotImplementedError

    def write_hocr(self, pages: list[Page], target: Path) -> None:
        raise NotImplementedError

    def write_pdf(self, pages: list[Page], target: Path) -> None:
        raise NotImplementedError

    def recogniser(self) -> Recogniser:
        if self._recogniser is None:
            self._recogniser = Recogniser(self.job.threads)
        return self._recogniser

    def watch(self) -> None:
        self.job.progress(self.done, self.message)

    def _progress(self, index: int, numbers: list[int], done: float, message: str) -> None:
        self.done = max(self.done, READ * (index + min(done, 1.0)) / len(numbers))
        if len(numbers) > 1:
            message = f"page {numbers[index]} ({index + 1} of {len(numbers)}): {message}"
        self.message = message
        self.watch()

    def _result(self, pages: list[Page], count: int) -> TextExtracted:
        width, height = round(pages[0].width), round(pages[0].height)
        lines = [line for page in pages for line in _lines(page)]
        described = [_described(page) for page in pages]
        outputs = self.spec.outputs
        text = details = marked_up = document = None
        if "text" in outputs:
            text = self._file("text.txt", "text/plain; charset=utf-8", partial(_write_text, pages))
        if "json" in outputs:
            every = TextLines(
                width=width,
                height=height,
                lines=lines,
                pages=described,
                unreadable=[
                    UnreadableLine(page=page.number, box=_box(quad))
                    for page in pages
                    for quad in page.unreadable
                ],
            )
            details = self._file("lines.json", "application/json", partial(_write_json, every))
        if "hocr" in outputs:
            marked_up = self._file(
                "text.hocr.html", "text/html; charset=utf-8", partial(self.write_hocr, pages)
            )
        if "pdf" in outputs:
            document = self._file(
                "searchable.pdf", "application/pdf", partial(self.write_pdf, pages)
            )
        return TextExtracted(
            width=width,
            height=height,
            line_count=len(lines),
            lines=list(_first(lines)),
            text=text,
            details=details,
            hocr=marked_up,
            pdf=document,
            pages=described,
            page_count=count,
            unreadable_lines=sum(len(page.unreadable) for page in pages),
            languages=LANGUAGES,
        )

    def _file(self, name: str, content_type: str, write: Callable[[Path], None]) -> FileId:
        target = self.job.scratch / name
        write(target)
        return self.job.output(target, name=name, content_type=content_type)


class _PictureReader(_Reader):
    def __init__(self, spec: TextExtract, job: JobContext, path: Path) -> None:
        super().__init__(spec, job, path)
        self.source = PictureSource(path, job.threads)
        self.pictures: list[tuple[Path, tuple[float, float]]] = []

    def count(self) -> int:
        return len(self.source)

    def read(self, number: int, progress: Progress) -> Page:
        progress(0, "reading the picture")
        page = self.source.page(number)
        pixels = page.pixels(self.spec.resolution, self.watch)
        progress(0.05, "loading the models")
        recogniser = self.recogniser()
        read = read_page(
            recogniser,
            pixels,
            number,
            (page.width, page.height),
            self.spec.minimum_confidence,
            lambda done, message: progress(0.1 + 0.85 * done, message),
        )
        if "pdf" in self.spec.outputs:
            progress(0.95, "copying the picture")
            target = self.job.scratch / f"page-{number}.jpg"
            self.pictures.append((target, page.save(target, self.watch)))
        return read

    def write_hocr(self, pages: list[Page], target: Path) -> None:
        hocr.write(pages, target)

    def write_pdf(self, pages: list[Page], target: Path) -> None:
        searchable.from_pictures(pages, self.pictures, target, self.job.check)


class _PdfReader(_Reader):
    def __init__(self, spec: TextExtract, job: JobContext, path: Path) -> None:
        super().__init__(spec, job, path)
        self.source = PdfSource(path, self.watch)
        self.layers = Layers(self.recogniser, self.watch)
        # Pages without text of their own, which the searchable file gets.
        self.needy: set[int] = set()

    def run(self) -> TextExtracted:
        try:
            return super().run()
        finally:
            self.source.close()

    def count(self) -> int:
        return len(self.source)

    def read(self, number: int, progress: Progress) -> Page:
        progress(0, "opening the page")
        page = self.source.page(number, self.watch)
        try:
            return self._read(page, progress)
        finally:
            page.close()

    def _read(self, page: PdfPage, progress: Progress) -> Page:
        page.refuse_large_pictures()
        drawn = cache(partial(page.pixels, self.spec.resolution, self.watch))
        progress(0.01, "looking for its text")
        layer = page.layer(self.watch)
        if self.spec.text_layer == "ignore":
            usable = False
            unusable = is_empty(layer)
        else:
            usable = self.layers.usable(page, layer, drawn)
            unusable = not usable
        if usable:
            return read_layer(page, layer, self.watch)
        if self.spec.text_layer == "require":
            raise JobError(
                "text-layer-missing",
                f"Page {page.number} of the PDF file has no text, or text that does not agree "
                "with what the page shows: leave `text_layer` out to read its picture.",
            )
        if unusable:
            self.needy.add(page.number)
        progress(0.05, "drawing the page")
        pixels = drawn()
        progress(0.1, "loading the models")
        return read_page(
            self.recogniser(),
            pixels,
            page.number,
            (page.width, page.height),
            self.spec.minimum_confidence,
            lambda done, message: progress(0.1 + 0.9 * done, message),
        )

    def write_hocr(self, pages: list[Page], target: Path) -> None:
        hocr.write(pages, target, scale=MAX_DPI / 72, dpi=MAX_DPI)

    def write_pdf(self, pages: list[Page], target: Path) -> None:
        searchable.from_pdf(self.path, pages, self.needy, target, self.job.check)


def chosen(pages: str | None, count: int) -> list[int]:
    """The numbers of the pages to read, in the source's order, each once. Raises `JobError`."""
    numbers: set[int] = set()
    for first, last in page_ranges(pages or "1-"):
        if first > count or (last is not None and last > count):
            raise JobError(
                "page-not-found",
                f"The file has {count:,} {'page' if count == 1 else 'pages'}, and `pages` asks "
                f"for page {max(first, last or 0):,}.",
            )
        span = range(first, (count if last is None else last) + 1)
        if len(span) > MAX_PAGES:
            raise _too_many(len(span))
        numbers.update(span)
    if len(numbers) > MAX_PAGES:
        raise _too_many(len(numbers))
    return sorted(numbers)


def _too_many(count: int) -> JobError:
    return JobError(
        "too-many-pages",
        f"{count:,} pages are to be read: one job reads at most {MAX_PAGES}. Choose some of them "
        f'with `pages`, such as "1-{MAX_PAGES}", and send further jobs for the rest.',
    )


def _box(quad: Quad) -> list[Point]:
    return [Point(x=round(x, 1), y=round(y, 1)) for x, y in quad]


def _lines(page: Page) -> Iterable[TextLine]:
    for line in page.lines:
        yield TextLine(
            text=line.text, confidence=line.confidence, box=_box(line.box), page=page.number
        )


def _first(lines: list[TextLine]) -> Iterable[TextLine]:
    characters = 0
    for line in lines[:INLINE_LINES]:
        characters += len(line.text)
        if characters > INLINE_CHARACTERS:
            return
        yield line


def _described(page: Page) -> TextPage:
    return TextPage(
        number=page.number,
        width=round(page.width),
        height=round(page.height),
        source=page.source,
        line_count=len(page.lines),
        rotation=0 if page.vertical else page.rotation,
        vertical=page.vertical,
        skew=page.skew,
        unreadable_lines=len(page.unreadable),
        unknown_script=page.unknown_script,
    )


def _write_text(pages: list[Page], target: Path) -> None:
    """Write a line for each line, and a form feed (U+000C) between pages, as pdftotext does."""
    with target.open("w", encoding="utf-8", newline="\n") as file:
        for index, page in enumerate(pages):
            file.write("\f" if index else "")
            file.writelines(f"{line.text}\n" for line in page.lines)


def _write_json(every: TextLines, target: Path) -> None:
    target.write_text(every.model_dump_json(), encoding="utf-8")
