"""`heavylift jobs reconcile`."""

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text

from app.cli import reconcile
from app.embedded.stack import command
from app.services import ledger
from app.services.ledger import Submission
from tests.integration.cli.conftest import Outcome, Run, clean_environment, is_one_line
from tests.ledger_view import KEEP, View
from tests.servers import POSTGRES

TOMORROW = datetime.now(UTC) + timedelta(days=1)

EXPIRE = text("UPDATE job_runs SET lease_expires_at = started_at WHERE job_id = :job")

Reconcile = Callable[..., Outcome]


class Restored:
    """What a dump had: one job of each state that runs on, and two that do not."""

    def __init__(self, engine: Engine, owner: UUID) -> None:
        self._engine = engine
        self.owner = owner
        self.view = View(engine, owner)
        self.ended = self._accept("mail.send")
        with engine.begin() as connection:
            ledger.cancel(connection, self.ended, keep=KEEP)
        self.lost = self._claim(self._accept("mail.send"))
        self.expire(self.lost)
        self.held = self._claim(self._accept("mail.send"))
        self.asked = self._claim(self._accept("mail.send"))
        with engine.begin() as connection:
            ledger.cancel(connection, self.asked, keep=KEEP)
        self.queued = self._accept("image.transform")
        self.scheduled = self._accept("mail.send", not_before=TOMORROW)

    def _accept(self, kind: str, not_before: datetime | None = None) -> UUID:
        submission = Submission(self.owner, kind, "cpu", 3, "{}", not_before=not_before)
        with self._engine.begin() as connection:
            job = ledger.accept(connection, submission)
        assert job is not None
        return job

    def _claim(self, job: UUID) -> UUID:
        with self._engine.begin() as connection:
            assert ledger.claim(
                connection, job, worker_id=uuid4(), kinds=["mail.send"], version="1"
            )
        return job

    def expire(self, job: UUID) -> None:
        with self._engine.begin() as connection:
            connection.execute(EXPIRE, {"job": job})

    def states(self) -> list[str]:
        jobs = (self.lost, self.held, self.queued, self.scheduled)
        return [self.view.state(job) for job in jobs]


@pytest.fixture
def restored(engine: Engine, make_owner: Callable[..., UUID]) -> Restored:
    return Restored(engine, make_owner())


