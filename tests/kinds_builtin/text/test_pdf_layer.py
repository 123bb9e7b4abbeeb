"""The text layer of a PDF page: its characters, lines and places."""

from pathlib import Path

import pypdfium2
import pytest

from tests.kinds_builtin.text import pdfs
from tests.kinds_builtin.text.documents import FOX, layer_of, lines_of, mapped, nothing
from worker.kinds.text.pdf import PdfSource

pytestmark = pytest.mark.usefixtures("no_network")


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
