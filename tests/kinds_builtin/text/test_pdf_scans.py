"""Scanned pages of PDF files, with or without some text of their own."""

from collections.abc import Callable
from pathlib import Path

import pypdfium2
import pytest
from PIL import Image

from tests.kinds_builtin.conftest import FolderContext
from tests.kinds_builtin.text import pdfs
from tests.kinds_builtin.text.documents import FOX, GOOD, nothing, read
from worker.kinds.text import searchable
from worker.kinds.text.lines import Line, Page, Quad
from worker.kinds.text.pdf import PdfSource

pytestmark = pytest.mark.usefixtures("no_network")

SCANNED = ["The committee met on Monday", "and approved the new budget", "for the coming year."]

BATES = pdfs.text(b"ACME-000123", b"1 0 0 1 480 20", 10)

FOOTER = pdfs.text(
    b"Generated for a reader at University College London on 2024-03-11 10:22 GMT", size=8,
    matrix=b"1 0 0 1 20 30",
) + pdfs.text(
    b"Public Domain, Google-digitized: https://example.org/access_use terms apply to this copy",
    size=8, matrix=b"1 0 0 1 20 18",
)  # fmt: skip


def scan_in_strips(
    path: Path, picture: Path, content: bytes, *, strips: int, in_form: bool = False
) -> Path:
    """A page covered by a picture that is cut into strips, with further content."""
    with Image.open(picture) as opened:
        whole = opened.convert("L")
    height = whole.height // strips
    objects = pdfs.one_page(b"")
    drawn, names = b"", b""
    for number in range(strips):
        strip = whole.crop((0, number * height, whole.width, (number + 1) * height))
        entries = b"/Type /XObject /Subtype /Image /Width %d /Height %d " % strip.size
        entries += b"/ColorSpace /DeviceGray /BitsPerComponent 8 "
        objects[10 + number] = pdfs.deflated(strip.tobytes(), entries)
        names += b"/I%d %d 0 R " % (number, 10 + number)
        place = 1 - (number + 1) / strips
        drawn += b"q 1 0 0 %f 0 %f cm /I%d Do Q " % (1 / strips, place, number)
    if in_form:
        objects[6] = pdfs.stream(
            drawn,
            b"/Type /XObject /Subtype /Form /BBox [0 0 1 1] /Resources << /XObject << %s >> >> "
            % names,
        )
        drawn, names = b"/F Do ", b"/F 6 0 R "
    objects[3] = objects[3].replace(b"/Font <<", b"/XObject << %s >> /Font <<" % names)
    objects[4] = pdfs.stream(b"q 612 0 0 792 0 0 cm " + drawn + b"Q " + content)
    return pdfs.write(path, objects)


def scan_in_pattern(path: Path, picture: Path, content: bytes) -> Path:
    """A page that is filled with a pattern of one tile, which holds the scan."""
    with Image.open(picture) as opened:
        whole = opened.convert("L")
    entries = b"/Type /XObject /Subtype /Image /Width %d /Height %d " % whole.size
    tile = (
        b"/Type /Pattern /PatternType 1 /PaintType 1 /TilingType 1 /BBox [0 0 1 1] /XStep 1 "
        b"/YStep 1 /Matrix [612 0 0 792 0 0] /Resources << /XObject << /I 6 0 R >> >> "
    )
    objects = pdfs.one_page(b"q /Pattern cs /P scn 0 0 612 792 re f Q " + content)
    objects[3] = objects[3].replace(b"/Font <<", b"/Pattern << /P 7 0 R >> /Font <<")
    objects[6] = pdfs.deflated(
        whole.tobytes(), entries + b"/ColorSpace /DeviceGray /BitsPerComponent 8 "
    )
    return pdfs.write(path, objects | {7: pdfs.stream(b"/I Do", tile)})


@pytest.fixture
def scanned(picture_of: Callable[..., Path]) -> Path:
    return picture_of(SCANNED, name="scanned.png", size=(850, 1100))


