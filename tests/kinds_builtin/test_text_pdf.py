"""PDF files: opening them, their text layers, and the pages of bombs."""

import socket
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pypdfium2
import pytest
from PIL import Image

from app.jobs import JobCancelled, JobError
from tests.kinds_builtin import pdfs
from tests.kinds_builtin.conftest import FolderContext
from worker.kinds.text import TextExtract, TextExtracted, extract
from worker.kinds.text.layers import read_layer
from worker.kinds.text.pdf import Layer, PdfSource

CASES = Path(__file__).parent / "cases"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> NoReturn:
        raise AssertionError(f"dialled out: {args[1:]}")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)


def nothing() -> None:
    """Nobody cancels."""


def read(job: FolderContext, path: Path, **options: object) -> TextExtracted:
    return extract(TextExtract.model_validate({"source": job.give(path), **options}), job)


def refusal(job: FolderContext, path: Path, **options: object) -> JobError:
    with pytest.raises(JobError) as caught:
        read(job, path, **options)
    assert not caught.value.retryable
    assert str(path.parent) not in caught.value.detail
    return caught.value


def layer_of(path: Path, number: int = 1) -> Layer:
    source = PdfSource(path, nothing)
    page = source.page(number, nothing)
    try:
        return page.layer(nothing)
    finally:
        page.close()
        source.close()


def lines_of(path: Path) -> list[str]:
    source = PdfSource(path, nothing)
    page = source.page(1, nothing)
    try:
        return [line.text for line in read_layer(page, page.layer(nothing)).lines]
    finally:
        page.close()
        source.close()


FOX = pdfs.FOX.decode()
GOOD = pdfs.one_page(pdfs.text(pdfs.FOX))


