"""What the ledger's statements say of themselves, one by one, and the totals of it."""

import math
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, Engine, text

from app.core.config import Settings
from app.core.metrics import JOB_BUCKETS
from app.core.storage import open_store
from app.models.job import JobState
from app.services import ledger, tallies
from app.services.ledger import Submission
from app.services.tallies import Total
from tests.ledger_view import KEEP
from worker.controller.dispatch import register_pools
from worker.controller.measure import Count
from worker.controller.retain import retain

Moves = dict[tuple[str, str, str], int]

DUE = text("UPDATE job_runs SET due_at = clock_timestamp() WHERE state = 'scheduled'")


def accept(connection: Connection, owner: UUID, **changes: object) -> UUID:
    submission = {"kind": "a.b", "pool": "cpu", "max_tries": 2, "spec": "{}", **changes}
    job = ledger.accept(connection, Submission(owner, **submission))  # type: ignore[arg-type]
    assert job is not None
    return job


def claim(connection: Connection, job: UUID) -> int:
    claimed = ledger.claim(connection, job, worker_id=uuid4(), kinds=["a.b"], version="1")
    assert claimed is not None
    return claimed.attempt


def promote(connection: Connection) -> None:
    connection.execute(DUE)
    assert ledger.promote(connection, limit=10)


@pytest.fixture
def owner(make_owner: Callable[..., UUID]) -> UUID:
    return make_owner()