@pytest.mark.slow
def test_a_scan_becomes_searchable_and_keeps_its_page(
    job: FolderContext, tmp_path: Path, picture_of: Callable[..., Path]
) -> None:
    """A page without text of its own, turned by the file, beside one with text."""
    scan = pypdfium2.PdfDocument.new()
    jpeg = picture_of(["Alpha beta gamma", "Total 1,234.56 EUR"], name="scan.jpg")
    for rotation in (0, 90):
        picture = pypdfium2.PdfImage.new(scan)
        picture.load_jpeg(jpeg)
        picture.set_matrix(pypdfium2.PdfMatrix().scale(400, 100).translate(50, 300))
        page = scan.new_page(500, 500)
        page.insert_obj(picture)
        page.gen_content()
        page.set_rotation(rotation)
    text = pypdfium2.PdfDocument(pdfs.write(tmp_path / "text.pdf", GOOD))
    scan.import_pages(text)
    scan.save(tmp_path / "scan.pdf")

    result = read(job, tmp_path / "scan.pdf", outputs=["pdf"])
    assert [(page.source, page.rotation) for page in result.pages] == [
        ("ocr", 0),
        ("ocr", 270),
        ("text_layer", 0),
    ]
    assert result.pdf is not None
    made = pypdfium2.PdfDocument(job.path(result.pdf))
    for number in range(3):
        before = pypdfium2.PdfDocument(tmp_path / "scan.pdf")[number]
        after = made[number]
        assert after.get_size() == before.get_size()
        assert after.render().to_pil().tobytes() == before.render().to_pil().tobytes()
    for number in range(2):
        textpage = made[number].get_textpage()
        assert textpage.get_text_range().split("\r\n") == ["Alpha beta gamma", "Total 1,234.56 EUR"]
        left, bottom, right, top = textpage.get_charbox(0)
        assert 50 <= left <= right <= 75
        assert 350 <= bottom <= top <= 400
    assert made[2].get_textpage().get_text_range() == FOX


@pytest.mark.slow
def test_a_scan_with_a_stamp_is_read_as_a_picture(
    job: FolderContext, tmp_path: Path, picture_of: Callable[..., Path]
) -> None:
    stamp = pdfs.one_page(pdfs.text(b"Exhibit 12", b"1 0 0 1 72 60"))
    scan = pypdfium2.PdfDocument(pdfs.write(tmp_path / "stamp.pdf", stamp))
    lines = ["Alpha beta gamma", "Second line of the scan"]
    picture = pypdfium2.PdfImage.new(scan)
    picture.load_jpeg(picture_of(lines, name="scan.jpg", size=(1000, 1000)))
    picture.set_matrix(pypdfium2.PdfMatrix().scale(612, 612).translate(0, 180))
    page = scan[0]
    page.insert_obj(picture)
    page.gen_content()
    scan.save(tmp_path / "scan.pdf")
    result = read(job, tmp_path / "scan.pdf")
    assert result.pages[0].source == "ocr"
    assert [line.text for line in result.lines] == [*lines, "Exhibit 12"]


@pytest.mark.parametrize("in_form", [False, True])
@pytest.mark.parametrize("strips", [1, 4, 100])
def test_strips_of_a_scan_cover_the_page_together(
    tmp_path: Path, scanned: Path, strips: int, in_form: bool
) -> None:
    path = tmp_path / "scan.pdf"
    scan_in_strips(path, scanned, BATES, strips=strips, in_form=in_form)
    source = PdfSource(path, nothing)
    page = source.page(1, nothing)
    assert page.pictures() == pytest.approx(1, abs=0.05)
    page.close()
    source.close()


