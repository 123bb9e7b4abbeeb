"""The shape of CSV files: line ends, quotes, encodings, compression, faults and their lines."""

import csv
import gzip
import io
import zipfile
from datetime import date
from typing import Any

import pyarrow as pa
import pytest

from tests.kinds_builtin.dataset.answers import line_of, parquet, refused, run
from tests.kinds_builtin.dataset.csv_text import records

SUM = [{"op": "sum", "column": "v", "name": "s"}]


def shown(value: Any) -> str:
    return repr(value)[:24]


# Lines


@pytest.mark.slow
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("names", [["v"], ["k", "v"]])
@pytest.mark.parametrize("blank", [0, 1, 3])
def test_line_ends_and_blank_lines(end: str, last: bool, names: list[str], blank: int) -> None:
    """Blank lines are not rows: before the header, between rows and at the end."""
    lines = [",".join(names), *(",".join(["x"] * (len(names) - 1) + [str(n)]) for n in range(5))]
    text = end * blank + (end * (blank + 1)).join(lines) + end * last * (blank + 1)
    output = run(text.encode(), aggregates=SUM)
    assert (output.result.rows_in, output.rows) == (5, [[10]])


@pytest.mark.parametrize(
    "text",
    [
        "k,v\r\na,1\nb,2\rc,3\n",
        "k,v\ra,1\r\nb,2\nc,3",
        "k,v\na,1\r\rb,2\n\n\r\nc,3\r",
        'k,v\r\n"a",1\n"b",2\r"c",3',
        "\r\n\n\rk,v\na,1\nb,2\rc,3",
    ],
)
def test_mixed_line_ends(text: str) -> None:
    output = run(text.encode(), aggregates=SUM, group_by=["k"])
    assert output.rows == [["a", 1], ["b", 2], ["c", 3]]


