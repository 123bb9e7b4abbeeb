"""The specification and the result of `text.extract`."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.jobs import EXAMPLE_FILE, FileId, JobOptions

# Clients read a job's result as a whole, so it holds the first lines only; the files hold all.
INLINE_LINES = 200
INLINE_CHARACTERS = 100_000
# Each page takes some 300 bytes of the result, whose limit is 1 MiB. 1,800 s, the kind's timeout,
# are enough for the OCR of some 150 pages of A4 on one thread, and for any number of text layers.
MAX_PAGES = 500
LANGUAGES = [
    "cs", "da", "de", "en", "es", "fi", "fr", "hu", "is", "it", "ja", "lv", "nl", "no", "pl", "pt",
    "ro", "sv", "tr", "zh-Hans", "zh-Hant",
]  # fmt: skip

Output = Literal["text", "json", "hocr", "pdf"]
COMMON_OUTPUTS: list[Output] = ["text", "json"]


def page_ranges(pages: str) -> list[tuple[int, int | None]]:
    """The first and last page of each range of `1-3,7,9-`; None for the document's last."""
    found: list[tuple[int, int | None]] = []
    for part in pages.split(","):
        first, dash, last = part.partition("-")
        end = (int(last) if last else None) if dash else int(first)
        if int(first) < 1 or (end is not None and end < int(first)):
            raise ValueError(f"{part!r} is not a range of pages: write it as 2-5, 7 or 9-")
        found.append((int(first), end))
    return found


def _valid_pages(pages: str) -> str:
    page_ranges(pages)
    return pages


def _unique(outputs: list[Output]) -> list[Output]:
    return [output for index, output in enumerate(outputs) if output not in outputs[:index]]


class TextExtract(JobOptions):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"source": EXAMPLE_FILE},
                {"source": EXAMPLE_FILE, "pages": "1-", "outputs": ["text", "hocr", "pdf"]},
            ]
        }
    )

    source: FileId
    pages: Annotated[
        str | None,
        Field(
            max_length=500,
            pattern=r"^[0-9]{1,9}(-[0-9]{0,9})?(,[0-9]{1,9}(-[0-9]{0,9})?)*$",
            description="Pages of a PDF or TIFF file to read, such as `1-3,7` or `12-`; all pages "
            f"by default. One job reads at most {MAX_PAGES} pages.",
        ),
        AfterValidator(lambda pages: pages if pages is None else _valid_pages(pages)),
    ] = None
    text_layer: Annotated[
        Literal["auto", "ignore", "require"],
        Field(
            description="Use of the text that a page of a PDF file contains. auto: take it where "
            "it is complete and agrees with what the page shows, else read the page's picture "
            "(OCR). ignore: always read the picture; this also finds text inside figures. "
            "require: fail with `text-layer-missing` for a page without usable text."
        ),
    ] = "auto"
    outputs: Annotated[
        list[Output],
        Field(
            min_length=1,
            max_length=4,
            description="Files to make. text: plain text in UTF-8. json: every line with its box. "
            "hocr: hOCR, with the box of every word. pdf: a searchable PDF, which shows the "
            "source's pages and holds their text; pages of a PDF file that have a text layer stay "
            "as they are.",
        ),
        AfterValidator(_unique),
    ] = COMMON_OUTPUTS
    resolution: Annotated[
        int,
        Field(
            ge=320,
            le=3000,
            description="Longer side, in pixels, that a larger picture is reduced to before it "
            "is read, and that a page of a PDF file is drawn at (up to 300 dpi). The shorter side "
            "of a picture longer than 3:1, such as a scrolling screenshot, is reduced to a third "
            "of it. More finds smaller print and takes longer: a page of A4 takes some 20 s on one "
            "thread and 0.7 GB of memory at 2000.",
        ),
    ] = 2000
    minimum_confidence: Annotated[
        float,
        Field(ge=0, le=1, description="Least certainty of a line; lines below it are left out."),
    ] = 0.5


