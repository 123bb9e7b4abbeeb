"""The ledger on the newest PostgreSQL and on the oldest supported one."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, TextClause, event, text

from app import migrations
from app.core.config import Database
from app.core.db import sync_engine
from app.models.job import JobState
from app.services import demand, ledger, reconcile, tallies
from app.services.ledger import Beat, Lease, Need, Outcome, Submission
from tests.ledger_view import KEEP
from tests.servers import BINARIES
from worker.controller.dispatch import fill

ROOT = Path(__file__).parents[2]
WORKER = uuid4()
STATEMENTS = {
    name: statement
    for module in (ledger, tallies, demand, reconcile)
    for name, statement in vars(module).items()
    if isinstance(statement, TextClause)
}


def live(connection: Connection, owner: UUID) -> None:
    """Everything that can happen to a job, once each."""

    def accept(**changes: Any) -> UUID:
        asked = {"owner_id": owner, "kind": "a.b", "pool": "cpu", "max_tries": 3, "spec": "{}"}
        job = ledger.accept(connection, Submission(**{**asked, **changes}))
        assert job is not None
        return job

    def claim(job: UUID, *, version: str = "1") -> int:
        claimed = ledger.claim(connection, job, worker_id=WORKER, kinds=["a.b"], version=version)
        assert claimed is not None
        return claimed.attempt

    def beat(*held: tuple[UUID, int], kinds: tuple[str, ...] = ("a.b",)) -> None:
        worker = Beat(WORKER, "cpu", "host", "1", "b1", kinds, slots=4, draining=False, held=held)
        assert ledger.heartbeat(connection, worker) == dict.fromkeys(held, Lease.RENEWED)

    # Left alone for want of a worker that runs the kind, then sent, lost, to be sent again.
    connection.execute(text("INSERT INTO pools (name) VALUES ('cpu')"))
    job = accept()
    needs = ledger.needs(connection, "cpu")
    assert needs == [Need("a.b")]
    assert fill(connection, "cpu", window_per_slot=1, queued={}) == ([], False)
    beat()
    assert [build.kinds for build in ledger.builds(connection, "cpu")] == [{"a.b"}]
    sent, _ = fill(connection, "cpu", window_per_slot=1, queued={})
    assert [message.job_id for message in sent] == [job]
    assert ledger.unclaimed(connection, "cpu", after=timedelta(0)) == sent
    assert ledger.redispatch(connection, sent) == 1

    # Claimed, put back, claimed, failed, due again, lost with its worker, claimed, succeeded.
    attempt = claim(job)
    assert ledger.release(connection, job, attempt, keep=KEEP) is not None
    attempt = claim(job)
    beat((job, attempt))
    failed = ledger.fail(connection, job, attempt, code="c", detail="d", retryable=True, keep=KEEP)
    assert failed is not None
    assert failed.state == JobState.SCHEDULED
    connection.execute(text("UPDATE job_runs SET due_at = clock_timestamp()"))
    assert [change.job_id for change in ledger.promote(connection, limit=9)] == [job]
    assert ledger.forfeit(connection, job, claim(job))
    asked_at = ledger.now(connection)
    lost = ledger.rescue(connection, asked_at=asked_at, limit=9, keep=KEEP)
    assert [(change.job_id, change.state) for change in lost] == [(job, JobState.QUEUED)]
    assert ledger.origins(connection, [job]).keys() == {job}
    assert [pool.waiting for pool in demand.load(connection, ["cpu", "io"], limit=9)] == [1, 0]
    assert tallies.count(connection, limit=99) > 0
    assert tallies.totals(connection)
    attempt = claim(job)
    assert demand.busy_hosts(connection, ["cpu", "io"]) == {"host": 1}
    assert ledger.progress(connection, job, attempt, fraction=0.5, message="half") is not None
    output = ledger.reserve_output(
        connection,
        job,
        attempt,
        key="k",
        name="n",
        content_type="text/plain",
        size=1,
        sha256=b"x",
        pending_ttl=timedelta(hours=1),
    )
    assert output is not None
    ended = ledger.succeed(connection, job, attempt, result='{"n": 1}', keep=KEEP)
    assert ended is not None
    assert (ended.state, ended.attempt) == (JobState.SUCCEEDED, 4)

    # The output is another job's input; it is cancelled as it waits, a third one as it runs.
    waiting = accept(files=[output], not_before=asked_at + timedelta(hours=1))
    cancelled = ledger.cancel(connection, waiting, keep=KEEP)
    assert cancelled is not None
    assert cancelled.state == JobState.CANCELLED
    running = accept(idempotency_key="key", fingerprint=b"f", traceparent="00-1-2-01")
    assert ledger.claim(connection, running, worker_id=WORKER, kinds=[], version="1") is None
    connection.execute(text("UPDATE job_runs SET due_at = clock_timestamp()"))
    ledger.promote(connection, limit=9)
    attempt = claim(running)
    assert ledger.origins(connection, [running])[running].traceparent == "00-1-2-01"
    asked = ledger.cancel(connection, running, keep=KEEP)
    assert asked is not None
    assert asked.state == JobState.RUNNING
    ended = ledger.finish(
        connection,
        running,
        Outcome(JobState.FAILED, error_code="c", error_detail="d"),
        attempt=attempt,
        from_states=[JobState.RUNNING],
        keep=KEEP,
    )
    assert ended is not None
    assert ended.state == JobState.CANCELLED

    # Of a database that was restored: an attempt that nobody holds any more.
    held = accept()
    assert ledger.forfeit(connection, held, claim(held))
    assert reconcile.unknown(connection, [held]) == []
    assert reconcile.has_kind(connection, "a.b")
    page = reconcile.unfinished(connection, after=UUID(int=0), limit=9)
    assert [(found.id, found.attempt) for found in page.jobs] == [(held, 1)]
    assert [found.state for found in reconcile.cancel(connection, page.jobs, keep=KEEP)] == [
        JobState.CANCELLED
    ]


def test_every_statement_of_the_ledger_runs(make_database: Callable[[str], Database]) -> None:
    database = make_database("ledger")
    migrations.upgrade(database)
    engine = sync_engine(database)
    executed: set[str] = set()

    @event.listens_for(engine, "before_execute")
    def note(connection: Connection, statement: object, *_: object) -> None:
        executed.update(name for name, known in STATEMENTS.items() if known is statement)

    with engine.connect() as connection:
        owner = connection.execute(
            text("INSERT INTO users (email, password_hash) VALUES ('o@x.org', '!') RETURNING id")
        ).scalar_one()
        live(connection, owner)
    engine.dispose()
    assert executed == STATEMENTS.keys()


@pytest.mark.slow
@pytest.mark.postgres15
def test_the_ledger_keeps_its_promises_on_postgres_15(postgres_15: Path) -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")
    }
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("-m", "not slow", "tests/integration/test_ledger.py"),
        ],
        cwd=ROOT,
        env={**environment, BINARIES: str(postgres_15)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