def test_pictures_outside_the_page_cover_nothing_of_it(tmp_path: Path) -> None:
    pixel = pdfs.stream(
        b"\0", b"/Type /XObject /Subtype /Image /Width 1 /Height 1 /ColorSpace /DeviceGray "
        b"/BitsPerComponent 8 "
    )  # fmt: skip
    inside = b"q 306 0 0 396 0 0 cm /I Do Q "
    outside = b"q 612 0 0 792 700 0 cm /I Do Q q 1e30 0 0 792 -1e30 800 cm /I Do Q "
    objects = pdfs.with_picture(pdfs.one_page(inside + outside), pixel)
    source = PdfSource(pdfs.write(tmp_path / "outside.pdf", objects), nothing)
    page = source.page(1, nothing)
    assert page.pictures() == pytest.approx(0.25, abs=0.02)
    page.close()
    source.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "strips", "said"),
    [(BATES, 4, ["ACME-000123"]), (FOOTER, 1, []), (FOOTER, 4, [])],
    ids=["number", "footer", "footer on strips"],
)
def test_a_scan_is_read_although_its_page_has_some_text(
    job: FolderContext, tmp_path: Path, scanned: Path, content: bytes, strips: int, said: list[str]
) -> None:
    path = scan_in_strips(tmp_path / "scan.pdf", scanned, content, strips=strips)
    result = read(job, path)
    assert result.pages[0].source == "ocr"
    lines = [line.text for line in result.lines]
    assert lines[:3] == SCANNED
    assert set(said) <= set(lines)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["form", "pattern"])
def test_a_scan_in_a_form_or_a_pattern_is_read_although_its_page_has_a_stamp(
    job: FolderContext, tmp_path: Path, scanned: Path, way: str
) -> None:
    path = tmp_path / "scan.pdf"
    if way == "form":
        scan_in_strips(path, scanned, BATES, strips=1, in_form=True)
    else:
        scan_in_pattern(path, scanned, BATES)
    lines = [line.text for line in read(job, path).lines]
    assert lines == [*SCANNED, "ACME-000123"]


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", BATES], ids=["", "with a number"])
def test_a_scan_whose_text_is_complete_is_not_read_again(
    job: FolderContext, tmp_path: Path, scanned: Path, content: bytes
) -> None:
    """The layer that text recognition left: invisible, where the picture shows the lines."""
    layer = b"3 Tr "
    for number, line in enumerate(SCANNED):
        place = b"1 0 0 1 22 %d" % (792 - (30 + 45 + 90 * number) * 0.72)
        layer += pdfs.text(line.encode(), place, 36)
    path = scan_in_strips(tmp_path / "scan.pdf", scanned, layer + content, strips=4)
    result = read(job, path)
    assert result.pages[0].source == "text_layer"
    assert [line.text for line in result.lines][:3] == SCANNED


@pytest.mark.parametrize("kids", [b"3 0 R 3 0 R", b"3 0 R 6 0 R", b"3 0 R 7 0 R 3 0 R"])
def test_text_of_a_page_that_is_listed_twice_is_not_doubled(tmp_path: Path, kids: bytes) -> None:
    """Object 6 is a page with the content of page 3, object 7 one with content of its own."""
    objects = pdfs.one_page(b"")
    objects[3] = objects[3].replace(b"4 0 R", b"9 0 R")
    objects |= {
        2: b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, kids.count(b"R")),
        6: objects[3],
        7: objects[3].replace(b"9 0 R", b"10 0 R"),
        9: b"[4 0 R]",
        10: pdfs.stream(b""),
    }
    source = pdfs.write(tmp_path / "twice.pdf", objects)
    box: Quad = ((72, 100), (300, 100), (300, 120), (72, 120))
    places = tuple((index + 0.5) / len(FOX) for index in range(len(FOX)))
    count = kids.count(b"R")
    pages = [
        Page(number, 612, 792, "ocr", [Line(FOX, box, 1.0, places)])
        for number in range(1, count + 1)
    ]
    target = tmp_path / "made.pdf"
    searchable.from_pdf(source, pages, set(range(1, count + 1)), target, nothing)
    with pypdfium2.PdfDocument(target) as document:
        for page in document:
            assert page.get_textpage().get_text_range() == FOX
            assert len(list(page.get_objects())) == len(FOX.split())
