"""Runs the kind over files that a test writes, in the folder of its context."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest

from app.jobs import JobError
from tests.kinds_builtin.conftest import FolderContext
from worker.kinds.dataset import DatasetAggregate, DatasetAggregated, aggregate

Run = Callable[..., DatasetAggregated]
COUNT = [{"op": "count", "name": "n"}]
NA = {"null_values": ["NA"]}
TABLE = "word,number,real,flag\napple,1,0.5,true\nBanana,2,1.5,false\n,3,,\ncherry,,2.5,true\n"
SALES = "day,shop,price\n2013-05-06,a,1.50\n2013-05-31,b,10.25\n2013-06-01,a,9.00\n2013-06-01,b,\n"


@pytest.fixture
def run(job: FolderContext, tmp_path: Path) -> Run:
    def run(source: Path | str | bytes, **spec: Any) -> DatasetAggregated:
        if not isinstance(source, Path):
            path = tmp_path / "source"
            path.write_bytes(source if isinstance(source, bytes) else source.encode())
            source = path
        spec = {"source": job.give(source), "aggregates": COUNT} | spec
        return aggregate(DatasetAggregate.model_validate(spec), job)

    return run


def write(path: Path, **columns: Any) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def refused(run: Run, source: Path | str | bytes, **spec: Any) -> JobError:
    with pytest.raises(JobError) as caught:
        run(source, **spec)
    assert not caught.value.retryable
    return caught.value