class Point(BaseModel):
    """A point of a page as people see it, from its top left.

    The unit is a pixel of the source (after its EXIF orientation), or a point (1/72 inch) of a
    page of a PDF file (after the rotation that the file gives the page).
    """

    x: float
    y: float


Corners = Annotated[
    list[Point],
    Field(
        min_length=4,
        max_length=4,
        description="The corners of the line, clockwise from the line's own top left.",
    ),
]


class TextLine(BaseModel):
    text: str
    box: Corners
    confidence: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Certainty of the reading, reduced by the share of the line that has not "
            "been read; 1 for a line from a text layer.",
        ),
    ]
    page: Annotated[int, Field(ge=1, description="Number of the line's page in the source.")] = 1


class UnreadableLine(BaseModel):
    """A line that was found but not read: it is damaged, too small, or in an unknown script."""

    page: Annotated[int, Field(description="Number of the line's page in the source.")]
    box: Corners


class TextPage(BaseModel):
    """The text and the properties of one page."""

    number: Annotated[int, Field(description="Number of the page in the source, from 1.")]
    width: Annotated[int, Field(description="Width in the unit of the boxes.")]
    height: Annotated[int, Field(description="Height in the unit of the boxes.")]
    source: Annotated[
        Literal["ocr", "text_layer"],
        Field(description="Whether the text was read from a picture or taken from the PDF file."),
    ]
    line_count: Annotated[int, Field(description="Number of lines in the files.")]
    rotation: Annotated[
        Literal[0, 90, 180, 270],
        Field(description="Degrees clockwise by which the page has to be turned to be upright."),
    ] = 0
    vertical: Annotated[
        bool, Field(description="Whether lines run from top to bottom, as in vertical Japanese.")
    ] = False
    skew: Annotated[
        float, Field(description="Slope of the lines in degrees, clockwise; 0 for a straight page.")
    ] = 0
    unreadable_lines: Annotated[
        int,
        Field(description="Number of lines that were found but not read; they are left out."),
    ] = 0
    unknown_script: Annotated[
        bool,
        Field(
            description="Whether most of the page is in a script that the models do not know "
            "(see `languages`). Lines that are too small to be read do not count."
        ),
    ] = False


class TextLines(BaseModel):
    """The content of the JSON file: every line, in reading order, page by page."""

    width: Annotated[int, Field(description="Width of the first page that was read.")]
    height: Annotated[int, Field(description="Height of the first page that was read.")]
    lines: list[TextLine]
    pages: list[TextPage] = []
    unreadable: list[UnreadableLine] = []


class TextExtracted(BaseModel):
    """The text of a picture or document; width and height are those of the first page read."""

    width: Annotated[int, Field(description="Width of the first page that was read.")]
    height: Annotated[int, Field(description="Height of the first page that was read.")]
    line_count: Annotated[int, Field(description="Number of lines on all pages that were read.")]
    lines: Annotated[
        list[TextLine],
        Field(
            description=f"The first lines, at most {INLINE_LINES} lines and "
            f"{INLINE_CHARACTERS:,} characters; the files hold all."
        ),
    ]
    text: Annotated[
        FileId | None, Field(description="File with all lines as UTF-8 text, if asked for.")
    ] = None
    details: Annotated[
        FileId | None,
        Field(description="File with all lines and boxes as JSON (TextLines), if asked for."),
    ] = None
    hocr: Annotated[
        FileId | None, Field(description="File with all words and boxes as hOCR, if asked for.")
    ] = None
    pdf: Annotated[FileId | None, Field(description="The searchable PDF file, if asked for.")] = (
        None
    )
    pages: Annotated[
        list[TextPage], Field(description="The pages that were read, in this order.")
    ] = []
    page_count: Annotated[int, Field(description="Number of pages of the source, read or not.")] = 1
    unreadable_lines: Annotated[
        int,
        Field(
            description="Number of lines on all pages that were found but not read: they are "
            "damaged, too small, or in an unknown script. The JSON file holds their boxes."
        ),
    ] = 0
    languages: Annotated[
        list[str],
        Field(description="Languages that OCR reads, as BCP 47 tags; other scripts are not read."),
    ] = []
