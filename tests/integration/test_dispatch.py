"""Dispatch on a real PostgreSQL: windows, fairness, versions that mix, lost messages."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, Engine, text

from app.models.job import JobState
from app.services import ledger
from app.services.ledger import Beat, Message, Submission
from tests.ledger_view import KEEP
from worker.controller.dispatch import fill, register_pools

WORKER = uuid4()

DUE = "UPDATE job_runs SET due_at = clock_timestamp() WHERE state = 'scheduled'"


@pytest.fixture(autouse=True)
def pools(engine: Engine, clean: None) -> None:
    register_pools(engine, ["cpu", "io"])


@pytest.fixture
def owner(make_owner: Callable[..., UUID]) -> UUID:
    return make_owner()


def live_worker(
    engine: Engine,
    *,
    slots: int,
    kinds: tuple[str, ...] = ("a.b",),
    version: str = "1",
    draining: bool = False,
    id: UUID = WORKER,  # noqa: A002
) -> None:
    with engine.begin() as connection:
        ledger.heartbeat(
            connection,
            Beat(id, "cpu", "host", version, f"{version}:{kinds}", kinds, slots, draining),
        )


def submit(engine: Engine, owner: UUID, count: int = 1, **changes: object) -> list[UUID]:
    with engine.begin() as connection:
        jobs = []
        for _ in range(count):
            submission = {"kind": "a.b", "pool": "cpu", "max_tries": 3, "spec": "{}", **changes}
            job = ledger.accept(connection, Submission(owner, **submission))  # type: ignore[arg-type]
            assert job is not None
            jobs.append(job)
    return jobs


def turn(engine: Engine, *, queued: int = 0, window_per_slot: int = 2) -> list[Message]:
    """All that a controller would send now."""
    sent: list[Message] = []
    more = True
    while more:
        with engine.begin() as connection:
            messages, more = fill(
                connection, "cpu", window_per_slot=window_per_slot, queued={None: queued}
            )
        sent += messages
    return sent


def claim(connection: Connection, job: UUID) -> None:
    assert ledger.claim(connection, job, worker_id=WORKER, kinds=["a.b"], version="1")


def finish_one(engine: Engine, job: UUID) -> None:
    with engine.begin() as connection:
        ledger.succeed(connection, job, 1, result="{}", keep=KEEP)


def test_nothing_is_sent_to_nobody(engine: Engine, owner: UUID) -> None:
    submit(engine, owner)
    assert turn(engine) == []
    live_worker(engine, slots=2, draining=True)
    assert turn(engine) == []
    live_worker(engine, slots=2)
    assert len(turn(engine)) == 1


def test_two_slots_of_long_jobs_never_hold_more_than_the_window(
    engine: Engine, owner: UUID
) -> None:
    live_worker(engine, slots=2)
    submit(engine, owner, 50)
    sent = turn(engine)
    assert len(sent) == 4
    assert turn(engine) == []
    with engine.begin() as connection:
        for message in sent[:2]:
            claim(connection, message.job_id)
    # Two run for ten minutes: two more wait in Redis, and that is all, however often it turns.
    assert len(turn(engine, queued=2)) == 2
    for _ in range(5):
        assert turn(engine, queued=4) == []
    assert turn(engine, queued=0) == []


def test_stale_messages_count(engine: Engine, owner: UUID) -> None:
    live_worker(engine, slots=2)
    submit(engine, owner, 10)
    assert len(turn(engine, queued=3)) == 1


def test_four_controllers_at_once_never_exceed_the_window(engine: Engine, owner: UUID) -> None:
    live_worker(engine, slots=5)
    submit(engine, owner, 200)
    barrier = threading.Barrier(4)
    out = 0

    def controller() -> list[Message]:
        barrier.wait()
        return turn(engine)

    for _ in range(10):
        with ThreadPoolExecutor(4) as threads:
            turns = [threads.submit(controller) for _ in range(4)]
        sent = [message for future in turns for message in future.result()]
        assert len({message.job_id for message in sent}) == len(sent)
        out += len(sent)
        assert out == 10
        with engine.begin() as connection:
            for message in sent[:3]:
                claim(connection, message.job_id)
        for message in sent[:3]:
            finish_one(engine, message.job_id)
            out -= 1


def test_a_newcomer_starts_within_the_first_few_finishes(
    engine: Engine, make_owner: Callable[..., UUID]
) -> None:
    many, one = make_owner(), make_owner()
    live_worker(engine, slots=2)
    submit(engine, many, 500)
    queue = [message.job_id for message in turn(engine)]
    running: list[UUID] = []

    def start() -> None:
        while len(running) < 2:
            job = queue.pop(0)
            with engine.begin() as connection:
                claim(connection, job)
            running.append(job)

    start()
    queue += [message.job_id for message in turn(engine, queued=len(queue))]
    (newcomer,) = submit(engine, one)
    finishes = 0
    while newcomer not in running:
        finish_one(engine, running.pop(0))
        finishes += 1
        start()
        queue += [message.job_id for message in turn(engine, queued=len(queue))]
    # The window before it, and no more: two slots, two messages each.
    assert finishes <= 5


def test_an_owner_cant_outrun_another_by_priority_but_orders_their_own(
    engine: Engine, make_owner: Callable[..., UUID]
) -> None:
    loud, quiet = make_owner(), make_owner()
    low = submit(engine, loud, priority=-5)[0]
    urgent = submit(engine, loud, 3, priority=100)
    calm = submit(engine, quiet, 3)
    live_worker(engine, slots=1)
    sent = turn(engine)
    assert {message.job_id for message in sent} == {urgent[0], calm[0]}
    live_worker(engine, slots=10)
    assert low not in {message.job_id for message in turn(engine)[:4]}


def test_the_round_goes_on_where_it_stopped(
    engine: Engine, make_owner: Callable[..., UUID]
) -> None:
    owners = sorted(make_owner() for _ in range(5))
    jobs = {submit(engine, owner, 2)[0]: owner for owner in owners}
    live_worker(engine, slots=1)
    served = []
    for _ in range(5):
        for message in turn(engine, window_per_slot=1):
            served.append(jobs[message.job_id])
            with engine.begin() as connection:
                claim(connection, message.job_id)
            finish_one(engine, message.job_id)
    assert served == owners


def test_what_nobody_runs_waits_and_hides_nothing(engine: Engine, owner: UUID) -> None:
    unknown = submit(engine, owner, 20, kind="c.d", priority=9)
    known = submit(engine, owner, 2)
    live_worker(engine, slots=2)
    assert [message.job_id for message in turn(engine)] == known
    live_worker(engine, slots=20, kinds=("c.d",), version="2", id=uuid4())
    sent = turn(engine)
    assert {message.job_id for message in sent} == set(unknown)
    # Both read the pool's queue: what only one of them runs goes to its own.
    assert {message.build for message in sent} == {"2:('c.d',)"}


def test_a_job_that_a_version_refused_waits_for_another_version(
    engine: Engine, owner: UUID
) -> None:
    job, *others = submit(engine, owner, 3)
    live_worker(engine, slots=1)
    assert len(turn(engine, window_per_slot=1)) == 1
    with engine.begin() as connection:
        claim(connection, job)
        ledger.release(connection, job, 1, keep=KEEP, refused_by="1")
        connection.execute(text(DUE))
        (change,) = ledger.promote(connection, limit=10)
    assert change.state == JobState.QUEUED
    # It is the oldest, and nobody waits behind it.
    assert [message.job_id for message in turn(engine)] == others
    live_worker(engine, slots=1, version="2", id=uuid4())
    (message,) = turn(engine)
    assert (message.job_id, message.build) == (job, "2:('a.b',)")


@pytest.mark.parametrize("priority", [0, 100])
def test_what_few_workers_run_leaves_the_others_their_work(
    engine: Engine, make_owner: Callable[..., UUID], priority: int
) -> None:
    """One worker of the new version, nine of the old: a rolling upgrade that has begun."""
    early, late = make_owner(), make_owner()
    live_worker(engine, slots=9, kinds=("a.b",), version="1")
    live_worker(engine, slots=1, kinds=("a.b", "c.d"), version="2", id=uuid4())
    new = submit(engine, early, 50, kind="c.d", priority=priority)
    sent = turn(engine)
    assert [message.job_id for message in sent] == new[:2]
    assert {message.build for message in sent} == {"2:('a.b', 'c.d')"}
    both = submit(engine, early, 5) + submit(engine, late, 50)
    sent = turn(engine)
    assert len(sent) == 18
    assert {message.job_id for message in sent} < set(both)
    assert {message.build for message in sent} == {None}
    assert turn(engine) == []


def test_what_several_builds_run_goes_to_the_one_with_most_room(
    engine: Engine, owner: UUID
) -> None:
    live_worker(engine, slots=1, kinds=("c.d",), version="2", id=uuid4())
    live_worker(engine, slots=3, kinds=("c.d",), version="3", id=uuid4())
    live_worker(engine, slots=5, version="1")
    submit(engine, owner, 20, kind="c.d")
    sent = turn(engine, window_per_slot=1)
    assert Counter(message.build for message in sent) == {"2:('c.d',)": 1, "3:('c.d',)": 3}


def test_the_few_places_of_a_build_are_shared_as_all_are(
    engine: Engine, make_owner: Callable[..., UUID]
) -> None:
    loud, quiet = make_owner(), make_owner()
    live_worker(engine, slots=2, kinds=("c.d",), version="2", id=uuid4())
    live_worker(engine, slots=9)
    urgent = submit(engine, loud, 50, kind="c.d", priority=100)
    calm = submit(engine, quiet, 50, kind="c.d")
    sent = {message.job_id for message in turn(engine, window_per_slot=1)}
    assert sent == {urgent[0], calm[0]}


def test_an_owners_priorities_and_ages_hold_across_kinds(engine: Engine, owner: UUID) -> None:
    live_worker(engine, slots=4, kinds=("a.b", "c.d"))
    first = submit(engine, owner, kind="c.d")
    second = submit(engine, owner)
    third = submit(engine, owner, kind="c.d")
    urgent = submit(engine, owner, priority=1)
    sent = turn(engine, window_per_slot=1)
    assert [message.job_id for message in sent] == urgent + first + second + third


def test_what_one_queue_holds_too_much_is_room_for_nobody(engine: Engine, owner: UUID) -> None:
    live_worker(engine, slots=2, kinds=("c.d",), version="2", id=uuid4())
    live_worker(engine, slots=2)
    submit(engine, owner, 20)
    stale: dict[str | None, int] = {None: 1, "2:('c.d',)": 5}
    with engine.begin() as connection:
        sent, more = fill(connection, "cpu", window_per_slot=2, queued=stale)
    # Eight places, six of them taken: what only the old ones run has two left.
    assert (len(sent), more) == (2, False)


def test_a_lost_message_is_sent_again_once(engine: Engine, owner: UUID) -> None:
    live_worker(engine, slots=4)
    submit(engine, owner, 3)
    sent = turn(engine)
    with engine.begin() as connection:
        claim(connection, sent[0].job_id)
        early = ledger.unclaimed(connection, "cpu", after=timedelta(minutes=1))
        assert early == []
        lost = ledger.unclaimed(connection, "cpu", after=timedelta(0))
        assert lost == sent[1:]
        assert ledger.redispatch(connection, lost) == 2
        assert ledger.redispatch(connection, lost) == 0
    again = turn(engine)
    assert {message.job_id for message in again} == {message.job_id for message in lost}
    assert {message.task_id for message in again}.isdisjoint({m.task_id for m in sent})
