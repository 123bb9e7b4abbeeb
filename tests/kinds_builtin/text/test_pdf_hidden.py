"""Text of PDF pages that nobody sees: it is not part of the result."""

from pathlib import Path

import pypdfium2
import pytest

from tests.kinds_builtin.text import pdfs
from tests.kinds_builtin.text.documents import FOX, lines_of, mapped

pytestmark = pytest.mark.usefixtures("no_network")

SHOWN = pdfs.text(pdfs.FOX)
OTHER = pdfs.text(b"some further words", b"1 0 0 1 72 500")
FORM = b"/Type /XObject /Subtype /Form /BBox [0 0 612 792] /Resources << /Font << /F1 5 0 R >> >> "
PIXEL = pdfs.deflated(
    b"\0", b"/Type /XObject /Subtype /Image /Width 1 /Height 1 /BitsPerComponent 8 "
    b"/ColorSpace /DeviceGray "
)  # fmt: skip


def with_layers(content: bytes, form: bytes = b"") -> pdfs.Objects:
    """A page with a layer /Off that is switched off, and a layer /On that is not."""
    objects = pdfs.one_page(content)
    objects[1] = (
        b"<< /Type /Catalog /Pages 2 0 R /OCProperties << /OCGs [6 0 R 7 0 R] "
        b"/D << /OFF [6 0 R] /Order [6 0 R 7 0 R] >> >> >>"
    )
    objects[3] = objects[3].replace(
        b"/Font <<",
        b"/Properties << /Off 6 0 R /On 7 0 R >> /XObject << /F 8 0 R /I 9 0 R >> /Font <<",
    )
    return objects | {
        6: b"<< /Type /OCG /Name (Off) >>",
        7: b"<< /Type /OCG /Name (On) >>",
        8: pdfs.stream(OTHER, FORM + form),
        9: PIXEL,
    }


COVER = b"q 612 0 0 792 0 0 cm /I Do Q "


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (b"/OC /Off BDC " + OTHER + b"EMC ", b""),
        (b"/OC /On BDC /OC /Off BDC " + OTHER + b"EMC EMC ", b""),
        (b"/F Do ", b"/OC 6 0 R "),
        (b"q 0 0 50 50 re W n " + OTHER + b"Q ", b""),
        (b"q 0 0 50 50 re W n /F Do Q ", b""),
        (b"q 0 0 50 50 re W n 3 0 0 3 0 -1000 cm " + OTHER + b"Q ", b""),
    ],
    ids=["layer", "layer in a layer", "form on a layer", "clip", "form under a clip", "scaled"],
)
def test_text_that_the_page_does_not_show_is_left_out(
    tmp_path: Path, content: bytes, form: bytes
) -> None:
    path = pdfs.write(tmp_path / "hidden.pdf", with_layers(SHOWN + content, form))
    with pypdfium2.PdfDocument(path) as document:
        textpage = document[0].get_textpage()
        assert "further" in textpage.get_text_range()
        textpage.close()
    assert lines_of(path) == [FOX]


@pytest.mark.parametrize(
    "content",
    [
        b"/OC /On BDC " + OTHER + b"EMC ",
        b"/F Do ",
        b"q 60 400 500 200 re W n " + OTHER + b"Q ",
        b"1 g " + OTHER,
        b"3 Tr " + OTHER,
        OTHER + COVER,
        COVER + b"1 g " + OTHER,
        b"/Artifact <</Type /Pagination>> BDC " + OTHER + b"EMC ",
    ],
    ids=["layer", "form", "clip", "white", "invisible", "under a picture", "on black", "marked"],
)
def test_text_that_the_page_shows_or_that_stands_behind_its_picture_is_kept(
    tmp_path: Path, content: bytes
) -> None:
    path = pdfs.write(tmp_path / "shown.pdf", with_layers(SHOWN + content))
    assert lines_of(path) == [FOX, "some further words"]


def test_a_page_with_hidden_text_alone_has_no_lines(tmp_path: Path) -> None:
    path = pdfs.write(tmp_path / "off.pdf", with_layers(b"/OC /Off BDC " + OTHER + b"EMC "))
    assert lines_of(path) == []


def test_text_of_a_font_without_glyphs_is_kept(tmp_path: Path) -> None:
    """The glyphs of a Type 3 font may be empty, as in some layers of text recognition."""
    font = (
        b"<< /Type /Font /Subtype /Type3 /FontBBox [0 0 1000 1000] /FontMatrix [.001 0 0 .001 0 0] "
        b"/FirstChar 97 /LastChar 98 /Widths [500 500] /CharProcs << /a 8 0 R /b 8 0 R >> "
        b"/Encoding << /Type /Encoding /Differences [97 /a /b] >> /ToUnicode 7 0 R >>"
    )
    objects = mapped(b"ab", "ab", pdfs.text(b"abba"))
    objects |= {5: font, 8: pdfs.stream(b"500 0 d0 ")}
    assert lines_of(pdfs.write(tmp_path / "empty.pdf", objects)) == ["abba"]
