"""Files of text, hOCR and searchable PDF, and the result."""

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pypdfium2
import pytest
from PIL import Image, ImageOps

from app.jobs import FileId
from tests.kinds_builtin.conftest import FolderContext
from tests.kinds_builtin.text.reading import CASES, content, draw, needs_dejavu, read, squeezed
from worker.kinds.text import TextExtracted
from worker.kinds.text.picture import PictureSource


@pytest.mark.slow
def test_all_pages_of_a_tiff_file_are_read_and_made_searchable(
    job: FolderContext, tmp_path: Path, picture_of: Callable[..., Path]
) -> None:
    pages: list[Image.Image] = []
    for number in (1, 2, 3):
        path = picture_of([f"Page number {number}", "Tom&Jerry <b>"], name=f"{number}.png")
        with Image.open(path) as image:
            pages.append(image.copy())
    pages[2] = pages[2].rotate(-90, expand=True)
    pages[0].save(tmp_path / "all.tiff", save_all=True, append_images=pages[1:], dpi=(100, 100))
    result = read(job, tmp_path / "all.tiff", pages="1,3", outputs=["hocr", "pdf"])

    assert (result.page_count, result.line_count) == (3, 4)
    assert [(page.number, page.rotation) for page in result.pages] == [(1, 0), (3, 270)]
    assert [(line.page, line.text) for line in result.lines] == [
        (1, "Page number 1"),
        (1, "Tom&Jerry <b>"),
        (3, "Page number 3"),
        (3, "Tom&Jerry <b>"),
    ]
    job.assert_monotone()
    assert any(message.startswith("page 3 (2 of 2)") for _, message in job.told)

    made = pypdfium2.PdfDocument(job.path(result.pdf or FileId(int=0)))
    # Turned by the file: a reader sees it upright.
    assert [made[number].get_size() for number in (0, 1)] == [(720, 180), (720, 180)]
    for number, said in ((0, "Page number 1"), (1, "Page number 3")):
        textpage = made[number].get_textpage()
        assert textpage.get_text_range().split() == [*said.split(), "Tom&Jerry", "<b>"]
    left, bottom, right, top = made[0].get_textpage().get_charbox(0)
    letter = pages[0].crop((0, 0, 60, 90)).convert("L")
    dark = letter.point(lambda grey: 255 - grey).getbbox()
    assert dark is not None
    assert (left, 180 - top) == pytest.approx((dark[0] * 0.72, dark[1] * 0.72), abs=12)
    assert bottom < top
    assert left < right

    tree = ElementTree.fromstring(content(job, result.hocr))
    named = "{http://www.w3.org/1999/xhtml}"
    words = [span.text for span in tree.iter(f"{named}span") if span.get("class") == "ocrx_word"]
    assert " ".join(word or "" for word in words) == (
        "Page number 1 Tom&Jerry <b> Page number 3 Tom&Jerry <b>"
    )
    sizes = [
        div.get("title", "").split(";")[0]
        for div in tree.iter(f"{named}div")
        if div.get("class") == "ocr_page"
    ]
    assert sizes == ["bbox 0 0 1000 250", "bbox 0 0 250 1000"]


@pytest.mark.slow
def test_searchable_pdf_of_a_japanese_page_holds_its_characters(job: FolderContext) -> None:
    result = read(job, CASES / "vertical-japanese.png", outputs=["pdf"])
    made = pypdfium2.PdfDocument(job.path(result.pdf or FileId(int=0)))
    found = "".join(made[0].get_textpage().get_text_range().split())
    # PDFium itself orders text that runs down from the left.
    assert "吾輩は猫である名前はまだ無い" in found
    assert "どこで生れたかとんと見当が" in found
    assert "いた事だけは記憶している" in found


def test_result_of_the_previous_version_is_still_valid() -> None:
    before = {
        "width": 384,
        "height": 191,
        "line_count": 1,
        "lines": [
            {"text": "Some text", "box": [{"x": 1.0, "y": 2.0}] * 4, "confidence": 0.98},
        ],
        "text": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
        "details": "3fa85f64-5717-4562-b3fc-2c963f66afa7",
    }
    result = TextExtracted.model_validate(before)
    assert (result.page_count, result.pages, result.lines[0].page) == (1, [], 1)


FAX = (204, 98)  # dots per inch of G3 at its normal resolution


@pytest.mark.slow
@needs_dejavu
@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_searchable_pdf_of_a_fax_has_the_shape_of_its_paper(
    job: FolderContext, tmp_path: Path, orientation: int
) -> None:
    """6 x 2 inches, of which the last two are stored by columns."""
    path = draw([(60, 60, "Please call back today")], tmp_path / "fax.png", size=(612, 204))
    undone = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    dots = FAX
    with Image.open(path) as image:
        fax = image.resize((6 * FAX[0], 2 * FAX[1]), Image.Resampling.LANCZOS).convert("1")
    if orientation in undone:
        fax = fax.transpose(undone[orientation])
        dots = FAX[1], FAX[0]
    fax.save(tmp_path / "fax.tif", compression="group4", dpi=dots, tiffinfo={0x0112: orientation})
    result = read(job, tmp_path / "fax.tif", outputs=["pdf"])
    assert [squeezed(line.text) for line in result.lines] == ["Pleasecallbacktoday"]

    page = pypdfium2.PdfDocument(job.path(result.pdf or FileId(int=0)))[0]
    assert page.get_size() == pytest.approx((6 * 72, 2 * 72), abs=1)
    drawn = ImageOps.invert(page.render(scale=1).to_pil().convert("L"))
    seen = drawn.point(lambda grey: 255 * (grey > 100)).getbbox()
    assert seen is not None
    textpage = page.get_textpage()
    boxes = [textpage.get_charbox(index) for index in range(textpage.count_chars())]
    places = (
        min(box[0] for box in boxes),
        144 - max(box[3] for box in boxes),
        max(box[2] for box in boxes),
        144 - min(box[1] for box in boxes),
    )
    assert places == pytest.approx(seen, abs=9)


@pytest.mark.parametrize(
    ("stated", "used"),
    [
        ((204, 98), (204, 98)),
        ((204, 391), (204, 391)),
        ((300, 300), (300, 300)),
        ((1, 1), (150, 150)),
        ((72, 2000), (150, 150)),
        ((300, 10), (150, 150)),
    ],
)
def test_dots_per_inch_are_those_of_the_file_if_a_scanner_has_them(
    tmp_path: Path, stated: tuple[int, int], used: tuple[int, int]
) -> None:
    Image.new("L", (80, 40), 255).save(tmp_path / "scan.tif", dpi=stated)
    page = PictureSource(tmp_path / "scan.tif", 1).page(1)
    assert page.save(tmp_path / "page.jpg", lambda: None) == pytest.approx(used)