@pytest.fixture
def call(run: Run, variables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Reconcile:
    # So that the jobs are on several pages.
    monkeypatch.setattr(reconcile, "PAGE", 2)
    return lambda *arguments, **more: run(
        "jobs", "reconcile", *map(str, arguments), **{**variables, **more}
    )


def document(outcome: Outcome) -> dict[str, Any]:
    assert (outcome.code, outcome.err) == (0, "")
    found: dict[str, Any] = json.loads(outcome.out)
    return found


def test_lists_what_would_run_in_order_of_submission(call: Reconcile, restored: Restored) -> None:
    found = document(call("--json"))
    assert [(job["id"], job["state"], job["attempt"]) for job in found["jobs"]] == [
        (str(restored.lost), "running", 1),
        (str(restored.held), "running", 1),
        (str(restored.queued), "queued", 0),
        (str(restored.scheduled), "scheduled", 0),
    ]
    first, *_, last = found["jobs"]
    assert (first["kind"], first["pool"]) == ("mail.send", "cpu")
    assert first["owner_id"] == str(restored.owner)
    assert first["submitted_at"] < first["started_at"] < last["submitted_at"]
    assert last["started_at"] is None
    assert found["counts"] == [
        {"kind": "image.transform", "state": "queued", "count": 1},
        {"kind": "mail.send", "state": "running", "count": 2},
        {"kind": "mail.send", "state": "scheduled", "count": 1},
    ]
    assert restored.states() == ["running", "running", "queued", "scheduled"]


def test_a_person_gets_a_table_and_a_line(call: Reconcile, restored: Restored) -> None:
    outcome = call()
    assert (outcome.code, outcome.err) == (0, "")
    *table, summary = outcome.out.splitlines()
    assert table[0].split() == (
        ["id", "kind", "pool", "owner", "state", "attempt", "started", "submitted"]
    )
    assert table[1].split()[:6] == (
        [str(restored.lost), "mail.send", "cpu", str(restored.owner), "running", "1"]
    )
    assert summary == (
        "4 jobs would run: image.transform 1 queued; mail.send 2 running, 1 scheduled"
    )


def test_an_attempt_that_was_rescued_still_shows_that_it_began(
    call: Reconcile, restored: Restored, engine: Engine
) -> None:
    with engine.begin() as connection:
        assert ledger.rescue(connection, asked_at=ledger.now(connection), limit=9, keep=KEEP)
    first = document(call("--json"))["jobs"][0]
    assert (first["id"], first["state"], first["attempt"]) == (str(restored.lost), "queued", 1)
    assert first["started_at"] is not None


def test_what_is_named_is_cancelled_and_nothing_else(call: Reconcile, restored: Restored) -> None:
    jobs = ("--cancel", restored.lost, "--cancel", restored.queued)
    found = document(call(*jobs, "--json"))
    assert [(job["id"], job["state"]) for job in found["jobs"]] == [
        (str(restored.lost), "cancelled"),
        (str(restored.queued), "cancelled"),
    ]
    assert restored.states() == ["cancelled", "running", "cancelled", "scheduled"]
    again = call(*jobs)
    assert (again.code, again.out) == (0, "0 jobs cancelled\n")
    assert again.err == "2 had ended before, or were asked to\n"


def test_a_kind_is_cancelled_and_a_live_worker_asked(
    call: Reconcile, restored: Restored, engine: Engine
) -> None:
    outcome = call("--cancel-kind", "mail.send")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[-1] == (
        "3 jobs cancelled: mail.send 2 cancelled, 1 running"
        " (held by live workers, which are asked to stop)"
    )
    assert restored.states() == ["cancelled", "running", "queued", "cancelled"]
    # It was none: with its lease the job ends as it was asked to.
    restored.expire(restored.held)
    with engine.begin() as connection:
        ledger.rescue(connection, asked_at=ledger.now(connection), limit=9, keep=KEEP)
    assert restored.states() == ["cancelled", "cancelled", "queued", "cancelled"]
    assert call().out.splitlines()[-1] == "1 job would run: image.transform 1 queued"


def test_what_a_lost_attempt_still_writes_is_refused(
    call: Reconcile, restored: Restored, engine: Engine
) -> None:
    assert call("--cancel", restored.lost).code == 0
    with engine.begin() as connection:
        assert ledger.succeed(connection, restored.lost, 1, result="{}", keep=KEEP) is None
    assert restored.view.state(restored.lost) == "cancelled"


def test_nothing_to_run_is_no_error(call: Reconcile, clean: None) -> None:
    assert call().out == "0 jobs would run\n"
    assert document(call("--json")) == {"jobs": [], "counts": []}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cancel", "7"], "Invalid value for '--cancel'"),
        (["--cancel", str(UUID(int=7))], "there is no such job; none is cancelled"),
        (["--cancel-kind", "mail.sent"], "--cancel-kind mail.sent: no job of this kind would run"),
        (["--cancel-kind", ""], "no job of this kind would run"),
        (["--cancel", str(UUID(int=7)), "--cancel-kind", "mail.send"], "one of them at a time"),
    ],
)
def test_what_is_wrong_is_one_line_and_cancels_nothing(
    call: Reconcile, restored: Restored, arguments: list[str], said: str
) -> None:
    outcome = call(*arguments, *(["--cancel", restored.queued] * (arguments[0] == "--cancel")))
    assert (outcome.code, outcome.out) == (2, "")
    assert is_one_line(outcome.err)
    assert said in outcome.err
    assert restored.states() == ["running", "running", "queued", "scheduled"]


@pytest.mark.parametrize(
    ("database", "said"),
    [
        ("postgresql://nobody@127.0.0.1:1/heavylift", "can't reach the database"),
        (None, "heavylift migrate"),
    ],
)
def test_a_database_that_is_not_there_is_one_line(
    call: Reconcile, database: str | None, said: str
) -> None:
    # The maintenance database has no tables of ours.
    outcome = call(HEAVYLIFT_DATABASE_URL=database or os.environ[POSTGRES])
    assert outcome.code == 2
    assert is_one_line(outcome.err)
    assert said in outcome.err


MANY = text(
    """
    WITH job AS (
        INSERT INTO jobs (owner_id, kind, spec, priority)
        SELECT :owner, 'mail.send', '{}', 0 FROM generate_series(1, :count) RETURNING id
    )
    INSERT INTO job_runs (job_id, owner_id, kind, pool, priority, max_tries, state)
    SELECT id, :owner, 'mail.send', 'cpu', 0, 3, 'queued' FROM job
    """
)


@pytest.mark.slow
@pytest.mark.parametrize(("form", "count"), [(["--json"], 100_000), ([], 20_000)])
def test_however_many_jobs_take_no_more_memory_than_a_page(
    engine: Engine,
    make_owner: Callable[..., UUID],
    variables: Mapping[str, str],
    tmp_path: Path,
    form: list[str],
    count: int,
) -> None:
    owner = make_owner()

    def peak() -> int:
        """In kB, of a process that lists them all."""
        with (tmp_path / "out").open("wb") as out:
            process = subprocess.Popen(
                command("jobs", "reconcile", *form), env=clean_environment(**variables), stdout=out
            )
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_maxrss

    def insert(count: int) -> None:
        with engine.begin() as connection:
            # An earlier test may have left this connection a plan of the foreign key's check that
            # reads the whole table: over a minute for 100,000 rows.
            connection.execute(text("DISCARD PLANS"))
            connection.execute(MANY, {"owner": owner, "count": count})

    insert(reconcile.PAGE)
    few = peak()
    insert(count)
    many = peak()
    # Far less than what was written.
    assert (tmp_path / "out").stat().st_size > 2_500_000
    assert many - few < 8_000