class Tallies:
    """Of one connection's transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def new(self) -> Moves:
        """What has been said since the last time, by event and states; it is all added up."""
        rows = self._connection.execute(
            text(
                "SELECT event, from_state, to_state, sum(n) FROM job_tallies"
                " WHERE pool = 'cpu' AND kind = 'a.b' GROUP BY 1, 2, 3"
            )
        )
        found = {(event, before, after): int(n) for event, before, after, n in rows}
        tallies.count(self._connection, limit=100)
        assert self._connection.execute(text("SELECT count(*) FROM job_tallies")).scalar() == 0
        return found

    def totals(self) -> list[Total]:
        return list(tallies.totals(self._connection))


@pytest.fixture
def told(connection: Connection) -> Tallies:
    return Tallies(connection)


def test_each_statement_says_what_it_did(
    connection: Connection, owner: UUID, told: Tallies
) -> None:
    job = accept(connection, owner)
    assert told.new() == {("accepted", "", "queued"): 1}
    # Of those that find nothing to do, none says anything.
    ledger.promote(connection, limit=10)
    ledger.redispatch(connection, [])
    assert ledger.release(connection, job, 1, keep=KEEP) is None
    assert ledger.succeed(connection, job, 1, result="{}", keep=KEEP) is None
    assert told.new() == {}

    connection.execute(text("INSERT INTO pools (name) VALUES ('cpu')"))
    sent = ledger.dispatch(connection, "cpu", {job: None}, cursor=owner)
    assert told.new() == {("dispatched", "", ""): 1}
    assert ledger.redispatch(connection, sent) == 1
    assert told.new() == {("redispatched", "", ""): 1}

    assert ledger.claim(connection, job, worker_id=uuid4(), kinds=[], version="1") is None
    assert told.new() == {("declined", "queued", "scheduled"): 1}
    promote(connection)
    assert told.new() == {("promoted", "scheduled", "queued"): 1}
    attempt = claim(connection, job)
    assert told.new() == {("claimed", "queued", "running"): 1}

    ledger.release(connection, job, attempt, keep=KEEP)
    assert told.new() == {("released", "running", "queued"): 1}
    ledger.release(connection, job, claim(connection, job), keep=KEEP, refused_by="0")
    assert told.new() == {
        ("claimed", "queued", "running"): 1,
        ("refused", "running", "scheduled"): 1,
    }
    promote(connection)
    attempt = claim(connection, job)
    told.new()
    ledger.fail(connection, job, attempt, code="c", detail="d", retryable=True, keep=KEEP)
    assert told.new() == {("retried", "running", "scheduled"): 1}
    promote(connection)
    assert ledger.forfeit(connection, job, claim(connection, job))
    told.new()
    ledger.rescue(connection, asked_at=ledger.now(connection), limit=9, keep=KEEP)
    assert told.new() == {("lost", "running", "queued"): 1}
    attempt = claim(connection, job)
    told.new()
    assert ledger.progress(connection, job, attempt, fraction=0.5, message="half")
    assert told.new() == {}
    ledger.succeed(connection, job, attempt, result="{}", keep=KEEP)
    assert told.new() == {("succeeded", "running", "succeeded"): 1}


def test_each_end_says_what_became_of_the_attempt_and_of_the_job(
    connection: Connection, owner: UUID, told: Tallies
) -> None:
    def running() -> tuple[UUID, int]:
        job = accept(connection, owner)
        attempt = claim(connection, job)
        told.new()
        return job, attempt

    failed = {"code": "c", "detail": "d", "keep": KEEP}
    job, attempt = running()
    ledger.fail(connection, job, attempt, retryable=False, **failed)  # type: ignore[arg-type]
    assert told.new() == {("failed", "running", "failed"): 1}

    job, attempt = running()
    ledger.cancel(connection, job, keep=KEEP)
    assert told.new() == {}, "it runs yet"
    ledger.fail(connection, job, attempt, retryable=True, **failed)  # type: ignore[arg-type]
    assert told.new() == {("cancelled", "running", "cancelled"): 1}

    job, attempt = running()
    ledger.cancel(connection, job, keep=KEEP)
    assert ledger.forfeit(connection, job, attempt)
    ledger.rescue(connection, asked_at=ledger.now(connection), limit=9, keep=KEEP)
    assert told.new() == {("lost", "running", "cancelled"): 1}

    job, attempt = running()
    connection.execute(text("UPDATE job_runs SET losses = 4"))
    assert ledger.forfeit(connection, job, attempt)
    ledger.rescue(connection, asked_at=ledger.now(connection), limit=9, keep=KEEP)
    assert told.new() == {("lost", "running", "failed"): 1}

    for state, not_before in (("queued", None), ("scheduled", soon())):
        job = accept(connection, owner, not_before=not_before)
        assert told.new() == {("accepted", "", state): 1}
        ledger.cancel(connection, job, keep=KEEP)
        assert told.new() == {("cancelled", state, "cancelled"): 1}
    # No attempt of the last two ended: none had begun.
    endings = Counter(total.ending for total in told.totals() for _ in range(total.n))
    assert endings["cancelled"] == 1

    job, _ = running()
    connection.execute(text("UPDATE job_runs SET tries = 1"))
    ledger.fail(connection, job, 1, retryable=True, **failed)  # type: ignore[arg-type]
    told.new()
    assert sum(total.n for total in told.totals() if total.dead) == 2


def soon() -> datetime:
    return datetime.now().astimezone() + timedelta(hours=1)


def test_of_a_batch_there_is_one_tally_of_each_kind(
    connection: Connection, owner: UUID, told: Tallies
) -> None:
    connection.execute(text("INSERT INTO pools (name) VALUES ('cpu')"))
    jobs = [accept(connection, owner, kind=kind) for kind in ("a.b", "c.d", "a.b", "a.b")]
    tallies.count(connection, limit=100)
    ledger.dispatch(connection, "cpu", dict.fromkeys(jobs), cursor=owner)
    rows = connection.execute(text("SELECT kind, n FROM job_tallies ORDER BY kind")).all()
    assert [tuple(row) for row in rows] == [("a.b", 3), ("c.d", 1)]


def test_a_wait_is_from_when_it_could_be_taken(
    connection: Connection, owner: UUID, told: Tallies
) -> None:
    """Not from when it was accepted, nor from the attempt before."""
    hour = text("UPDATE job_runs SET eligible_at = clock_timestamp() - interval '1 hour'")

    def waited() -> float:
        query = text("SELECT seconds FROM job_tallies WHERE event = 'claimed'")
        seconds: float = connection.execute(query).scalar_one()
        tallies.count(connection, limit=100)
        return seconds

    job = accept(connection, owner)
    connection.execute(hour)
    attempt = claim(connection, job)
    assert 3600 <= waited() < 3660
    ledger.release(connection, job, attempt, keep=KEEP)
    attempt = claim(connection, job)
    assert waited() < 60
    connection.execute(hour)
    ledger.fail(connection, job, attempt, code="c", detail="d", retryable=True, keep=KEEP)
    connection.execute(
        text("UPDATE job_runs SET due_at = clock_timestamp() - interval '10 minutes'")
    )
    # A controller was late: that, too, is a wait.
    assert ledger.promote(connection, limit=1)
    attempt = claim(connection, job)
    assert 600 <= waited() < 660
    connection.execute(hour)
    assert ledger.forfeit(connection, job, attempt)
    ledger.rescue(connection, asked_at=ledger.now(connection), limit=9, keep=KEEP)
    claim(connection, job)
    assert waited() < 60


AGO = "clock_timestamp() - interval '1 hour'"


def age(connection: Connection, *columns: str) -> None:
    """Let an hour pass for these times of all runs."""
    moments = ", ".join(f"{column} = {AGO}" for column in columns)
    connection.execute(text(f"UPDATE job_runs SET {moments}"))


@pytest.mark.parametrize(
    ("target", "told_of"),
    [
        (3_700.0, {"within-target": 1}),
        (3_500.0, {"beyond-target": 1}),
        (None, {}),  # a job that an older version accepted
    ],
)
def test_each_claim_says_whether_it_waited_within_its_target(
    connection: Connection, owner: UUID, target: float | None, told_of: dict[str, int]
) -> None:
    job = accept(connection, owner, wait_target=target)
    age(connection, "eligible_at")
    attempt = claim(connection, job)
    tallies.count(connection, limit=100)
    assert waits_in_target(connection) == told_of
    # Its next attempt waits anew, for no time.
    ledger.release(connection, job, attempt, keep=KEEP)
    claim(connection, job)
    tallies.count(connection, limit=100)
    again = {"within-target": 1} if target else {}
    assert waits_in_target(connection) == Counter(told_of) + Counter(again)


def waits_in_target(connection: Connection) -> dict[str, int]:
    return {
        total.event: total.n
        for total in tallies.totals(connection)
        if total.event in (tallies.WITHIN_TARGET, tallies.BEYOND_TARGET)
    }


def turnarounds(connection: Connection) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    tallies.count(connection, limit=100)
    for total in tallies.totals(connection):
        if total.turnaround_of is not None:
            assert total.n == 1
            assert total.le >= total.seconds
            found.setdefault(total.turnaround_of, []).append(total.seconds)
    return found


def test_a_turnaround_is_from_when_it_could_first_start_to_its_end(
    connection: Connection, owner: UUID
) -> None:
    job = accept(connection, owner)
    age(connection, "eligible_at", "first_eligible_at")
    attempt = claim(connection, job)
    ledger.fail(connection, job, attempt, code="c", detail="d", retryable=True, keep=KEEP)
    assert turnarounds(connection) == {}
    promote(connection)
    ledger.succeed(connection, job, claim(connection, job), result="{}", keep=KEEP)
    ((seconds,),) = turnarounds(connection).values()
    assert 3600 <= seconds < 3660


def test_a_job_that_was_never_due_has_no_turnaround(connection: Connection, owner: UUID) -> None:
    soon = ledger.now(connection) + timedelta(hours=1)
    early, late = (accept(connection, owner, not_before=soon) for _ in range(2))
    ledger.cancel(connection, early, keep=KEEP)
    assert turnarounds(connection) == {}
    # An hour later. The other one has been due since then.
    age(connection, "first_eligible_at", "due_at")
    assert ledger.promote(connection, limit=10)
    ledger.cancel(connection, late, keep=KEEP)
    found = turnarounds(connection)
    assert found.keys() == {"cancelled"}
    assert 3600 <= found["cancelled"][0] < 3660


def test_what_an_older_version_accepted_has_no_turnaround(
    connection: Connection, owner: UUID
) -> None:
    job = accept(connection, owner)
    connection.execute(text("UPDATE job_runs SET first_eligible_at = NULL"))
    ledger.succeed(connection, job, claim(connection, job), result="{}", keep=KEEP)
    assert turnarounds(connection) == {}


def test_seconds_fall_in_the_first_bucket_that_takes_them(connection: Connection) -> None:
    bounds = [0.0, JOB_BUCKETS[0], JOB_BUCKETS[0] + 1e-9, JOB_BUCKETS[-1], JOB_BUCKETS[-1] + 1]
    for seconds in (*bounds, None):
        connection.execute(
            text("INSERT INTO job_tallies (pool, kind, event, seconds) VALUES ('p', 'k', 'e', :s)"),
            {"s": seconds},
        )
    assert tallies.count(connection, limit=100) == 6
    counted = {total.le: (total.n, total.seconds) for total in tallies.totals(connection)}
    assert counted == {
        JOB_BUCKETS[0]: (2, JOB_BUCKETS[0]),
        JOB_BUCKETS[1]: (1, JOB_BUCKETS[0] + 1e-9),
        JOB_BUCKETS[-1]: (1, JOB_BUCKETS[-1]),
        math.inf: (2, JOB_BUCKETS[-1] + 1),
    }


# --- committed ------------------------------------------------------------------------------------


def left(engine: Engine) -> dict[str, int]:
    """Jobs in each state by the totals: those that entered it, less those that left it."""
    with engine.begin() as connection:
        found: Counter[str] = Counter()
        for total in tallies.totals(connection):
            found[total.to_state] += total.n
            found[total.from_state] -= total.n
    return {state: found[state] for state in JobState}


def test_controllers_count_side_by_side_and_each_tally_once(engine: Engine, owner: UUID) -> None:
    """While workers go on: no reading, at whatever moment, has less than nothing in a state."""
    over = threading.Event()
    barrier = threading.Barrier(7)

    def work() -> None:
        barrier.wait()
        for n in range(60):
            with engine.begin() as connection:
                job = accept(connection, owner, kind="a.b")
            with engine.begin() as connection:
                attempt = claim(connection, job)
            with engine.begin() as connection:
                if n % 3 == 0:
                    ledger.release(connection, job, attempt, keep=KEEP)
                else:
                    ledger.succeed(connection, job, attempt, result="{}", keep=KEEP)

    def count() -> None:
        barrier.wait()
        while not over.is_set():
            with engine.begin() as connection:
                # A few at a time, so that they meet.
                tallies.count(connection, limit=7)

    def read() -> int:
        barrier.wait()
        readings = 0
        seen: Counter[tuple[str, str, str, float]] = Counter()
        while not over.is_set():
            with engine.begin() as connection:
                totals = tallies.totals(connection)
            now = Counter({(t.event, t.from_state, t.to_state, t.le): t.n for t in totals})
            assert not seen - now, "a counter went down"
            seen = now
            assert min(left(engine).values()) >= 0
            readings += 1
        return readings

    with ThreadPoolExecutor(7) as threads:
        watched = threads.submit(read)
        counting = [threads.submit(count) for _ in range(3)]
        working = [threads.submit(work) for _ in range(3)]
        try:
            for one in working:
                one.result(60)
        finally:
            over.set()
        assert watched.result(10) > 1
        for controller in counting:
            controller.result(10)
    count_all(engine)
    assert {state: n for state, n in left(engine).items() if n} == {"queued": 60, "succeeded": 120}
    with engine.begin() as connection:
        claims = sum(t.n for t in tallies.totals(connection) if t.event == "claimed")
    assert claims == 180


def count_all(engine: Engine) -> None:
    counting = Count(engine)
    while counting.turn():
        pass
    with engine.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM job_tallies")).scalar_one() == 0


def test_who_finds_another_counting_waits_for_nobody(engine: Engine, owner: UUID) -> None:
    with engine.begin() as connection:
        accept(connection, owner)
    with engine.begin() as first:
        assert tallies.count(first, limit=10) == 1
        with engine.begin() as second:
            assert tallies.count(second, limit=10) == 0
        first.rollback()
    # Killed before its commit, it has counted nothing.
    with engine.begin() as connection:
        assert tallies.count(connection, limit=10) == 1


def test_what_was_rolled_back_was_never_counted(engine: Engine, owner: UUID) -> None:
    with engine.connect() as connection:
        claim(connection, accept(connection, owner))
        connection.rollback()
    count_all(engine)
    with engine.begin() as connection:
        assert tallies.totals(connection) == []


def test_retention_takes_nothing_from_a_counter(
    engine: Engine, owner: UUID, settings: Settings
) -> None:
    register_pools(engine, ["cpu"])
    with engine.begin() as connection:
        jobs = [accept(connection, owner) for _ in range(5)]
        for job in jobs[:4]:
            ledger.succeed(connection, job, claim(connection, job), result="{}", keep=KEEP)
    count_all(engine)
    with engine.begin() as connection:
        before = tallies.totals(connection)
        connection.execute(
            text("UPDATE jobs SET expires_at = expires_at - interval '9 days' WHERE outcome <> ''")
        )
    report = retain(engine, open_store(settings.storage), settings)
    assert report.jobs == 4
    count_all(engine)
    with engine.begin() as connection:
        assert tallies.totals(connection) == before
    assert left(engine)["queued"] == 1
    assert left(engine)["succeeded"] == 4
