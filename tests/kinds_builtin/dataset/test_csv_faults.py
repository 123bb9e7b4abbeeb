"""CSV files that are damaged, hostile or very large."""

import resource
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.jobs import JobError
from tests.kinds_builtin.conftest import FolderContext
from tests.kinds_builtin.dataset.conftest import Run, refused
from worker.kinds.dataset.csv_text import read_csv_text
from worker.kinds.dataset.spec import CsvOptions

FAULTY = {
    "": ("file-empty", "empty"),
    "a,b\n": ("file-empty", "no rows"),
    "\n\n": ("file-empty", "blank"),
    "a,b\n1,2\n3,4,5\n": ("csv-ragged", "Line 3 has 3 fields, but the file has 2 columns"),
    "a,b,c\n1,2,3\n4,5\n": ("csv-ragged", "Line 3 has 2 fields, but the file has 3 columns"),
    "a,b\n1,2\n\n3\n": ("csv-ragged", "Line 4 has 1 field, but"),
    'a,b\n1,"x\ny"\n2\n': ("csv-ragged", "Line 4 has 1"),
    'a,b\n1,"x\n2,3\n': ("csv-quote", "never closed"),
    'a,b\n1,"x"y\n': ("csv-quote", "Line 2"),
    ",".join(f"c{n}" for n in range(1001)) + "\n": (
        "csv-header",
        "1,001 columns, and at most 1,000",
    ),
}


@pytest.mark.parametrize("source", FAULTY, ids=lambda source: repr(source)[:24])
def test_a_faulty_csv_file_is_refused_with_its_line(run: Run, source: str) -> None:
    error = refused(run, source)
    code, said = FAULTY[source]
    assert error.code == code
    assert said in error.detail


def test_a_column_name_that_occurs_twice_is_refused_where_it_is_used(run: Run) -> None:
    source = "a,b,a,,\n1,2,3,,\n"
    assert run(source, group_by=["b"]).preview == [[2, 1]]
    error = refused(run, source, group_by=["a"])
    assert (error.code, "'a'" in error.detail) == ("csv-header", True)


def test_a_thousand_columns_are_read(run: Run) -> None:
    names = [f"c{n}" for n in range(1000)]
    source = f"{','.join(names)}\n{'1,' * 999}1\n"
    assert run(source, group_by=["c999"]).preview == [[1, 1]]


@pytest.mark.parametrize("field", ["x" * 500_000, '"' + "x" * 500_000 + '"'])
def test_a_field_of_half_a_megabyte_is_read(run: Run, field: str) -> None:
    """Longer than the csv module lets one be by itself; what follows has it read all lines."""
    source = f'a,b\n1,{field}\n2,"x\ny"\n'
    assert run(source, group_by=["a"]).preview == [[1, 1], [2, 1]]


def test_the_time_for_a_field_of_many_lines_grows_with_its_length(tmp_path: Path) -> None:
    """Four times the lines, four times the CPU; were each added to those before, sixteen times."""

    def cpu(lines: int) -> float:
        path = tmp_path / "source"
        path.write_bytes(b'a\n"' + b"\n" * lines + b'"\n')
        begun = time.thread_time()
        text = read_csv_text(path, CsvOptions(), tmp_path, lambda read: None)
        assert text.fault(lambda: None) is None
        return time.thread_time() - begun

    few, many = (min(cpu(lines) for _ in range(3)) for lines in (30_000, 120_000))
    assert many < 8 * few


@pytest.mark.slow
def test_a_short_row_far_down_is_refused_with_its_line(run: Run) -> None:
    """Beyond the first block, which is read in another way."""
    source = "a,b,c\n" + "1,2,3\n" * 400_000 + "1,2\n" + "1,2,3\n" * 1000
    error = refused(run, source)
    assert error.code == "csv-ragged"
    assert "Line 400,002 has 2 fields" in error.detail


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a,b\n1,2\n1,caf\xe9\n", "Line 3 holds the byte 0xe9"),
        (b"a,caf\xe9\n1,2\n", "Line 1"),
        ("a,b\n1,2\n".encode("utf-16"), "Line 1"),
        (b"a,b\n" + b"1,2\n" * 600_000 + b"1,\xff\n", "Line 600,002 "),
    ],
)
def test_bytes_that_are_not_utf8_are_refused_with_their_line(
    run: Run, content: bytes, said: str
) -> None:
    error = refused(run, content)
    assert error.code == "csv-encoding"
    assert said in error.detail


@pytest.mark.slow
def test_a_text_far_down_a_column_of_numbers_is_refused_with_its_line(run: Run) -> None:
    value = "many"
    source = "name,delay\n" + "x,3\n" * 300_000 + f"x,{value}\n" + "x,3\n" * 10
    spec = {"aggregates": [{"op": "sum", "column": "delay", "name": "delay"}]}
    error = refused(run, source, **spec)
    assert error.code == "csv-value"
    assert f"'delay' holds '{value}' in line 300,002" in error.detail
    assert "csv.null_values" in error.detail
    # Only columns in use are checked, and each remedy in the message works.
    assert run(source).preview == [[300_011]]
    assert run(source, csv={"null_values": [value]}, **spec).preview == [[900_030]]
    skipped = run(source, csv={"on_error": "skip"}, **spec)
    assert (skipped.preview, skipped.rows_skipped) == ([[900_030]], 1)
    assert skipped.skipped[0].line == 300_002


@pytest.mark.parametrize("kind", ["date", "datetime", "boolean"])
def test_a_value_of_another_type_than_declared_is_refused(run: Run, kind: str) -> None:
    error = refused(run, "a,b\nlater,1\n", csv={"types": {"a": kind}}, group_by=["a"])
    assert error.code == "csv-value"
    assert "holds 'later' in line 2" in error.detail
    assert "'a'" in error.detail


def test_many_rows_of_a_wrong_width_take_little_memory(run: Run) -> None:
    """They were 1.2 GB where DuckDB made an error of each."""
    source = "a,b\n" + "1,2,3\n" * 100_000 + "1,2\n"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "Line 2 has 3 fields" in refused(run, source).detail
    skipped = run(source, csv={"on_error": "skip"})
    assert (skipped.rows_in, skipped.rows_skipped, len(skipped.skipped)) == (1, 100_000, 10)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


@given(content=st.binary(max_size=400))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_or_refused_with_a_code(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any"
    path.write_bytes(content or b"a")
    try:
        text = read_csv_text(path, CsvOptions(), tmp_path, lambda read: None)
        columns, refusal = text.columns, ""
    except JobError as error:
        columns, refusal = [], error.code
    assert columns or refusal.startswith(("csv-", "file-", "not-a-table"))


def test_a_fault_in_one_of_several_sources_names_the_source(
    run: Run, job: FolderContext, tmp_path: Path
) -> None:
    more = tmp_path / "more"
    more.write_text("a,b\n1,2\n3\n")
    error = refused(run, "a,b\n1,2\n", more_sources=[job.give(more)])
    assert error.detail.startswith("Source 2: line 3 has 1 field, but the file has 2 columns")


@pytest.mark.parametrize("character", ["\u00e9", "\u4e2d", "\U0001f600"])
def test_a_record_is_too_long_by_its_bytes(run: Run, character: str) -> None:
    short = 1_900_000 // len(character.encode())
    assert run(f"a,b\n{character * short},2\n").rows_in == 1
    long = 2_100_000 // len(character.encode())
    for field in (character * long, f'"{character * long}"', f'"{character * long}\n"'):
        error = refused(run, f"a,b\n1,2\n{field},2\n")
        assert error.code == "csv-ragged"
        assert "line 3" in error.detail