@pytest.mark.slow
@pytest.mark.parametrize("inner", ["\n", "\r\n", "\r", "\n\n", "\r\n\r\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_breaks_within_a_field_stay_as_they_are(inner: str, end: str) -> None:
    content = f'"k{inner}1",v{end}"a{inner}b",1{end}c,2{end}'.encode()
    expected = list(csv.reader(io.StringIO(content.decode(), newline="")))
    output = run(content, group_by=[f"k{inner}1"], aggregates=SUM)
    assert output.names[0] == expected[0][0]
    assert output.rows == [[key, int(value)] for key, value in expected[1:]]


def test_only_line_feed_and_carriage_return_end_a_line() -> None:
    marks = ["\x0b", "\x0c", "\x1c", "\x1e", "\x85", "\u2028", "\u2029"]
    content = "k,v\n" + "".join(f"a{mark}b,{n}\n" for n, mark in enumerate(marks))
    rows = run(content.encode(), group_by=["k"], aggregates=SUM).rows
    assert dict(rows) == {f"a{m}b": n for n, m in enumerate(marks)}


# Quotes


@pytest.mark.slow
@pytest.mark.parametrize(
    "header",
    ['a"b', '"', '""', "a,b", "a\nb", "a\r\nb", '"a"', "'", "*", "^v.*$", "a;b", " ", "é",
    "\U0001f600", "v2", "V",
     "select", '"; drop table x; --', "c0", "f0", "rowid", "%", "{0}", "$1", "\\", "a.b",
     "x" * 256],
)  # fmt: skip
@pytest.mark.parametrize("output", ["parquet", "csv"])
def test_any_header_is_a_name(header: str, output: str) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n").writerows([[header, "v"], ["x", 1], ["y", 2], ["x", 3]])
    spec: dict[str, Any] = {
        "group_by": [header],
        "filters": [{"op": "ne", "column": header, "value": "z"}],
        "aggregates": [
            *SUM,
            {"op": "max", "column": header, "name": "m"},
            {"op": "count_if", "filter": {"op": "is_null", "column": header}, "name": "nulls"},
        ],
        "sort": [{"column": header, "descending": True}],
        "output_format": output,
    }
    if header == "V":
        spec["aggregates"][0] = {"op": "sum", "column": "v", "name": "total"}
    got = run(file.getvalue().encode(), **spec)
    assert got.names[0] == header
    assert [[str(cell) for cell in row] for row in got.rows] == [
        ["y", "2", "y", "0"],
        ["x", "4", "x", "0"],
    ]


def test_names_that_differ_in_capitals_alone_are_two_columns() -> None:
    content = b"A,a\n1,10\n2,20\n"
    sums = [{"op": "sum", "column": name, "name": f"sum of {name}"} for name in ("A", "a")]
    assert run(content, aggregates=sums, output_format="csv").rows == [["3", "30"]]
    assert refused(content, aggregates=sums).code == "column-name"
    output = run(content, group_by=["A", "a"], output_format="csv")
    assert output.rows == [["1", "10", "1"], ["2", "20", "1"]]


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ('k,v\n"say ""hi""",1\n', {}, ['say "hi"']),
        ('k,v\n"""",1\n', {}, ['"']),
        ('k,v\n"""a""",1\n', {}, ['"a"']),
        ('k,v\na"b,1\n', {}, ['a"b']),
        ('k,v\na"b"c,1\n', {}, ['a"b"c']),
        ('k,v\n "a",1\n', {}, [' "a"']),
        ("k,v\n'a,b',1\n", {"quote": "'"}, ["a,b"]),
        ("k,v\n'it''s',1\n", {"quote": "'"}, ["it's"]),
        ("k,v\n\"a\",1\n", {"quote": "'"}, ['"a"']),
        ('k,v\n"a,1\n', {"quote": "none"}, ['"a']),
        ('k,v\n"a"b,1\n', {"quote": "none"}, ['"a"b']),
        ('k\tv\n5" pipe\t1\n', {"separator": "tab"}, ['5" pipe']),
        ("k,v\na\\,1\n", {}, ["a\\"]),
        ('k,v\n"a\\",1\n', {}, ["a\\"]),
        ('k,v\n"#a",1\n', {"comment": "#"}, ["#a"]),
        ("k,v\na#b,1\n", {"comment": "#"}, ["a#b"]),
        (" k ,v\n a ,1\n", {}, [" a "]),
    ],
)  # fmt: skip
def test_quotes(text: str, options: dict[str, Any], expected: list[str]) -> None:
    name = next(records(text, "\t" if "\t" in text else ",")).fields[0][0]
    assert [row[0] for row in run(text.encode(), csv=options, group_by=[name]).rows] == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('k,v\na,1\n"b"c,2\n', 3),
        ('k,v\na,1\n"b" ,2\n', 3),
        ('k,v\na,1\nb,"2\nc,3\n', 3),
        ('"k,v\na,1\n', 1),
        ('k,v\n"a\nb",1\n"c"d,2\n', 4),
        ('k,v\n\n\n"a"b,1\n', 4),
    ],
)
@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_quotes_out_of_place(text: str, line: int, on_error: str) -> None:
    error = refused(text.encode(), csv={"separator": ",", "on_error": on_error})
    assert (error.code, line_of(error)) == ("csv-quote", line)


# Faults, by their lines


PREFIXES: dict[str, tuple[str, dict[str, Any], int]] = {
    "nothing": ("", {}, 0),
    "a quoted line break": ('x,"a\nb\nc",1\n', {}, 3),
    "a quoted CRLF": ('x,"a\r\nb",1\n', {}, 2),
    "blank lines": ("\n\nx,y,1\n\n", {}, 4),
    "comments": ("#a\nx,y,1\n#b,c\n", {"comment": "#"}, 3),
    "comment signs within quotes": ('x,"a\n#b",1\n', {"comment": "#"}, 2),
    "doubled quotes": ('x,"a""\n""b",1\n', {}, 2),
    "long fields": ("x," + "y" * 300_000 + ",1\n", {}, 1),
    "many rows": ("x,y,1\n" * 5000, {}, 5000),
    "many rows of two lines": ('x,"y\nz",1\n' * 3000, {}, 6000),
}


