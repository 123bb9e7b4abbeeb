"""Parquet files that would take much memory: it is bounded."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.kinds_builtin.dataset.answers import parquet
from tests.kinds_builtin.dataset.parquet_edits import (
    HEADERS,
    ONE,
    ONE_SPEC,
    RIGHT,
    SPEC,
    SUM,
    TABLE,
    file_of,
    footer_of,
    put,
    with_first_header,
)
from tests.kinds_builtin.dataset.thrift import BINARY, LIST, STRUCT, Struct

MEASURE = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from worker.threads import limit_threads
limit_threads(1)
from app.jobs import JobError
from tests.kinds_builtin.dataset.answers import run
content = Path({path!r}).read_bytes()
run(b"a\\n1\\n")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print(run(content, **{spec!r}).rows)
except JobError as error:
    print(error.code)
    print(error.detail, file=sys.stderr)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def measured(path: Path, spec: dict[str, Any]) -> tuple[str, int]:
    """The answer or the error's code, and the memory that it took, in a process of its own."""
    root = str(Path(__file__).parents[3])
    code = MEASURE.format(root=root, path=str(path), spec=spec)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    answer, memory = done.stdout.strip().splitlines()[-2:]
    return answer, int(memory)


@pytest.mark.slow
@pytest.mark.parametrize("header", ["uncompressed 2 GiB", "compressed 2 GiB", "values 2 G"])
def test_a_page_of_2_gib_by_its_header_takes_little_memory(header: str, tmp_path: Path) -> None:
    content = parquet(ONE, compression="zstd", use_dictionary=False)
    path = tmp_path / "header.parquet"
    path.write_bytes(with_first_header(content, HEADERS[header]))
    answer, memory = measured(path, ONE_SPEC)
    assert answer in ("parquet-broken", str([[SUM]]))
    assert memory < 600 << 20


@pytest.mark.slow
def test_200_million_zeros_take_little_memory(tmp_path: Path) -> None:
    """A billion zeros in a few kilobytes: runs of one value."""
    table = pa.table({"v": pa.array([0] * 1_000_000, pa.int64())})
    writer_path = tmp_path / "bomb.parquet"
    with pq.ParquetWriter(writer_path, table.schema, compression="zstd") as writer:
        for _ in range(200):
            writer.write_table(table)
    answer, memory = measured(writer_path, ONE_SPEC)
    assert answer == "[[0]]"
    assert memory < 600 << 20


@pytest.mark.slow
def test_a_footer_of_100_megabytes_takes_bounded_memory(tmp_path: Path) -> None:
    body, footer = footer_of(parquet(TABLE))
    pair: Struct = {1: (BINARY, b"key"), 2: (BINARY, b"x" * 100_000_000)}
    put(footer, 5, LIST, (STRUCT, [pair]))
    path = tmp_path / "large.parquet"
    path.write_bytes(file_of(body, footer))
    answer, memory = measured(path, SPEC)
    assert answer in ("parquet-broken", "parquet-footer", "file-too-large", str(RIGHT)), answer
    assert memory < 700 << 20


@pytest.mark.slow
@pytest.mark.parametrize("columns", [1000, 100_000])
def test_a_hundred_thousand_columns_take_bounded_memory(tmp_path: Path, columns: int) -> None:
    one = pa.array([1])
    path = tmp_path / "wide.parquet"
    pq.write_table(pa.table({f"c{n}": one for n in range(columns)}), path, write_statistics=False)
    answer, memory = measured(path, {"aggregates": [{"op": "sum", "column": "c7", "name": "s"}]})
    if columns == 1000:
        assert answer == "[[1]]"
    else:
        assert answer == "[[1]]" or answer.startswith(("parquet-", "column-")), answer
    assert memory < 900 << 20
