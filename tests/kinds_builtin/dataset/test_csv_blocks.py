"""Rewritten CSV text has the records of the original, however it is cut into blocks."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.jobs import JobError
from tests.kinds_builtin.dataset.answers import refused, run
from worker.kinds.dataset import csv_blocks, csv_lines
from worker.kinds.dataset.csv_lines import Rewriter, records

QUOTED = ['"x"', '""', '"a,""b"""', '"\n"', '"a\r\nb"', '"\r"', '"#"', '"a ""b"" c"', '"x, "']
# The quotes are part of the value.
UNQUOTED = [' "x"', '  "x y"  ', ' ""', ' "x', ' "x"y', 'x "y"']
FIELDS = st.sampled_from(["", "a", "é", *QUOTED, *UNQUOTED])
ENDS = st.sampled_from(["\n", "\r\n", "\r", "\n\n"])
WIDTH = 3


@st.composite
def texts(draw: st.DrawFn) -> str:
    lines = st.lists(FIELDS, min_size=1, max_size=WIDTH + 1).map(",".join)
    comments = st.sampled_from(["#", '#"', '#,"', "# a,b", '# "a"'])
    listed = draw(st.lists(st.one_of(lines, lines, lines, comments), max_size=8))
    return "".join(line + draw(ENDS) for line in listed) + draw(lines)


def rewritten(text: str, folder: Path, *, skips: bool) -> tuple[str, Rewriter]:
    (folder / "source").write_text(text, encoding="utf-8", newline="")
    rewriter = Rewriter(",", '"', "#", WIDTH, skips=skips)
    rewriter.write(folder / "source", folder / "target", 0, lambda: None)
    return (folder / "target").read_bytes().decode(), rewriter


def of(text: str) -> list[tuple[int, list[str]]]:
    lines = io.StringIO(text, newline="")
    return [(each.first_line, each.fields) for each in records(lines, 1, ",", '"', "#")]


@pytest.mark.slow
@pytest.mark.parametrize("size", [3, 11, csv_blocks.BLOCK])
@settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
@given(text=texts())
def test_rewritten_text_has_the_records_of_the_original(
    text: str, size: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(csv_lines, "BLOCK", size)
    monkeypatch.setattr(csv_lines, "MAX_HEAD", size)
    wanted = of(text)
    found, _ = rewritten(text, tmp_path, skips=False)
    # A field too many that is empty gets a value, so that it is a fault to DuckDB.
    assert [
        (line, ["" if field == csv_lines.FILLER else field for field in fields])
        for line, fields in of(found)
    ] == wanted
    found, rewriter = rewritten(text, tmp_path, skips=True)
    assert of(found) == [(line, fields) for line, fields in wanted if len(fields) == WIDTH]
    others = [(line, len(fields)) for line, fields in wanted if len(fields) != WIDTH]
    assert (rewriter.skipped, rewriter.first_skipped) == (len(others), others[:10])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_text_as_it_is_usually_written_is_rewritten_by_whole_blocks(
    end: str, on_error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tokens(self: Rewriter, text: str) -> str:
        raise AssertionError(text[:100])

    monkeypatch.setattr(Rewriter, "_by_tokens", tokens)
    file = io.StringIO(newline="")
    rows = [[n, f'a "b",{end}c', ""] for n in range(100)]
    csv.writer(file, lineterminator=end, quoting=csv.QUOTE_NONNUMERIC).writerows(
        [["k", "v", "w"], *rows]
    )
    text = f"{file.getvalue()}# the end{end}"
    options = {"comment": "#", "on_error": on_error}
    output = run(text.encode(), csv=options, group_by=["k", "v", "w"], output_format="csv")
    assert [row[:3] for row in output.rows] == [[str(n), v, w] for n, v, w in rows]


def test_blanks_before_quoted_fields_are_rewritten_by_whole_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Rewriter, "_by_tokens", None)
    rows = [[str(n), f' "a{n}" ', ' "b"'] for n in range(100)]
    text = "".join(f"{','.join(row)}\n" for row in [["k", "v", "w"], *rows])
    output = run(text.encode(), group_by=["k", "v", "w"], output_format="csv")
    assert [row[:3] for row in output.rows] == rows


@pytest.mark.slow
def test_a_quote_that_is_never_closed_does_not_read_on_to_the_end() -> None:
    text = 'a,b\n1,2\n1,"x\n' + "2,3\n" * 600_000
    error = refused(text.encode())
    assert (error.code, "line 3" in error.detail) == ("csv-ragged", True)


@pytest.mark.slow
@pytest.mark.parametrize("quoted", [False, True])
def test_lines_of_values_far_down_are_those_of_the_file(quoted: bool) -> None:
    row = '"1\n",2\n\n' if quoted else "1,2\n\n"
    text = "a,b\n" + row * 50_000 + "3,x\n" + row * 1000 + "4,y\n"
    spec = {"aggregates": [{"op": "sum", "column": "b", "name": "s"}]}
    output = run(text.encode(), csv={"on_error": "skip"}, **spec)
    lines = row.count("\n")
    assert output.rows == [[102_000]]
    assert [skipped.line for skipped in output.result.skipped] == [
        2 + 50_000 * lines,
        3 + 51_000 * lines,
    ]
    with pytest.raises(JobError, match=f"line {2 + 50_000 * lines:,}"):
        run(text.encode(), **spec)