@pytest.mark.slow
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("skip_rows", [0, 2])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_bad_value_is_named_with_its_line(prefix: str, skip_rows: int, end: str) -> None:
    before, options, lines = PREFIXES[prefix]
    text = 'title "a\n\n' * (skip_rows // 2) + f"k,w,v\n{before}x,y,bad\nx,y,worse\nx,y,2\n"
    content = text.replace("\r\n", "\n").replace("\n", end).encode()
    options = options | {"skip_rows": skip_rows}
    error = refused(content, csv=options, aggregates=SUM)
    assert (error.code, line_of(error)) == ("csv-value", 2 + lines + skip_rows)
    assert "'bad'" in error.detail
    output = run(content, csv=options | {"on_error": "skip"}, aggregates=SUM)
    assert output.result.rows_skipped == 2
    assert [row.line for row in output.result.skipped] == [
        2 + lines + skip_rows,
        3 + lines + skip_rows,
    ]


@pytest.mark.slow
@pytest.mark.parametrize("row", ["x,y", "x,y,1,2", "x", "x,y,1,", ",", "x,y,1,2,3,4,5", '"x,y,1"'])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_row_of_another_width_is_named_with_its_line(prefix: str, row: str) -> None:
    before, options, lines = PREFIXES[prefix]
    content = f"k,w,v\n{before}{row}\nx,y,2\n".encode()
    error = refused(content, csv=options | {"separator": ","}, aggregates=SUM)
    assert (error.code, line_of(error)) == ("csv-ragged", 2 + lines)
    options = options | {"separator": ",", "on_error": "skip"}
    output = run(content, csv=options, aggregates=SUM)
    assert output.result.rows_skipped == 1
    assert output.result.skipped[0].line == 2 + lines
    whole = run(content.replace(f"{row}\nx,y,2".encode(), b"x,y,2"), csv=options, aggregates=SUM)
    assert (output.rows, output.result.rows_in) == (whole.rows, whole.result.rows_in)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_faults_far_down_are_found(end: str) -> None:
    rows = [f"x{n},y,{n}" for n in range(300_000)]
    rows[250_000] = "x,y"
    rows[270_000] = "x,y,bad"
    content = end.join(["k,w,v", *rows, ""]).encode()
    error = refused(content, aggregates=SUM)
    assert (error.code, line_of(error)) in (("csv-ragged", 250_002), ("csv-value", 270_002))
    output = run(content, aggregates=SUM, csv={"on_error": "skip"})
    assert output.rows == [[sum(range(300_000)) - 250_000 - 270_000]]
    assert output.result.rows_in == 299_998
    assert [row.line for row in output.result.skipped] == [250_002, 270_002]


def test_the_source_of_a_fault_is_named() -> None:
    sources = [b"k,v\na,1\n", b"k,v\na,2\nb,bad\n"]
    error = refused(sources, aggregates=SUM)
    assert (error.code, line_of(error)) == ("csv-value", 3)
    assert error.detail.startswith("Source 2: column 'v' holds 'bad' in line 3, where")
    output = run(sources, aggregates=SUM, csv={"on_error": "skip"})
    assert (output.rows, output.result.rows_in) == ([[3]], 2)
    assert [(row.source, row.line) for row in output.result.skipped] == [(2, 3)]


def test_damage_in_a_column_that_nobody_asks_for_is_not_met() -> None:
    content = b"k,v,d\na,1,NaN\nb,2,---\nc,3,\xc3\xa9\n"
    options = {"types": {"d": "date"}}
    assert run(content, csv=options, aggregates=SUM).rows == [[6]]
    assert run(content, csv=options, group_by=["k"], aggregates=SUM).rows[0] == ["a", 1]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "file-empty"),
        ("k,v\n", "file-empty"),
        ("k,v", "file-empty"),
        ("\n\n\n", "file-empty"),
        ("#k,v\n", "file-empty"),
        (",".join(f"c{n}" for n in range(1001)) + "\n" + ",".join("1" * 1001) + "\n", "csv-header"),
    ],
    ids=shown,
)
def test_files_without_a_table(text: str, code: str) -> None:
    assert refused(text.encode(), csv={"comment": "#"}).code == code


# One column, trailing separators, comments, lines to skip


