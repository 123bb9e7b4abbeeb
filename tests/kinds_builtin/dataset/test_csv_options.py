"""Options for the form of CSV files and of their values."""

import csv
import gzip
import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.kinds_builtin.conftest import FolderContext
from tests.kinds_builtin.dataset.conftest import SALES, Run, refused

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


@pytest.mark.parametrize("separator", ["tab", "\t"])
def test_a_tab_as_separator_is_given_by_name_or_character(run: Run, separator: str) -> None:
    options = {"separator": separator}
    count = [{"op": "sum", "column": "b", "name": "b"}]
    assert run("a\tb\n1\t2\n", csv=options, aggregates=count).preview == [[2]]


def test_declared_types_are_used(run: Run) -> None:
    source = "day;size\n2013-05-01;007\n2014-05-01;x\n"
    csv_options = {"separator": ";", "types": {"day": "date", "size": "text"}}
    result = run(
        source,
        csv=csv_options,
        filters=[{"op": "lt", "column": "day", "value": "2014-01-01"}],
        aggregates=[
            {"op": "max", "column": "day", "name": "day"},
            {"op": "first", "column": "size", "name": "size"},
        ],
    )
    assert result.preview == [["2013-05-01", "007"]]


def test_a_file_without_a_header_is_read_by_column_names(run: Run) -> None:
    source = "AA,1\nUA,2\nAA,3\n"
    result = run(
        source,
        csv={"column_names": ["carrier", "delay"]},
        group_by=["carrier"],
        aggregates=[{"op": "sum", "column": "delay", "name": "delay"}],
    )
    assert result.preview == [["AA", 4], ["UA", 2]]
    error = refused(run, source, group_by=["carrier"])
    assert error.code == "column-unknown"
    assert "csv.column_names" in error.detail


def test_only_empty_fields_and_null_values_are_null(run: Run) -> None:
    spec = {"aggregates": [{"op": "count", "column": "word", "name": "n"}]}
    source = "word,x\nNA,1\n,2\nnil,3\n"
    assert run(source, **spec).preview == [[2]]
    assert run(source, csv={"null_values": ["nil"]}, **spec).preview == [[1]]
    assert run(source, csv={"null_values": ["nil", "NA"]}, **spec).preview == [[0]]


def test_declared_decimals_are_exact(run: Run) -> None:
    options = {"types": {"price": "decimal(6,2)"}}
    total = [{"op": "sum", "column": "price", "name": "total"}]
    result = run(SALES, csv=options, aggregates=total)
    assert (result.preview, result.columns[0].dtype) == ([["20.75"]], "DECIMAL(38,2)")
    assert refused(run, "price\n1.234\n", csv=options, aggregates=total).code == "csv-value"


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1252", "utf-16"])
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_files_of_any_encoding_and_compression_are_read(
    run: Run, encoding: str, compression: str
) -> None:
    compress: dict[str, Callable[[bytes], bytes]] = {
        "none": bytes,
        "gzip": gzip.compress,
        "zstd": zstd.compress,
    }
    content = compress[compression]("naïve;n\r\nfaçade;1\r\n".encode(encoding))
    result = run(content, csv={"encoding": encoding}, group_by=["naïve"])
    assert result.preview == [["façade", 1]]
    assert result.csv is not None
    assert (result.csv.separator, result.csv.compression) == (";", compression)


def test_numbers_are_read_by_their_separators(run: Run) -> None:
    options = {"decimal_separator": ",", "thousands_separator": ".", "separator": ";"}
    total = [{"op": "sum", "column": "a", "name": "total"}]
    assert run("a;b\n1.234,5;x\n-12,5;y\n", csv=options, aggregates=total).preview == [[1222.0]]
    assert refused(run, "a;b\n1.23,5;x\n", csv=options, aggregates=total).code == "csv-value"


def test_the_decimal_separator_is_not_sniffed_as_the_fields_separator(run: Run) -> None:
    options = {"decimal_separator": ",", "column_names": ["a", "b"]}
    total = [{"op": "sum", "column": "b", "name": "total"}]
    assert run("1;2,5\n3;4,5\n", csv=options, aggregates=total).preview == [[7.0]]


def test_extremes_are_compared_by_the_separators_of_the_options(run: Run) -> None:
    options = {"decimal_separator": ",", "thousands_separator": ".", "separator": ";"}
    extremes = [{"op": op, "column": "p", "name": op} for op in ("min", "max")]
    result = run("p;q\n1.234;1\n999;1\n", csv=options, aggregates=extremes)
    assert result.preview == [["999", "1.234"]]


@pytest.mark.parametrize(
    ("format_", "said"),
    [
        ("%Y-%m", "a day"),
        ("%Y-%m-%d %I:%M", "%I and %p"),
        ("%y/%Y/%m/%d", "say the same"),
        ("%Y-%j %d", "say the same"),
        ("%Y %q", "not supported"),
    ],
)
def test_an_ambiguous_format_is_refused(run: Run, format_: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        run("d\nx\n", csv={"types": {"d": {"type": "date", "format": format_}}})


@pytest.mark.parametrize("names", [["*", "^k.*$"], ['a"b', "'; drop table answer; --"], ["A", "a"]])
def test_any_column_name_is_accepted(run: Run, job: FolderContext, names: list[str]) -> None:
    file = io.StringIO()
    csv.writer(file).writerows([names, ["1", "x"], ["2", "y"]])
    result = run(file.getvalue(), group_by=names, output_format="csv")
    assert result.preview == [[1, "x", 1], [2, "y", 1]]
    with job.path(result.file).open(newline="") as written:
        assert next(csv.reader(written)) == [*names, "n"]


def test_a_byte_order_mark_is_not_part_of_a_name(run: Run) -> None:
    assert run(b"\xef\xbb\xbfa,b\n1,2\n", group_by=["a"]).preview == [[1, 1]]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_line_in_which_excel_reads_the_separator_is_not_data(
    run: Run, separator: str, end: str
) -> None:
    lines = [f"sep={separator}", f"k{separator}v", f"a{separator}1", f"b{separator}x"]
    content = end.join([*lines, ""])
    result = run(content, group_by=["k"])
    assert result.preview == [["a", 1], ["b", 1]]
    assert result.csv is not None
    assert result.csv.separator == separator
    error = refused(run, content, aggregates=[{"op": "sum", "column": "v", "name": "s"}])
    assert "line 4" in error.detail


def test_a_separator_at_the_end_of_each_line_of_one_source_makes_no_other_column(
    run: Run, job: FolderContext, tmp_path: Path
) -> None:
    second = tmp_path / "second"
    second.write_text("k,v,\na,2,\n")
    result = run("k,v\na,1\n", more_sources=[job.give(second)], group_by=["k"])
    assert result.preview == [["a", 2]]
    error = refused(run, "k,v\na,1\n", more_sources=[job.give(second)], group_by=[""])
    assert error.code == "sources-differ"


def test_a_result_of_one_null_is_a_row(run: Run, job: FolderContext) -> None:
    ask = [{"op": "sum", "column": "v", "name": "s"}]
    result = run("k,v\na,\n", aggregates=ask, output_format="csv")
    assert result.preview == [[None]]
    with job.path(result.file).open(newline="") as file:
        assert list(csv.reader(file)) == [["s"], [""]]
