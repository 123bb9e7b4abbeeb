"""Encodings and compression of CSV files, and files that are not tables."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from tests.kinds_builtin.dataset.answers import line_of, parquet, refused, run

SUM = [{"op": "sum", "column": "v", "name": "s"}]


def shown(value: Any) -> str:
    return repr(value)[:24]


# Encodings and compression

UMLAUTS = "schl\u00fcssel,v\n\u00e9t\u00e9,1\n\u00fcber,2\n\u00e9t\u00e9,4\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("utf-8", UMLAUTS.encode()),
        ("utf-8", UMLAUTS.encode("utf-8-sig")),
        ("latin-1", UMLAUTS.encode("latin-1")),
        ("cp1252", UMLAUTS.encode("cp1252")),
        ("utf-16", UMLAUTS.encode("utf-16")),
        ("utf-16", b"\xff\xfe" + UMLAUTS.encode("utf-16-le")),
        ("utf-16", b"\xfe\xff" + UMLAUTS.encode("utf-16-be")),
        ("utf-16", b"\xfe\xff" + UMLAUTS.replace("\n", "\r\n").encode("utf-16-be")),
        ("latin-1", UMLAUTS.replace("\n", "\r").encode("latin-1")),
    ],
    ids=shown,
)
@pytest.mark.parametrize("packed", [None, "gzip", "zstd"])
def test_files_of_any_encoding_are_read(encoding: str, content: bytes, packed: str | None) -> None:
    if packed:
        content = bytes(pa.Codec(packed).compress(content))
    output = run(content, csv={"encoding": encoding}, group_by=["schl\u00fcssel"], aggregates=SUM)
    assert output.names[0] == "schl\u00fcssel"
    assert output.rows == [["\u00e9t\u00e9", 5], ["\u00fcber", 2]]
    assert output.result.csv is not None
    assert output.result.csv.compression == (packed or "none")


def test_cp1252_has_characters_where_latin_1_has_controls() -> None:
    content = b"k,v\n\x80,1\n\x93a\x94,2\n"
    keys = [row[0] for row in run(content, csv={"encoding": "cp1252"}, group_by=["k"]).rows]
    assert keys == sorted(["\u20ac", "\u201ca\u201d"])
    keys = [row[0] for row in run(content, csv={"encoding": "latin-1"}, group_by=["k"]).rows]
    assert keys == ["\x80", "\x93a\x94"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoding", "content", "line"),
    [
        ("utf-8", b"k,v\na,1\ncaf\xe9,2\n", 3),
        ("utf-8", b"k,v\r\na,1\r\ncaf\xe9,2\r\n", 3),
        ("utf-8", b"k,v\ra,1\rcaf\xe9,2\r", 3),
        ("utf-8", b'k,v\n"a\nb",1\n\xff,2\n', 4),
        ("utf-8", b"caf\xe9,v\na,1\n", 1),
        ("utf-8", b"k,v\na,1\nb\xed\xa0\x80,2\n", 3),
        ("utf-8", b"k,v\na,1\n\xc0\xaf,2\n", 3),
        ("utf-8", b"k,v\n" + b"a,1\n" * 100_000 + b"\xf0\x9f,2\n", 100_002),
        ("utf-8", b"k,v\na,1\nb,\xe2\x82", 3),
        ("cp1252", b"k,v\na,1\n\x81,2\n", 3),
        ("utf-16", b"\xff\xfe" + "k,v\na,1\n".encode("utf-16-le") + b"\x00\xdc\n\x00", 3),
        ("utf-16", b"\xff\xfe" + "k,v\na,1\n".encode("utf-16-le") + b"x", 3),
    ],
    ids=shown,
)
def test_bytes_that_are_invalid_in_the_encoding_are_refused(
    encoding: str, content: bytes, line: int
) -> None:
    for damaged in (content, gzip.compress(content)):
        error = refused(damaged, csv={"encoding": encoding}, aggregates=SUM)
        assert (error.code, line_of(error)) == ("csv-encoding", line)


def test_utf_16_without_the_option_is_refused_with_the_remedy() -> None:
    error = refused("k,v\na,1\n".encode("utf-16"))
    assert error.code == "csv-encoding"


TABLE = b"k,v\n" + b"".join(b"k%d,%d\n" % (n % 7, n) for n in range(5000))


@pytest.mark.parametrize("parts", [1, 2, 5])
@pytest.mark.parametrize("told", [None, "gzip"])
def test_gzip_of_several_members_is_read_whole(parts: int, told: str | None) -> None:
    size = len(TABLE) // parts + 1
    content = b"".join(
        gzip.compress(TABLE[begin : begin + size]) for begin in range(0, len(TABLE), size)
    )
    output = run(content, csv={"compression": told}, aggregates=SUM)
    assert output.rows == [[sum(range(5000))]]
    assert output.result.csv is not None
    assert output.result.csv.compression == "gzip"


def test_zstd_of_several_frames_is_read_whole() -> None:
    codec = pa.Codec("zstd")
    content = bytes(codec.compress(TABLE[:1000])) + bytes(codec.compress(TABLE[1000:]))
    assert run(content, aggregates=SUM).rows == [[sum(range(5000))]]


def test_zstd_may_begin_with_a_frame_that_is_skipped() -> None:
    content = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"size"
    content += bytes(pa.Codec("zstd").compress(TABLE))
    assert run(content, aggregates=SUM).rows == [[sum(range(5000))]]
    assert run(content, aggregates=SUM, csv={"compression": "zstd"}).rows == [[sum(range(5000))]]


@pytest.mark.parametrize("outer", [gzip.compress, pa.Codec("zstd").compress])
def test_a_file_that_is_compressed_twice_is_refused(outer: Callable[[bytes], bytes]) -> None:
    error = refused(bytes(outer(gzip.compress(TABLE))), aggregates=SUM)
    assert error.code == "csv-compression"
    assert "twice" in error.detail


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_the_mark_of_utf_8_is_not_read_in_another_encoding(encoding: str) -> None:
    content = UMLAUTS.encode("utf-8-sig")
    assert run(content, aggregates=SUM).rows == [[7]]
    error = refused(content, csv={"encoding": encoding}, aggregates=SUM)
    assert error.code == "csv-encoding"
    assert "utf-8" in error.detail


def test_a_second_byte_order_mark_is_refused() -> None:
    error = refused(b"\xef\xbb\xbf" * 2 + b"k,v\na,1\n", aggregates=SUM)
    assert error.code == "csv-encoding"


@pytest.mark.parametrize("packed", ["gzip", "zstd"])
@pytest.mark.parametrize("kept", [0.2, 0.5, 0.99])
def test_a_cut_compressed_file_is_never_a_part_of_the_sum(packed: str, kept: float) -> None:
    content = gzip.compress(TABLE) if packed == "gzip" else bytes(pa.Codec("zstd").compress(TABLE))
    error = refused(content[: int(len(content) * kept)], aggregates=SUM)
    assert error.code == "csv-compression"


def test_damaged_gzip_is_refused() -> None:
    content = bytearray(gzip.compress(TABLE))
    content[len(content) // 2] ^= 0xFF
    assert refused(bytes(content), aggregates=SUM).code == "csv-compression"
    content = bytearray(gzip.compress(TABLE))
    content[-6] ^= 0xFF  # of the checksum
    assert refused(bytes(content), aggregates=SUM).code == "csv-compression"
    assert refused(TABLE, csv={"compression": "gzip"}).code == "csv-compression"
    assert refused(TABLE, csv={"compression": "zstd"}).code == "csv-compression"


# Files that are not tables


def workbook() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/worksheets/sheet1.xml", "<worksheet/>")
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("table.csv")
        member.size = 8
        archive.addfile(member, io.BytesIO(b"k,v\na,1\n"))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html><body>404</body></html>\n", "HTML"),
        (b"<!DOCTYPE html>\n<html>\n<p>a,b</p>\n</html>", "HTML"),
        (b"\n\n  <!doctype HTML><html><head>\n<title>x</title>", "HTML"),
        (b"\xef\xbb\xbf<html>\n<table><tr><td>1</td></tr></table>\n", "HTML"),
        (b'<?xml version="1.0"?>\n<rows><row/></rows>\n', "XML"),
        (b'{"error": "not found",\n"code": 404}\n', "JSON"),
        (b'[{"a": 1},\n{"a": 2}]\n', "JSON"),
        (b'[\n  {\n    "a": 1\n  }\n]\n', "JSON"),
        (b'{"a": 1}\n{"a": 2}\n', "JSON"),
        (workbook(), "Excel"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "Excel"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n", "PDF"),
        (b"BZh91AY&SY" + bytes(50), "bzip2"),
        (b"\xfd7zXZ\x00" + bytes(50), "xz"),
        (gzip.compress(b"<html><body>404</body></html>\n", mtime=0), "HTML"),
        (gzip.compress(b'{"error": 1}\n', mtime=0), "JSON"),
        (gzip.compress(workbook(), mtime=0), "Excel"),
        (gzip.compress(b"\x89PNG\r\n\x1a\n" + bytes(100), mtime=0), "picture"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "picture"),
        (b"\xff\xd8\xff\xe0" + bytes(99), "picture"),
        (b"GIF89a" + bytes(80), "picture"),
        (b"II*\0" + bytes(80), "picture"),
        (b"RIFF" + bytes(2) + b"WEBPVP8 " + bytes(80), "binary"),
        (b"\0\0\0\x18ftypheic" + bytes(80), "binary"),
        (b"\x7fELF\x02\x01\x01" + bytes(80), "binary"),
        ("k,v\na,1\n".encode("utf-32"), "UTF-32"),
        (tarred(), "tar"),
        (gzip.compress(tarred(), mtime=0), "tar"),
        (gzip.compress(parquet(pa.table({"v": [1]})), mtime=0), "Parquet"),
    ],
    ids=shown,
)
def test_other_formats_are_named(content: bytes, said: str) -> None:
    error = refused(content)
    assert error.code == "not-a-table"
    assert said in error.detail


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1252"])
@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_a_binary_file_is_not_a_table_in_any_encoding(encoding: str, on_error: str) -> None:
    content = b"\x7fELF\x02\x01\x01" + bytes(9) + b"a,b\n1,2\n" * 9
    error = refused(content, csv={"encoding": encoding, "on_error": on_error}, aggregates=SUM)
    assert error.code == "not-a-table"


@pytest.mark.parametrize("content", [bytes(range(256)) * 8, b"\x93NUMPY\x01" * 20], ids=shown)
def test_bytes_that_are_not_text_are_refused(content: bytes) -> None:
    assert refused(content, aggregates=SUM).code == "csv-encoding"


@pytest.mark.parametrize("first", ["<5", "{x}", "[a]", "(a)", "<b", "%PDF?"])
def test_a_header_may_begin_like_another_format(first: str) -> None:
    output = run(f"{first},v\na,1\n".encode(), aggregates=SUM) if first != "%PDF?" else None
    assert output is None or output.rows == [[1]]


def test_parquet_that_is_called_csv_is_named() -> None:
    error = refused(parquet(pa.table({"v": [1]})), format="csv")
    assert error.code == "not-a-table"
    assert "Parquet" in error.detail