@pytest.mark.slow
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", ["", "end"])
def test_one_column(end: str, last: str) -> None:
    lines = ["v", "1", "", "2", '""', "3"] + ([""] if last else [])
    content = end.join(lines).encode()
    count = [{"op": "count", "column": "v", "name": "n"}]
    output = run(content, aggregates=count, csv={"types": {"v": "text"}})
    assert (output.rows, output.result.rows_in) == ([[4]], 4)


def test_a_trailing_separator_is_a_column_without_a_name() -> None:
    content = b"k,v,\na,1,\nb,2,\n"
    assert run(content, aggregates=SUM).rows == [[3]]
    assert run(content, group_by=["k"], aggregates=SUM).rows == [["a", 1], ["b", 2]]
    error = refused(b"k,v\na,1,\nb,2,\n", aggregates=SUM)
    assert (error.code, line_of(error)) == ("csv-ragged", 2)


def test_comments_are_lines_that_begin_with_the_sign() -> None:
    content = b'#x\nk,v\n#y,z\na,1\n #b,2\n#"\n"#c",3\n\n#end'
    rows = run(content, csv={"comment": "#"}, group_by=["k"], aggregates=SUM).rows
    assert rows == [[" #b", 2], ["#c", 3], ["a", 1]]


def test_skipped_lines_are_lines_whatever_they_hold() -> None:
    content = b'report "2024\n\n#,,,\nk,v\na,1\n'
    assert run(content, csv={"skip_rows": 3}, aggregates=SUM).rows == [[1]]
    assert run(content, csv={"skip_rows": 4, "column_names": ["k", "v"]}, aggregates=SUM).rows == [
        [1]
    ]
    assert refused(b"a\nb\n", csv={"skip_rows": 5}).code == "file-empty"


@pytest.mark.parametrize(
    ("text", "separator"),
    [
        ("k,v\na,1\n", ","),
        ("k;v\n1,5;2\n2,5;3\n", ";"),
        ("k\tv\na b\t1\n", "\t"),
        ("k|v\na,b|1\nc|2\n", "|"),
        ('"k;1",v\n"a;b;c",1\n', ","),
        ("v\n1\n2\n", ","),
        ("k;v;w\na,b;1;2\nc,d;3;4\n", ";"),
    ],
)
def test_the_separator_is_found(text: str, separator: str) -> None:
    output = run(text.encode(), aggregates=SUM)
    assert output.result.csv is not None
    assert output.result.csv.separator in (separator, {"\t": "tab"}.get(separator))
    declared = run(text.encode(), aggregates=SUM, csv={"separator": separator})
    assert output.rows == declared.rows


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
def test_encodings(encoding: str, content: bytes, packed: str | None) -> None:
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
def test_bytes_that_are_not_of_the_encoding(encoding: str, content: bytes, line: int) -> None:
    for damaged in (content, gzip.compress(content)):
        error = refused(damaged, csv={"encoding": encoding}, aggregates=SUM)
        assert (error.code, line_of(error)) == ("csv-encoding", line)


def test_utf_16_without_being_told_is_an_error_that_says_so() -> None:
    error = refused("k,v\na,1\n".encode("utf-16"))
    assert error.code == "csv-encoding"


TABLE = b"k,v\n" + b"".join(b"k%d,%d\n" % (n % 7, n) for n in range(5000))


@pytest.mark.parametrize("parts", [1, 2, 5])
@pytest.mark.parametrize("told", [None, "gzip"])
def test_gzip_of_several_members(parts: int, told: str | None) -> None:
    size = len(TABLE) // parts + 1
    content = b"".join(
        gzip.compress(TABLE[begin : begin + size]) for begin in range(0, len(TABLE), size)
    )
    output = run(content, csv={"compression": told}, aggregates=SUM)
    assert output.rows == [[sum(range(5000))]]
    assert output.result.csv is not None
    assert output.result.csv.compression == "gzip"


def test_zstd_of_several_frames() -> None:
    codec = pa.Codec("zstd")
    content = bytes(codec.compress(TABLE[:1000])) + bytes(codec.compress(TABLE[1000:]))
    assert run(content, aggregates=SUM).rows == [[sum(range(5000))]]


