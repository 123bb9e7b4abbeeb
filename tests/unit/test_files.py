"""What a file is called, and what it is."""

import puremagic
import pytest
from pydantic import TypeAdapter, ValidationError

from app.api.content import requested_range
from app.core.errors import RangeNotSatisfiable
from app.schemas.file import FileName
from app.services.content_type import HEAD, sniff

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
