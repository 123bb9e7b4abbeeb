"""What a file is called, and what it is."""

import puremagic
import pytest
from pydantic import TypeAdapter, ValidationError

from app.api.content import requested_range
from app.core.errors import RangeNotSatisfiable
from app.schemas.file import FileName
from app.services.content_type import HEAD, served, sniff

NAME: TypeAdapter[str] = TypeAdapter(FileName)


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "é 😀.png",
        ".bashrc",
        "a..b",
        "%2e%2e",
        "x" * 255,
        "é" * 127,
        "全角\u3000.csv",
        "console",
    ],
)
def test_names(name: str) -> None:
    assert NAME.validate_python(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "a/b", "a\\b", "a\nb", "a\x00b", "exe\u202egpj", "\ud800", "x" * 256),
        *("é" * 128, "😀" * 64, "a\x7fb", "a\x85b", "a\u2028b", "NUL", "com1.txt", "aux .csv"),
    ],
)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValidationError):
        NAME.validate_python(name)


@pytest.mark.parametrize(
    ("head", "name", "content_type"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "evil.html", "image/png"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(20), "x", "image/jpeg"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "x", "image/webp"),
        (b"\0\0\0\x20ftypavif" + bytes(20), "x", "image/avif"),
        (b"PAR1" + bytes(20), "x.csv", "application/vnd.apache.parquet"),
        (b"%PDF-1.7\n%\xe2\xe3", "x", "application/pdf"),
        (b"PK\3\4" + bytes(20), "x.docx", "application/zip"),
        ("näh,b\n".encode(), "x.CSV", "text/csv"),
        ("näh,b\n".encode("latin-1"), "x.csv", "application/octet-stream"),
        ("ää".encode()[:-1], "cut inside a character", "text/plain"),
        (b"<html><script>", "x.html", "text/plain"),
        (b"a\0b", "x.csv", "application/octet-stream"),
        (b"\xfe\xed\xbe\xef" * 10, "x", "application/octet-stream"),
        (b"", "x", "text/plain"),
        (b"a" * HEAD + b"\0", "only the head counts", "text/plain"),
    ],
)
def test_content_types(head: bytes, name: str, content_type: str) -> None:
    assert sniff(head, name) == content_type


PAGES = (
    b"<!DOCTYPE html><script>alert(1)</script>",
    b"<html><script>alert(1)</script></html>",
    b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    b"<?xml version='1.0'?><?xml-stylesheet href='x' type='text/xsl'?><x/>",
    b"<script>alert(1)</script>",
    b"<!-- --><body onload=alert(1)>",
)
BEFORE = (b"", *(bytes([n]) for n in range(33)), b"\x7f", b"\x80", b"\xef\xbb\xbf", b"\xff\xfe",
          b"\xfe\xff", b"  \r\n\t", b"\x0c", b"<!-- c -->\n", b"\0" * 64)  # fmt: skip


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("name", ["x.html", "x.svg", "x.xml", "x"])
def test_a_page_is_never_one_whatever_stands_before_it(page: bytes, name: str) -> None:
    for before in BEFORE:
        for content in (before + page, page[:6] + before + page[6:], page + before):
            found = sniff(content, name)
            assert found in ("text/plain", "application/octet-stream"), content
        # Two bytes a letter.
        wide = before + page.decode().encode("utf-16-le")
        assert sniff(wide, name) in ("text/plain", "application/octet-stream"), wide


def test_all_that_the_library_knows_is_passive_or_unknown() -> None:
    heads = {
        magic.byte_match + bytes(64)
        for magic in (*puremagic.magic_header_array, *puremagic.magic_footer_array)
    }
    assert len(heads) > 500
    found = {sniff(head, "x") for head in heads}
    assert "image/png" in found
    assert {content_type for content_type in found if served(content_type) != content_type} == set()


@pytest.mark.parametrize(
    ("content_type", "sent"),
    [
        ("image/png", "image/png"),
        ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        ("text/csv", "text/csv"),
        ("application/vnd.apache.parquet", "application/vnd.apache.parquet"),
        ("application/vnd.company.model+json", "application/vnd.company.model+json"),
        *((active, "application/octet-stream") for active in (
            "text/html", "TEXT/HTML", "text/html; charset=utf-8", "text/html\n", " text/html",
            "image/svg+xml", "application/xhtml+xml", "application/xml", "text/xml",
            "application/vnd.mozilla.xul+xml", "text/javascript", "application/x-shockwave-flash",
            "application/mathml+xml", "text/xsl", "multipart/x-mixed-replace; boundary=x",
            "text/css", "message/rfc822", "image/png, text/html", "image/png\r\nX: y", "", "*/*",
        )),
    ],
)  # fmt: skip
def test_a_file_is_sent_as_its_own_type_only_if_that_is_passive(
    content_type: str, sent: str
) -> None:
    assert served(content_type) == sent


def test_a_library_that_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """puremagic 2 answers so, where 1 raises."""
    monkeypatch.setattr(puremagic, "magic_string", lambda head: [])
    assert sniff(b"\xfe\xed\xbe\xef", "x") == "application/octet-stream"


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, None),
        ("bytes=0-9", (0, 10)),
        ("bytes=0-0", (0, 1)),
        ("Bytes=3-", (3, 10)),
        ("bytes=3-999", (3, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        # None of ours: the whole file, as RFC 9110, section 14.2, lets a server answer.
        ("bytes=-", None),
        ("bytes=5-3", None),
        ("bytes=0-1,3-4", None),
        ("lines=1-2", None),
        ("bytes=a-b", None),
        # A size has 19 digits at most; int() refuses 4,301.
        (f"bytes=0-{'9' * 19}", (0, 10)),
        (f"bytes=-{'9' * 19}", (0, 10)),
        (f"bytes=0-{'9' * 5000}", None),
        (f"bytes={'9' * 5000}-", None),
        (f"bytes=-{'9' * 5000}", None),
    ],
)
def test_ranges_of_ten_bytes(header: str | None, part: tuple[int, int] | None) -> None:
    assert requested_range(header, 10) == part


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-12", "bytes=-0", f"bytes={'9' * 19}-"])
def test_ranges_that_ten_bytes_have_not(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        requested_range(header, 10)


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-0", "bytes=-1"])
def test_an_empty_file_has_no_range(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        requested_range(header, 0)
