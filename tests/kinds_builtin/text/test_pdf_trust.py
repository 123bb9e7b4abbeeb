"""Whether the text layer of a page is used, or its picture is read."""

from pathlib import Path

import pytest

from tests.kinds_builtin.conftest import FolderContext
from tests.kinds_builtin.text import pdfs
from tests.kinds_builtin.text.documents import FOX, GOOD, lines_of, mapped, read, refusal

pytestmark = pytest.mark.usefixtures("no_network")


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
