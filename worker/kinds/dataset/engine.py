"""A DuckDB for one job: bounded memory, no extension, and only the job's own files."""

from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import Any, Self

from app.jobs import JobContext, JobError
from worker.kinds.watch import watched

Row = tuple[Any, ...]

# Leaves a slot of 900 MiB room for Python and for the buffers that DuckDB does not count.
MEMORY = "450MB"
# Bytes that sorts and groups may spill to the scratch folder; MAX_TEXT in csv_text.py is the other
# part of what a job puts there.
SPILL = "1500MB"
# These optimizers trust the file's statistics: they skip rows, and count rows without reading them.
# A file with wrong statistics would get a wrong answer.
CREDULOUS_OPTIMIZERS = (
    "filter_pushdown",
    "filter_pullup",
    "statistics_propagation",
    "row_group_pruner",
    "join_filter_pushdown",
    "late_materialization",
    "partial_aggregate_pushdown",
)


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


class Engine:
    """Runs SQL in a thread of its own, so that a job is cancelled at once."""

    def __init__(self, job: JobContext, files: Sequence[Path]) -> None:
        import duckdb

        self._job = job
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "threads": job.threads,
                "memory_limit": MEMORY,
                "temp_directory": str(job.scratch / "spill"),
                "max_temp_directory_size": SPILL,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "allow_community_extensions": False,
                "python_enable_replacements": False,
            },
        )
        self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.execute("SET enable_progress_bar = true")
        self._connection.execute("SET enable_progress_bar_print = false")
        self._connection.execute(f"SET disabled_optimizers = '{','.join(CREDULOUS_OPTIMIZERS)}'")
        self._connection.execute("SET allowed_paths = $1", [[str(file) for file in files]])
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")

    def run(
        self,
        sql: str,
        parameters: Sequence[object] = (),
        *,
        start: float = 0.0,
        end: float = 0.0,
        message: str = "",
    ) -> list[Row]:
        """The rows of one statement; progress goes from `start` to `end`.

        Raises `JobError` (`memory-limit`) and DuckDB's errors.
        """
        import duckdb

        def work(_: Event) -> list[Row]:
            return self._connection.execute(sql, list(parameters)).fetchall()

        share = 0.0

        def watch() -> None:
            nonlocal share
            # It is -1 where DuckDB knows no progress.
            share = max(share, self._connection.query_progress() / 100)
            self._job.progress(start + min(share, 1) * (end - start), message)

        tell = watch if message else self._job.check
        tell()
        try:
            return watched(work, tell, self._connection.interrupt)
        except duckdb.OutOfMemoryException as error:
            raise JobError(
                "memory-limit",
                "The groups or exact quantiles don't fit into a job's memory: set approximate on "
                "quantiles, use fewer or coarser groups, or filter the rows.",
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
