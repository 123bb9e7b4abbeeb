"""What a pool is asked for, in every state that it may be in."""

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, text

from app.services import demand, ledger
from app.services.demand import PoolLoad
from app.services.ledger import Beat, Submission
from tests.ledger_view import KEEP

NOTHING = PoolLoad("cpu", 0, 0, 0, 0, 0, 0, 0, 0.0)


@pytest.fixture
def owner(make_owner: Callable[..., UUID]) -> UUID:
    return make_owner()


def load(connection: Connection, pool: str = "cpu", *, limit: int = 100) -> PoolLoad:
    found = {one.pool: one for one in demand.load(connection, ["cpu", "io"], limit=limit)}
    assert found.keys() == {"cpu", "io"}
    return found[pool]


def wanted(connection: Connection, *, limit: int = 100) -> int:
    return load(connection, limit=limit).demand(limit)


def submit(connection: Connection, owner: UUID, count: int = 1, pool: str = "cpu") -> list[UUID]:
    jobs = []
    for _ in range(count):
        job = ledger.accept(connection, Submission(owner, "a.b", pool, 3, "{}"))
        assert job is not None
        jobs.append(job)
    return jobs


def beat(connection: Connection, worker: UUID, slots: int, *, draining: bool = False) -> None:
    ledger.heartbeat(connection, Beat(worker, "cpu", "h", "1", "b", ["a.b"], slots, draining))


def claim(connection: Connection, worker: UUID, job: UUID) -> None:
    assert ledger.claim(connection, job, worker_id=worker, kinds=["a.b"], version="1")


def test_nobody_needs_to_be_there_to_be_asked_for(connection: Connection, owner: UUID) -> None:
    assert load(connection) == NOTHING
    assert NOTHING.demand(100) == 0
    submit(connection, owner, 3)
    submit(connection, owner, 2, pool="io")
    assert wanted(connection) == 3
    assert load(connection, "io").demand(100) == 2
    assert load(connection).workers == 0


def test_what_is_not_due_is_not_asked_for(connection: Connection, owner: UUID) -> None:
    (job,) = submit(connection, owner)
    ledger.claim(connection, job, worker_id=uuid4(), kinds=[], version="1")
    assert wanted(connection) == 0


def test_no_busy_worker_is_one_too_many(connection: Connection, owner: UUID) -> None:
    """Two of four slots each, with a job each: taking either away would end a job."""
    workers = [uuid4() for _ in range(3)]
    for worker in workers:
        beat(connection, worker, 4)
    for worker, job in zip(workers[:2], submit(connection, owner, 2), strict=True):
        claim(connection, worker, job)
    found = load(connection)
    assert (found.running, found.workers, found.slots, found.busy) == (2, 3, 12, 2)
    assert found.demand(100) == 8
    # What waits has those slots to go to.
    submit(connection, owner, 6)
    assert wanted(connection) == 8
    submit(connection, owner, 1)
    assert wanted(connection) == 9


def test_who_drains_or_is_lost_has_no_slots_and_yet_its_jobs(
    connection: Connection, owner: UUID
) -> None:
    drains, lost = uuid4(), uuid4()
    for worker, job in zip((drains, lost), submit(connection, owner, 2), strict=True):
        beat(connection, worker, 4)
        claim(connection, worker, job)
    assert wanted(connection) == 8
    beat(connection, drains, 4, draining=True)
    assert wanted(connection) == 4
    connection.execute(
        text("UPDATE workers SET expires_at = clock_timestamp() WHERE id = :id"), {"id": lost}
    )
    found = load(connection)
    assert found == replace(NOTHING, running=2)
    assert found.demand(100) == 2


def test_messages_out_are_jobs_too(connection: Connection, owner: UUID) -> None:
    connection.execute(text("INSERT INTO pools (name) VALUES ('cpu')"))
    jobs = submit(connection, owner, 5)
    ledger.dispatch(connection, "cpu", dict.fromkeys(jobs[:2]), cursor=owner)
    found = load(connection)
    assert (found.waiting, found.unclaimed, found.demand(100)) == (3, 2, 5)


def test_it_is_counted_no_further_than_the_limit(connection: Connection, owner: UUID) -> None:
    jobs = submit(connection, owner, 12)
    assert wanted(connection, limit=5) == 5
    worker = uuid4()
    beat(connection, worker, 8)
    claim(connection, worker, jobs[0])
    assert wanted(connection, limit=5) == 8, "not below what is busy"


def test_the_oldest_is_the_one_that_could_be_taken_first(
    connection: Connection, owner: UUID
) -> None:
    connection.execute(text("INSERT INTO pools (name) VALUES ('cpu')"))
    old, young, running, later = submit(connection, owner, 4)
    for job, minutes in ((old, 30), (young, 10), (running, 60), (later, 90)):
        connection.execute(
            text(
                "UPDATE job_runs SET eligible_at = clock_timestamp() - :age * interval '1 minute'"
                " WHERE job_id = :job"
            ),
            {"age": minutes, "job": job},
        )
    claim(connection, uuid4(), running)
    ledger.claim(connection, later, worker_id=uuid4(), kinds=[], version="1")
    # Its message is out, and nobody has taken it: it waits.
    ledger.dispatch(connection, "cpu", {old: None}, cursor=owner)
    assert 1800 <= load(connection).oldest < 1860
    ledger.cancel(connection, old, keep=KEEP)
    assert 600 <= load(connection).oldest < 660
    ledger.cancel(connection, young, keep=KEEP)
    assert load(connection).oldest == 0
