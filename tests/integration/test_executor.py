"""A child's work, in this process: what it writes of a job that misbehaves."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine

from app.core.config import Settings
from app.jobs import JobContext, JobError, JobOptions, KindRegistry, job_kind
from app.jobs.registry import AnyKind
from tests.ledger_view import View
from tests.processes import until
from worker.executor import Executor
from worker.identity import Identity
from worker.slots import Slots


class Nothing(JobOptions):
    seconds: float = 0


@pytest.fixture
def view(engine: Engine, make_owner: Callable[..., UUID]) -> View:
    return View(engine, make_owner())


@pytest.fixture
def execute(settings: Settings, view: View, tmp_path: Path) -> Iterator[Callable[[AnyKind], UUID]]:
    """Run a job of the kind: its id."""
    executors = []

    def execute(kind: AnyKind) -> UUID:
        executor = Executor(
            settings,
            Identity(uuid4(), "cpu", "1", KindRegistry([kind])),
            Slots(1),
            slot=0,
            scratch=tmp_path / "scratch",
        )
        executors.append(executor)
        job = view.submit(kind.name)
        executor.execute(job)
        return job

    yield execute
    for executor in executors:
        # As the child's end does.
        executor._engine.dispose()
        executor._announcer.close()


def test_a_job_may_say_what_no_database_can_hold(
    execute: Callable[[AnyKind], UUID], view: View
) -> None:
    @job_kind("test.babble", pool="cpu", timeout=60)
    def babble(spec: Nothing, job: JobContext) -> Nothing:
        job.progress(0.5, "half\0 a \ud83d")
        until(
            lambda: view.count("job_runs WHERE message = 'half\ufffd a \ufffd'"),
            seconds=10,
            what="progress",
        )
        raise JobError("babble", "what\0 is \udcff?")

    job = execute(babble)
    assert view.state(job) == "failed"
    assert view.count("jobs WHERE error_detail = 'what\ufffd is \ufffd?'") == 1