@pytest.mark.parametrize(
    ("name", "objects", "code", "said"),
    [
        ("no pages", pdfs.with_pages(GOOD, 0, 0), "pdf-broken", "no pages"),
        ("a page tree in a loop", GOOD | {2: b"<< /Type /Pages /Kids [2 0 R] /Count 1 >>"},
         "pdf-broken", "Page 1"),
        ("100,000 pages", pdfs.with_pages(GOOD, 100_000, 100_000), "too-many-pages", "100,000"),
        ("a strip", pdfs.one_page(pdfs.text(pdfs.FOX), box=b"[0 0 14400 2]"),
         "pdf-page-too-small", "14400 x 2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_document_that_can_not_be_read_is_refused(
    job: FolderContext, tmp_path: Path, name: str, objects: pdfs.Objects, code: str, said: str
) -> None:
    error = refusal(job, pdfs.write(tmp_path / "some.pdf", objects), text_layer="ignore")
    assert error.code == code
    assert said in error.detail


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_a_document_cut_short_is_refused(job: FolderContext, tmp_path: Path, share: float) -> None:
    whole = pdfs.write(tmp_path / "whole.pdf", GOOD).read_bytes()
    (tmp_path / "cut.pdf").write_bytes(whole[: int(len(whole) * share)])
    assert refusal(job, tmp_path / "cut.pdf").code == "pdf-broken"


def test_a_document_with_a_password_is_refused_as_such(job: FolderContext) -> None:
    error = refusal(job, CASES / "encrypted.pdf")
    assert error.code == "pdf-encrypted"
    assert "password" in error.detail


def test_a_document_that_only_restricts_its_use_is_read() -> None:
    assert lines_of(CASES / "owner-password.pdf") == [FOX]


def test_a_count_of_pages_that_lies_is_found_at_the_page(
    job: FolderContext, tmp_path: Path
) -> None:
    path = pdfs.write(tmp_path / "three.pdf", pdfs.with_pages(GOOD, 3, 1))
    error = refusal(job, path, pages="2")
    assert (error.code, "Page 2" in error.detail) == ("pdf-broken", True)


BOMB = b"0 0 1 1 re f " * 1_300_000


@pytest.mark.parametrize(
    "drawing",
    [
        pdfs.deflated(BOMB),
        pdfs.stream(zlib.compress(zlib.compress(BOMB)), b"/Filter [/FlateDecode /FlateDecode] "),
        pdfs.stream(zlib.compress(BOMB), b"/Filter 6 0 R "),
    ],
    ids=["deflate", "deflate twice", "a filter that is named elsewhere"],
)
def test_a_drawing_that_inflates_beyond_the_limit_is_refused(
    job: FolderContext, tmp_path: Path, drawing: bytes
) -> None:
    objects = pdfs.one_page(drawing) | {6: b"/FlateDecode"}
    path = pdfs.write(tmp_path / "bomb.pdf", objects)
    assert path.stat().st_size < 100_000
    assert refusal(job, path).code == "pdf-page-too-large"


def test_a_large_picture_inside_a_page_is_refused(job: FolderContext, tmp_path: Path) -> None:
    entries = (
        b"/Type /XObject /Subtype /Image /Width 30000 /Height 30000 /BitsPerComponent 8 "
        b"/ColorSpace /DeviceRGB "
    )
    content = pdfs.one_page(b"q 612 0 0 792 0 0 cm /I Do Q")
    objects = pdfs.with_picture(content, pdfs.deflated(bytes(100_000), entries))
    error = refusal(job, pdfs.write(tmp_path / "large.pdf", objects))
    assert error.code == "pdf-page-too-large"
    assert "30000 x 30000" in error.detail


@pytest.mark.parametrize(
    ("matrix", "rotate", "turn"),
    [
        (b"1 0 0 1 72 700", 0, 0),
        (b"1 0 0 1 72 700", 90, 270),
        (b"1 0 0 1 72 700", 180, 180),
        (b"1 0 0 1 72 700", 270, 90),
        (b"0 1 -1 0 300 72", 0, 90),
        (b"0 -1 1 0 300 720", 0, 270),
        (b"0 -1 1 0 300 720", 270, 0),
        (b"0 1 -1 0 300 72", 90, 0),
    ],
)
def test_text_is_where_the_page_shows_it(
    tmp_path: Path, matrix: bytes, rotate: int, turn: int
) -> None:
    """Compared with the ink of the drawn page."""
    objects = pdfs.one_page(pdfs.text(pdfs.FOX, matrix), entries=b"/Rotate %d " % rotate)
    path = pdfs.write(tmp_path / "page.pdf", objects)
    (line,) = layer_of(path).lines
    assert (line.line.text, line.turn) == (FOX, turn)

    page = pypdfium2.PdfDocument(path)[0]
    picture = page.render(scale=1, grayscale=True).to_pil().point(lambda grey: 255 - grey)
    left, top, right, bottom = picture.getbbox()
    across, down = zip(*line.line.box, strict=True)
    # The box of a line reaches from the font's ascent to its descent.
    assert min(across) - 1 <= left
    assert right <= max(across) + 1
    assert min(down) - 1 <= top
    assert bottom <= max(down) + 1
    assert max(right - left, bottom - top) == pytest.approx(
        max(max(across) - min(across), max(down) - min(down)), abs=5
    )
    # The first corner is the line's own top left.
    first, second, _, last = line.line.box
    match turn:
        case 0:
            assert (first[1], first[0]) == (second[1], last[0])
            assert first[0] < second[0]
        case 90:
            assert first[1] > second[1]
            assert first[0] < last[0]
        case 180:
            assert first[0] > second[0]
        case _:
            assert first[1] < second[1]
            assert first[0] > last[0]


def test_text_outside_the_crop_box_is_not_on_the_page(tmp_path: Path) -> None:
    content = pdfs.text(pdfs.FOX) + pdfs.text(b"outside", b"1 0 0 1 10 10", 12)
    objects = pdfs.one_page(content, entries=b"/CropBox [50 600 600 750] ")
    path = pdfs.write(tmp_path / "cropped.pdf", objects)
    source = PdfSource(path, nothing)
    page = source.page(1, nothing)
    assert (page.width, page.height) == (550, 150)
    page.close()
    source.close()
    assert lines_of(path) == [FOX]


def test_columns_that_are_drawn_row_by_row_are_read_column_by_column(tmp_path: Path) -> None:
    left = [b"the first column has quite long lines", b"which go on and on to the right"]
    right = [b"while the second one begins here and", b"ends with this line of the same page"]
    content = b""
    for row in range(4):
        for x, words in ((50, left), (320, right)):
            place = b"1 0 0 1 %d %d" % (x, 700 - 16 * row)
            content += pdfs.text(b"%d %s" % (row, words[row % 2]), place, 12)
    path = pdfs.write(tmp_path / "columns.pdf", pdfs.one_page(content))
    read_lines = lines_of(path)
    assert [line[:5] for line in read_lines] == [
        "0 the", "1 whi", "2 the", "3 whi", "0 whi", "1 end", "2 whi", "3 end",
    ]  # fmt: skip


def test_form_fields_and_annotations_are_text_of_the_page(tmp_path: Path) -> None:
    form = (
        b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [6 0 R] /NeedAppearances true "
        b"/DA (/F1 12 Tf 0 g) /DR << /Font << /F1 5 0 R >> >> >> >>"
    )
    field = (
        b"<< /Type /Annot /Subtype /Widget /FT /Tx /T (name) /V (Typed into the field) "
        b"/Rect [72 500 400 530] /F 4 /DA (/F1 14 Tf 0 g) /P 3 0 R >>"
    )
    note = b"<< /Type /Annot /Subtype /FreeText /Rect [72 400 400 430] /F 4 /AP << /N 8 0 R >> >>"
    shown = pdfs.stream(
        b"BT /F1 14 Tf 2 8 Td (A note on the page) Tj ET",
        b"/Type /XObject /Subtype /Form /BBox [0 0 328 30] /Resources << /Font << /F1 5 0 R >> >> ",
    )
    objects = pdfs.one_page(pdfs.text(pdfs.FOX), entries=b"/Annots [6 0 R 7 0 R] ")
    path = pdfs.write(tmp_path / "form.pdf", objects | {1: form, 6: field, 7: note, 8: shown})
    assert lines_of(path) == [FOX, "Typed into the field", "A note on the page"]


def test_a_page_of_any_size_is_drawn_within_the_resolution(tmp_path: Path) -> None:
    for box, size in ((b"[0 0 1000000 500000]", (320, 160)), (b"[0 0 72 36]", (300, 150))):
        path = pdfs.write(tmp_path / "page.pdf", pdfs.one_page(pdfs.text(pdfs.FOX), box=box))
        source = PdfSource(path, nothing)
        page = source.page(1, nothing)
        height, width, channels = page.pixels(320, nothing).shape
        page.close()
        source.close()
        assert (width, height, channels) == (*size, 3)


def test_drawing_a_page_stops_when_the_job_does(tmp_path: Path) -> None:
    """Some seconds of drawing, in many steps."""
    circle = b"300 400 m 900 900 -300 900 300 400 c " * 6
    drawing = pdfs.deflated((circle + b"f* ") * 5000)
    path = pdfs.write(tmp_path / "slow.pdf", pdfs.one_page(drawing))

    def cancel() -> None:
        raise JobCancelled

    source = PdfSource(path, nothing)
    page = source.page(1, nothing)
    with pytest.raises(JobCancelled):
        page.pixels(3000, cancel)
    page.close()
    source.close()


# --- with the recogniser ----------------------------------------------------------------------


@pytest.mark.slow
def test_a_text_layer_that_agrees_with_the_page_is_used(job: FolderContext, tmp_path: Path) -> None:
    path = pdfs.write(tmp_path / "text.pdf", pdfs.with_pages(GOOD, 3, 3))
    result = read(job, path, pages="1,3", text_layer="require", outputs=["text", "hocr"])
    assert [(page.number, page.source) for page in result.pages] == [
        (1, "text_layer"),
        (3, "text_layer"),
    ]
    assert result.page_count == 3
    assert [(line.page, line.text, line.confidence) for line in result.lines] == [
        (1, FOX, 1),
        (3, FOX, 1),
    ]
    assert result.text is not None
    assert job.path(result.text).read_text("utf-8") == f"{FOX}\n\f{FOX}\n"
    assert result.details is None
    job.assert_monotone()


def mapped(codes: bytes, said: str, content: bytes | None = None) -> pdfs.Objects:
    """A page whose font gives these codes these characters, whatever their glyphs look like."""
    table = b" ".join(
        b"<%02X> <%s>" % (code, character.encode("utf-16-be").hex().encode())
        for code, character in dict(zip(codes, said, strict=True)).items()
    )
    cmap = (
        b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def "
        b"1 begincodespacerange <00> <FF> endcodespacerange "
        b"%d beginbfchar %s endbfchar endcmap end end" % (len(set(codes)), table)
    )
    font = pdfs.FONT.replace(b">>", b"/ToUnicode 7 0 R >>")
    page = pdfs.one_page(pdfs.text(codes) if content is None else content)
    return page | {5: font, 7: pdfs.stream(cmap)}


@pytest.mark.parametrize(
    ("codes", "said", "expected"),
    [
        (b"A well known state", "A\xa0well\xa0known\xa0state", "A well known state"),
        (b"10 000 francs", "10\xa0000\xa0francs", "10 000 francs"),
        (b"A well-known matter", "A well\xadknown matter", "A well-known matter"),
        (b"zero-width joiner", "zero\u200cwidth joiner", "zero\u200cwidth joiner"),
        (b"private-use sign", "private\ue123use sign", "private\ufffduse sign"),
        (b"private-use sign", "private\U000f0001use sign", "private\ufffduse sign"),
    ],
)
def test_unusual_spaces_and_hyphens_are_kept(
    tmp_path: Path, codes: bytes, said: str, expected: str
) -> None:
    assert lines_of(pdfs.write(tmp_path / "signs.pdf", mapped(codes, said))) == [expected]


HEBREW = "שלום עולם זה טקסט בעברית"


@pytest.mark.parametrize(
    "logical",
    [HEBREW, "שנת 2024 טובה", "תוכנת LibreOffice חופשית"],
    ids=["plain", "number", "Latin word"],
)
def test_line_from_right_to_left_is_one_line_in_the_order_of_reading(
    tmp_path: Path, logical: str
) -> None:
    """Files have the glyphs of such a line from left to right."""
    words = [word if word.isascii() else word[::-1] for word in logical.split()]
    visual = " ".join(reversed(words))
    letters = {character: 0xC0 + i for i, character in enumerate(sorted(set(HEBREW + logical)))}
    codes = bytes(code if ord(c) > 0x100 else ord(c) for c in visual for code in [letters[c]])
    table = dict(zip(codes, visual, strict=True))
    content = b"BT /F1 20 Tf 1 0 0 1 72 700 Tm <%s> Tj ET " % codes.hex().encode()
    objects = mapped(bytes(table), "".join(table.values()), content)
    layer = layer_of(pdfs.write(tmp_path / "right.pdf", objects))
    assert [line.line.text for line in layer.lines] == [logical]
    (line,) = layer.lines
    parts = list(line.line.words())
    assert [part.text for part in parts] == logical.split()
    starts = [part.box[0][0] for part in parts]
    assert starts == sorted(starts, reverse=True)
    assert all(part.box[0][0] < part.box[1][0] for part in parts)


def test_columns_from_right_to_left_stay_apart(tmp_path: Path) -> None:
    codes, said = bytes(range(0x41, 0x5B)), "אבגדהוזחטיכלמנסעפצקרשתךםןף"
    content = pdfs.text(codes[::-1][:12], b"1 0 0 1 350 700", 12)
    content += pdfs.text(codes[::-1][12:], b"1 0 0 1 72 700", 12)
    path = pdfs.write(tmp_path / "columns.pdf", mapped(codes, said, content))
    assert len(lines_of(path)) == 2


def test_word_from_right_to_left_inside_another_line_is_part_of_it(tmp_path: Path) -> None:
    said = "See םולש here"
    codes = bytes(ord(c) if ord(c) < 128 else 0xC0 + ord(c) - 0x5D0 for c in said)
    table = dict(zip(codes, said, strict=True))
    content = b"BT /F1 20 Tf 1 0 0 1 72 700 Tm <%s> Tj ET " % codes.hex().encode()
    objects = mapped(bytes(table), "".join(table.values()), content)
    assert lines_of(pdfs.write(tmp_path / "mixed.pdf", objects)) == ["See שלום here"]


@pytest.mark.slow
def test_vertical_text_of_a_layer_is_read_as_a_picture(job: FolderContext, tmp_path: Path) -> None:
    columns = ["日本語の文章は縦に書く", "右から左へ行が進む事に"]
    said = "".join(dict.fromkeys("".join(columns)))
    codes = bytes(0x41 + index for index in range(len(said)))
    content = b""
    for x, column in zip((500, 460), columns, strict=True):
        for row, character in enumerate(column):
            place = b"1 0 0 1 %d %d" % (x, 700 - 24 * row)
            content += pdfs.text(bytes([codes[said.index(character)]]), place, 20)
    path = pdfs.write(tmp_path / "vertical.pdf", mapped(codes, said, content))
    assert read(job, path).pages[0].source == "ocr"


def shifted() -> pdfs.Objects:
    """A font whose table of characters says another letter for each."""
    cmap = (
        b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapType 2 def "
        b"1 begincodespacerange <00> <FF> endcodespacerange "
        b"1 beginbfrange <41> <7A> <4E00> endbfrange endcmap end end"
    )
    font = pdfs.FONT.replace(b">>", b"/ToUnicode 7 0 R >>")
    return GOOD | {5: font, 7: pdfs.stream(cmap)}


@pytest.mark.slow
def test_a_text_layer_with_wrong_characters_is_not_believed(
    job: FolderContext, tmp_path: Path
) -> None:
    path = pdfs.write(tmp_path / "wrong.pdf", shifted())
    assert FOX not in lines_of(path)
    result = read(job, path)
    assert result.pages[0].source == "ocr"
    assert [line.text for line in result.lines] == [FOX]
    assert refusal(job, path, text_layer="require").code == "text-layer-missing"


@pytest.mark.slow
@pytest.mark.parametrize("name", [b"/Helvetica", None])
def test_a_font_of_the_same_name_on_another_page_is_looked_at(
    job: FolderContext, tmp_path: Path, name: bytes | None
) -> None:
    """As in a merged document: the page after the first has another font with the name."""
    wrong = shifted()
    objects = GOOD | {
        2: b"<< /Type /Pages /Kids [3 0 R 8 0 R] /Count 2 >>",
        7: wrong[7],
        8: wrong[3].replace(b"/F1 5 0 R", b"/F1 9 0 R"),
        9: wrong[5] if name else wrong[5].replace(b"/BaseFont /Helvetica", b""),
    }
    if not name:
        objects[5] = objects[5].replace(b"/BaseFont /Helvetica", b"")
    result = read(job, pdfs.write(tmp_path / "merged.pdf", objects))
    assert [page.source for page in result.pages] == ["text_layer", "ocr"]


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


@pytest.fixture
def scanned(picture_of: Callable[..., Path]) -> Path:
    return picture_of(SCANNED, name="scanned.png", size=(850, 1100))


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


HOSTILE = """
import os
import sys
from pathlib import Path
from app.jobs import JobError
from tests.kinds_builtin.conftest import FolderContext
from worker.kinds.text import TextExtract, extract, pdf

pdf.PATIENCE = 2.0
job = FolderContext(Path(sys.argv[2]))
spec = TextExtract.model_validate({"source": job.give(Path(sys.argv[1]))})
try:
    extract(spec, job)
except JobError as error:
    print(error.code, error.detail, flush=True)
# As a worker's child ends: without clearing up what the thread still uses.
os._exit(0)
"""


@pytest.mark.slow
def test_a_page_that_is_never_drawn_fails_the_job(tmp_path: Path) -> None:
    """A form that draws a form ten times, which draws another ten times, twelve levels deep."""
    depth = 12
    page = pdfs.one_page(b"/X Do")
    forms = {
        10 + level: pdfs.stream(
            b"/X Do " * 10,
            b"/Type /XObject /Subtype /Form /BBox [0 0 612 792] "
            b"/Resources << /XObject << /X %d 0 R >> >> " % (11 + level),
        )
        for level in range(depth)
    }
    last = pdfs.stream(b"0 0 9 9 re f ", b"/Type /XObject /Subtype /Form /BBox [0 0 612 792] ")
    resources = page[3].replace(b"/Font <<", b"/XObject << /X 10 0 R >> /Font <<")
    path = pdfs.write(tmp_path / "forms.pdf", page | {3: resources, 10 + depth: last} | forms)
    # In a process of its own: the thread that draws runs on.
    done = subprocess.run(
        [sys.executable, "-c", HOSTILE, path, tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("pdf-page-too-slow Page 1 of the PDF file takes more than 2 s")
