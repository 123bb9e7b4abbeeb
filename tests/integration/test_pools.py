"""How a pool's owners share it, and what its workers can't run."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, text

from app.services import ledger, pools
from app.services.ledger import Beat, Submission
from app.services.pools import Shares, Unrunnable, Version
from tests.ledger_view import KEEP

NOTHING = Shares("cpu", 0, 0.0, 0.0, 0.0)


@pytest.fixture
def owners(make_owner: Callable[..., UUID]) -> list[UUID]:
    return sorted(make_owner() for _ in range(3))


def submit(connection: Connection, owner: UUID, *, kind: str = "a.b", count: int = 1) -> list[UUID]:
    jobs = []
    for _ in range(count):
        job = ledger.accept(connection, Submission(owner, kind, "cpu", 3, "{}"))
        assert job is not None
        jobs.append(job)
    return jobs


def dispatch(connection: Connection, *jobs: UUID) -> None:
    ledger.dispatch(connection, "cpu", dict.fromkeys(jobs), cursor=UUID(int=0))


def beat(
    connection: Connection,
    *,
    version: str = "1",
    kinds: tuple[str, ...] = ("a.b",),
    draining: bool = False,
) -> UUID:
    worker = uuid4()
    ledger.heartbeat(
        connection, Beat(worker, "cpu", "h", version, f"build-{version}", kinds, 2, draining)
    )
    return worker


def claim(connection: Connection, job: UUID, *, version: str = "1") -> int:
    claimed = ledger.claim(
        connection, job, worker_id=uuid4(), kinds=["a.b", "c.d"], version=version
    )
    assert claimed is not None
    return claimed.attempt


def shares(connection: Connection) -> Shares:
    found = {one.pool: one for one in pools.shares(connection, ["cpu", "io"], limit=100)}
    assert found["io"] == Shares("io", 0, 0.0, 0.0, 0.0)
    return found["cpu"]


def test_without_jobs_there_is_nothing_to_share(connection: Connection) -> None:
    assert shares(connection) == NOTHING
    assert pools.unrunnable(connection, ["cpu"], limit=100) == []
    assert pools.versions(connection, ["cpu"]) == []


def test_an_owner_is_counted_once_whatever_it_waits_for(
    connection: Connection, owners: list[UUID]
) -> None:
    for owner in owners:
        submit(connection, owner, count=3)
        submit(connection, owner, kind="c.d")
    assert shares(connection).owners_waiting == 3
    # All that the first one wants is on its way.
    connection.execute(
        text("UPDATE job_runs SET dispatched_at = clock_timestamp() WHERE owner_id = :owner"),
        {"owner": owners[0]},
    )
    assert shares(connection).owners_waiting == 2


def test_owners_are_counted_up_to_a_limit(
    connection: Connection, owners: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    for owner in owners:
        submit(connection, owner)
    monkeypatch.setattr(pools, "STEPS", 2)
    assert shares(connection).owners_waiting == 2


def test_the_largest_share_is_of_messages_and_running_jobs(
    connection: Connection, owners: list[UUID]
) -> None:
    first, second, third = owners
    held = [*submit(connection, first, count=3), *submit(connection, second)]
    submit(connection, third, count=10)
    dispatch(connection, *held)
    claim(connection, held[0])
    assert shares(connection).largest == 0.75
    assert pools.shares(connection, ["cpu"], limit=2)[0].largest in (0.5, 1.0)


def test_the_longest_wait_is_of_an_owner_without_a_place(
    connection: Connection, owners: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has a place is served, however long the rest of its jobs wait."""
    greedy, modest, _ = owners
    jobs = submit(connection, greedy, count=5)
    waiting = submit(connection, modest)
    ago = text(
        "UPDATE job_runs SET eligible_at = clock_timestamp() - CAST(:ago AS interval)"
        " WHERE owner_id = :owner"
    )
    connection.execute(ago, {"owner": greedy, "ago": timedelta(hours=2)})
    connection.execute(ago, {"owner": modest, "ago": timedelta(hours=1)})
    assert 7200 <= shares(connection).longest_wait < 7260
    dispatch(connection, jobs[0])
    assert 3600 <= shares(connection).longest_wait < 3660
    dispatch(connection, *waiting)
    assert shares(connection).longest_wait == 0
    connection.execute(text("UPDATE job_runs SET dispatched_at = NULL"))
    dispatch(connection, jobs[0])
    # Only among the jobs that have waited longest.
    monkeypatch.setattr(pools, "OLDEST", 3)
    assert shares(connection).longest_wait == 0


def test_the_oldest_cancel_is_of_a_job_that_goes_on(
    connection: Connection, owners: list[UUID]
) -> None:
    first, second = submit(connection, owners[0], count=2)
    attempts = {job: claim(connection, job) for job in (first, second)}
    for job in attempts:
        ledger.cancel(connection, job, keep=KEEP)
    connection.execute(
        text(
            "UPDATE job_runs SET cancel_requested_at = clock_timestamp() - interval '1 hour'"
            " WHERE job_id = :job"
        ),
        {"job": first},
    )
    assert 3600 <= shares(connection).oldest_cancel < 3660
    ledger.release(connection, first, attempts[first], keep=KEEP)
    assert shares(connection).oldest_cancel < 60
    ledger.release(connection, second, attempts[second], keep=KEEP)
    assert shares(connection) == NOTHING


def test_live_workers_are_counted_by_build(connection: Connection) -> None:
    beat(connection)
    beat(connection, draining=True)
    lost = beat(connection)
    beat(connection, version="2")
    connection.execute(
        text("UPDATE workers SET expires_at = clock_timestamp() WHERE id = :id"), {"id": lost}
    )
    assert sorted(pools.versions(connection, ["cpu", "io"]), key=lambda one: one.version) == [
        Version("cpu", "1", "build-1", 2),
        Version("cpu", "2", "build-2", 1),
    ]


def test_what_no_worker_can_run_has_a_reason(connection: Connection, owners: list[UUID]) -> None:
    submit(connection, owners[0], count=2)
    submit(connection, owners[1], kind="c.d")

    def found(limit: int = 100) -> list[Unrunnable]:
        return sorted(pools.unrunnable(connection, ["cpu"], limit=limit), key=lambda one: one.kind)

    assert found() == [
        Unrunnable("cpu", "a.b", "no-workers", 2),
        Unrunnable("cpu", "c.d", "no-workers", 1),
    ]
    assert found(limit=1)[0].jobs == 1
    # One that leaves takes no more.
    beat(connection, kinds=("a.b", "c.d"), draining=True)
    assert [one.reason for one in found()] == ["no-workers"] * 2
    beat(connection)
    assert found() == [Unrunnable("cpu", "c.d", "unknown-kind", 1)]


def test_what_every_worker_has_refused_has_that_as_its_reason(
    connection: Connection, owners: list[UUID]
) -> None:
    (job,) = submit(connection, owners[0])
    beat(connection)
    attempt = claim(connection, job)
    ledger.release(connection, job, attempt, keep=KEEP, refused_by="1")
    connection.execute(
        text("UPDATE job_runs SET due_at = clock_timestamp() WHERE state = 'scheduled'")
    )
    assert ledger.promote(connection, limit=1)
    assert pools.unrunnable(connection, ["cpu"], limit=9) == [
        Unrunnable("cpu", "a.b", "refused", 1)
    ]
    beat(connection, version="2")
    assert pools.unrunnable(connection, ["cpu"], limit=9) == []
