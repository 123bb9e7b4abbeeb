"""PDF files that are damaged, encrypted or without pages."""

from pathlib import Path

import pypdfium2
import pytest

from tests.kinds_builtin.conftest import FolderContext
from tests.kinds_builtin.text import pdfs
from tests.kinds_builtin.text.documents import FOX, GOOD, lines_of, nothing, refusal
from worker.kinds.text import searchable
from worker.kinds.text.lines import Line, Page

pytestmark = pytest.mark.usefixtures("no_network")

CASES = Path(__file__).parents[1] / "cases"


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
    assert "remove the password" in error.detail


def test_a_document_for_holders_of_a_certificate_is_refused_as_such(
    job: FolderContext, tmp_path: Path
) -> None:
    known = (CASES / "owner-password.pdf").read_bytes()
    assert b"/Filter /Standard" in known
    path = tmp_path / "certificate.pdf"
    path.write_bytes(known.replace(b"/Filter /Standard", b"/Filter /Adobe.Pk"))
    error = refusal(job, path)
    assert error.code == "pdf-encrypted"
    assert "without encryption" in error.detail


def test_a_document_that_only_restricts_its_use_is_read(tmp_path: Path) -> None:
    """Its user password is empty."""
    assert lines_of(CASES / "owner-password.pdf") == [FOX]
    line = Line(FOX, ((72, 100), (300, 100), (300, 120), (72, 120)), 1.0, (0.5,) * len(FOX))
    made = tmp_path / "made.pdf"
    page = Page(1, 612, 792, "ocr", [line])
    searchable.from_pdf(CASES / "owner-password.pdf", [page], {1}, made, nothing)
    with pypdfium2.PdfDocument(made) as document:
        assert FOX in document[0].get_textpage().get_text_range()


def test_a_count_of_pages_that_lies_is_found_at_the_page(
    job: FolderContext, tmp_path: Path
) -> None:
    path = pdfs.write(tmp_path / "three.pdf", pdfs.with_pages(GOOD, 3, 1))
    error = refusal(job, path, pages="2")
    assert (error.code, "Page 2" in error.detail) == ("pdf-broken", True)
