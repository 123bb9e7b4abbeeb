"""Several sources, the preview of the result, and cancellation."""

import time
from pathlib import Path

import pytest
from pydantic_core import to_json

from app.jobs import JobCancelled
from tests.kinds_builtin.conftest import FolderContext
from tests.kinds_builtin.dataset.conftest import SALES, Run, refused, write
from worker.kinds.dataset.result import CELL_BYTES, PREVIEW_BYTES


def test_several_sources_are_one_table(run: Run, job: FolderContext, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.write_text("price;shop;day\n3;c;2013-07-01\n")
    spec = {"more_sources": [job.give(more)], "group_by": ["shop"]}
    assert run(SALES, **spec).preview == [["a", 2], ["b", 2], ["c", 1]]
    more.write_text("price,day\n3,2013-07-01\n")
    error = refused(run, SALES, **spec)
    assert (error.code, "'shop'" in error.detail) == ("sources-differ", True)


@pytest.mark.parametrize("character", ["a", "é", "\u4e00", "\x01", '"'])
def test_a_preview_is_cut_by_its_bytes(run: Run, tmp_path: Path, character: str) -> None:
    path = tmp_path / "long.parquet"
    write(path, key=[character * 2_000_000, "short"])
    result = run(path, group_by=["key"], sort=[{"column": "key"}])
    ((long, _),) = [row for row in result.preview if row[0] != "short"]
    assert isinstance(long, str)
    assert long.rstrip("…") == character * (len(long) - 1)
    assert CELL_BYTES - 6 <= len(to_json(long)) <= CELL_BYTES
    assert ["short", 1] in result.preview


def test_a_preview_of_wide_rows_has_fewer_of_them(run: Run, tmp_path: Path) -> None:
    columns = {f"c{n}": [f"{row}" + "\x02" * 1000 for row in range(10)] for n in range(99)}
    path = tmp_path / "wide.parquet"
    write(path, key=list(range(10)), **columns)
    firsts = [{"op": "first", "column": name, "name": name} for name in columns]
    result = run(path, group_by=["key"], aggregates=firsts)
    assert result.rows_out == 10
    assert len(result.preview) == 1
    assert len(to_json(result.preview)) <= PREVIEW_BYTES


@pytest.mark.parametrize("at", ["checking", "rows"])
@pytest.mark.slow
def test_a_cancelled_job_stops_within_half_a_second(
    run: Run, job: FolderContext, tmp_path: Path, at: str
) -> None:
    path = tmp_path / "long.csv"
    with path.open("w") as file:
        file.write("key,value\n")
        for start in range(0, 4_000_000, 100_000):
            file.write(
                "".join(f"{n * 7919 % 1_000_003},{n}\n" for n in range(start, start + 100_000))
            )

    cancelled = 0.0

    def midway(fraction: float, message: str) -> bool:
        nonlocal cancelled
        begun = message.endswith("rows") and not message.startswith("0 of")
        cancelled = time.process_time()
        return begun if at == "rows" else message.startswith("checking the rows")

    job.cancel_when = midway
    with pytest.raises(JobCancelled):
        run(path, group_by=["key"], aggregates=[{"op": "median", "column": "value", "name": "m"}])
    assert time.process_time() - cancelled < 0.5
    assert job.told[-1][0] < 0.9
    assert not job.outputs