@pytest.mark.parametrize("packed", ["gzip", "zstd"])
@pytest.mark.parametrize("kept", [0.2, 0.5, 0.99])
def test_a_cut_compressed_file_is_never_a_part_of_the_sum(packed: str, kept: float) -> None:
    content = gzip.compress(TABLE) if packed == "gzip" else bytes(pa.Codec("zstd").compress(TABLE))
    error = refused(content[: int(len(content) * kept)], aggregates=SUM)
    assert error.code == "csv-compression"


def test_damaged_gzip() -> None:
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
    ],
    ids=shown,
)
def test_other_formats_are_named(content: bytes, said: str) -> None:
    error = refused(content)
    assert error.code == "not-a-table"
    assert said in error.detail


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n" + bytes(100),
b"\xff\xd8\xff\xe0" + bytes(99),
                                     bytes(1000), bytes(range(256)) * 8, b"GIF89a" + bytes(80)],
                                     ids=shown)  # fmt: skip
def test_binary_files_are_refused(content: bytes) -> None:
    assert refused(content, aggregates=SUM).code.startswith(
        ("csv-", "not-a-table", "file-", "column-")
    )


@pytest.mark.parametrize("first", ["<5", "{x}", "[a]", "(a)", "<b", "%PDF?"])
def test_a_header_may_begin_like_another_format(first: str) -> None:
    output = run(f"{first},v\na,1\n".encode(), aggregates=SUM) if first != "%PDF?" else None
    assert output is None or output.rows == [[1]]


def test_parquet_that_is_called_csv_is_named() -> None:
    error = refused(parquet(pa.table({"v": [1]})), format="csv")
    assert error.code == "not-a-table"
    assert "Parquet" in error.detail


# Several sources


def test_sources_are_one_table() -> None:
    sources = [b"k,v\na,1\nb,2\n", b"k,v\r\na,10\r\n", gzip.compress(b'k,v\n"c",100\n')]
    rows = run(sources, group_by=["k"], aggregates=SUM).rows
    assert rows == [["a", 11], ["b", 2], ["c", 100]]
    first_and_last = [{"op": op, "column": "k", "name": op} for op in ("first", "last")]
    assert run(sources, aggregates=first_and_last).rows == [["a", "c"]]


def test_a_column_has_one_type_in_all_sources() -> None:
    sources = [b"k,v\n1,1\n", b"k,v\n01,1\n"]
    assert run(sources, group_by=["k"]).rows == [["01", 1], ["1", 1]]


@pytest.mark.parametrize("other", [b"k,w\na,1\n", b"k\na\n", b"k,v,w\na,1,2\n", b"K,v\na,1\n"])
def test_sources_with_other_columns_are_refused(other: bytes) -> None:
    error = refused([b"k,v\na,1\n", other], aggregates=SUM)
    assert "source 2" in error.detail.lower() or "source" in error.detail.lower()


def test_columns_in_another_order_are_the_same_columns() -> None:
    sources = [b"k,v\na,1\n", b"v,k\n2,a\n"]
    assert run(sources, group_by=["k"], aggregates=SUM).rows == [["a", 3]]


# Long records


@pytest.mark.slow
@pytest.mark.parametrize("text", ["x" * 1_900_000, '"' + "x\n" * 900_000 + '"'], ids=shown)
def test_a_record_of_almost_two_megabytes(text: str) -> None:
    count = [{"op": "n_unique", "column": "k", "name": "n"}]
    assert run(f"k,v\n{text},1\na,2\n".encode(), aggregates=[*SUM, *count]).rows == [[3, 2]]


@pytest.mark.slow
@pytest.mark.parametrize("field", ["x" * 2_500_000, '"' + "x\n" * 1_300_000 + '"'], ids=shown)
def test_a_record_of_more_than_two_megabytes_is_refused(field: str) -> None:
    error = refused(f"k,v\na,1\n{field},1\na,2\n".encode(), aggregates=SUM)
    assert error.code in ("csv-ragged", "csv-quote")
    assert line_of(error) == 3


def test_dates_are_dates_in_the_output() -> None:
    content = b"d\n2024-01-02\n1999-12-31\n"
    options = {"types": {"d": "date"}}
    assert [row[0] for row in run(content, csv=options, group_by=["d"]).rows] == [
        date(1999, 12, 31),
        date(2024, 1, 2),
    ]
