"""The shape of CSV files: line ends, quotes, faults and their lines."""

import csv
import gzip
import io
from datetime import date
from typing import Any

import pytest

from tests.kinds_builtin.dataset.answers import line_of, refused, run
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
def test_blank_lines_are_not_rows(end: str, last: bool, names: list[str], blank: int) -> None:
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
def test_mixed_line_ends_are_read(text: str) -> None:
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
def test_any_header_is_accepted_as_a_name(header: str, output: str) -> None:
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


def test_names_that_differ_only_in_case_are_two_columns() -> None:
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
def test_quoted_fields_are_read_as_by_python(
    text: str, options: dict[str, Any], expected: list[str]
) -> None:
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
def test_quotes_out_of_place_are_refused_with_their_line(
    text: str, line: int, on_error: str
) -> None:
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


def test_damage_in_an_unused_column_does_not_matter() -> None:
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
def test_files_without_a_table_are_refused(text: str, code: str) -> None:
    assert refused(text.encode(), csv={"comment": "#"}).code == code


# One column, trailing separators, comments, lines to skip


@pytest.mark.slow
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", ["", "end"])
def test_files_of_one_column_are_read(end: str, last: str) -> None:
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


def test_skipped_lines_may_hold_anything() -> None:
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
