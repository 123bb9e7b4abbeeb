"""Reading PDF files with the kind, and with parts of it."""

from pathlib import Path

import pytest

from app.jobs import JobError
from tests.kinds_builtin.conftest import FolderContext
from tests.kinds_builtin.text import pdfs
from worker.kinds.text import TextExtract, TextExtracted, extract
from worker.kinds.text.layers import read_layer
from worker.kinds.text.pdf import Layer, PdfSource

FOX = pdfs.FOX.decode()

GOOD = pdfs.one_page(pdfs.text(pdfs.FOX))


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
        return [line.text for line in read_layer(page, page.layer(nothing), nothing).lines]
    finally:
        page.close()
        source.close()


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
