"""The kind's answers over random files and specifications equal those of a plain-Python oracle."""

import csv
import io
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from app.jobs import JobError
from tests.kinds_builtin.dataset.answers import assert_plain, assert_same, is_one_of, run
from tests.kinds_builtin.dataset.csv_tables import Csv, csv_files
from tests.kinds_builtin.dataset.csv_text import Refused, Undetermined, records
from tests.kinds_builtin.dataset.oracle import Answer, expected, query
from tests.kinds_builtin.dataset.parquet_tables import Parquet, parquet_files
from tests.kinds_builtin.dataset.questions import asked_of, questions
from worker.kinds.dataset import DatasetAggregate

quick = settings(
    max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
long = settings(
    max_examples=160, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def wanted_of(spec: dict[str, Any], contents: list[bytes]) -> "Answer | Refused":
    parsed = DatasetAggregate.model_validate({"source": UUID(int=1)} | spec)
    try:
        return expected(contents, parsed)
    except Refused as refused:
        return refused
    except Undetermined:
        assume(False)
        raise


def unwritable(spec: dict[str, Any]) -> bool:
    """Whether Parquet output can't hold the names of the result's columns."""
    names = [key if isinstance(key, str) else key["name"] for key in spec["group_by"]]
    lower = {name.lower() for name in names}
    return spec["output_format"] == "parquet" and ("" in names or len(lower) < len(names))


def compare(contents: list[bytes], spec: dict[str, Any], wanted: "Answer | Refused") -> None:
    try:
        output = run(contents, **spec)
    except JobError as raised:
        error = raised
    else:
        assert isinstance(wanted, Answer), (wanted, output.rows)
        assert_same(output, wanted)
        event("answered")
        return
    assert_plain(error)
    event(error.code)
    if error.code == "column-name" and unwritable(spec):
        return
    faults = wanted.faults if isinstance(wanted, Refused) else ()
    if error.code == "column-type" and any(fault.code == "column-type" for fault in faults):
        return  # of several columns at fault, either may be named
    assert isinstance(wanted, Refused), (error.code, error.detail)
    assert is_one_of(error, wanted.faults), (error.code, error.detail, wanted.faults)


@st.composite
def csv_jobs(draw: st.DrawFn) -> tuple[Csv, dict[str, Any]]:
    table = draw(csv_files())
    spec = draw(questions(asked_of(table)))
    return table, spec | {"csv": table.options, "format": "csv"}


def compare_csv(job: tuple[Csv, dict[str, Any]]) -> None:
    table, spec = job
    compare(table.contents, spec, wanted_of(spec, table.contents))


@quick
@given(csv_jobs())
def test_csv_files_are_answered_as_by_the_oracle(job: tuple[Csv, dict[str, Any]]) -> None:
    compare_csv(job)


@pytest.mark.slow
@long
@given(csv_jobs())
def test_many_csv_files_are_answered_as_by_the_oracle(
    job: tuple[Csv, dict[str, Any]],
) -> None:
    compare_csv(job)


@st.composite
def parquet_jobs(draw: st.DrawFn) -> tuple[Parquet, dict[str, Any]]:
    table = draw(parquet_files())
    return table, draw(questions(table.asked))


def compare_parquet(job: tuple[Parquet, dict[str, Any]]) -> None:
    table, spec = job
    parsed = DatasetAggregate.model_validate({"source": UUID(int=1)} | spec)
    wanted: Answer | Refused
    try:
        wanted = query(table.table, parsed)
    except Refused as refused:
        wanted = refused
    except Undetermined:
        assume(False)
        raise
    compare(table.contents, spec, wanted)


@quick
@given(parquet_jobs())
def test_parquet_files_are_answered_as_by_the_oracle(
    job: tuple[Parquet, dict[str, Any]],
) -> None:
    compare_parquet(job)


@pytest.mark.slow
@long
@given(parquet_jobs())
def test_many_parquet_files_are_answered_as_by_the_oracle(
    job: tuple[Parquet, dict[str, Any]],
) -> None:
    compare_parquet(job)


FIELD = st.text(st.sampled_from("ab ,\"'\n\r;é\x00"), max_size=6)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(FIELD, min_size=2, max_size=2), min_size=1, max_size=8))
def test_the_oracle_reads_csv_as_python_does(rows: list[list[str]]) -> None:
    file = io.StringIO(newline="")
    csv.writer(file).writerows(rows)
    text = file.getvalue()
    assert [[text for text, _ in each.fields] for each in records(text, ",")] == rows
    assert list(csv.reader(io.StringIO(text, newline=""), strict=True)) == rows
