"""The worker's parent on a real ledger, with real children that only hold their slots."""

import threading
from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, Engine, text

from app.core.config import Settings
from app.jobs import KindRegistry
from app.services import ledger
from tests.children import Child
from tests.ledger_view import KEEP, View
from tests.processes import until
from worker import parent as parenting
from worker.identity import Identity
from worker.parent import Parent
from worker.slots import Order, Slots

SLOTS = 3
LOCK = text("SELECT FROM job_runs WHERE job_id = :job FOR UPDATE")


class Family:
    """A parent, its children's slots, and what the ledger says of their jobs."""

    def __init__(self, settings: Settings, view: View) -> None:
        self.slots = Slots(SLOTS)
        self.identity = Identity(uuid4(), "cpu", "1", KindRegistry([]))
        self.parent = Parent(settings, self.identity, self.slots, memory_per_slot=1 << 40)
        self._view = view
        self._children: list[Child] = []

    def child(self) -> tuple[Child, UUID]:
        """One more, with a job that it has claimed."""
        job = self._view.submit()
        with self._view.engine.begin() as connection:
            claim = ledger.claim(
                connection, job, worker_id=self.identity.id, kinds=["test.nap"], version="1"
            )
        assert claim is not None
        child = Child(self.slots, [job], slot=len(self._children))
        self._children.append(child)
        child.does(job)
        return child, job

    def gone(self, *, replaced: bool) -> UUID:
        """The job of a child that died before the watch looked for the first time."""
        child, job = self.child()
        child.die()
        if replaced:
            # As the next child in its place does.
            self.slots.enter(len(self._children) - 1)
        return job

    def start(self) -> None:
        """It has beaten once, and has seen its children."""
        self.parent.start()
        until(self.registered, seconds=10, what="the first beat")
        until(
            lambda: len(self.parent._seen) == len(self._children),
            seconds=10,
            what="the watch has seen all",
        )

    def registered(self) -> bool:
        return self._view.count("workers") == 1

    def expire(self, job: UUID) -> None:
        with self._view.engine.begin() as connection:
            ledger.forfeit(connection, job, 1)

    def live(self, job: UUID) -> bool:
        lease = f"job_runs WHERE job_id = '{job}' AND lease_expires_at > clock_timestamp()"
        return self._view.count(lease) == 1

    def order(self, job: UUID) -> Order:
        (found,) = (a for a in self.slots.assignments() if a.job_id == job)
        return self.slots.order_for(found.slot, found.number)

    def end(self) -> None:
        for child in self._children:
            child.die()
        self.parent.stop()


@pytest.fixture
def view(engine: Engine, make_owner: Callable[..., UUID]) -> View:
    return View(engine, make_owner())


@pytest.fixture
def family(settings: Settings, view: View, monkeypatch: pytest.MonkeyPatch) -> Iterator[Family]:
    monkeypatch.setattr(parenting, "LOCK_TIMEOUT", 0.2)
    monkeypatch.setattr(parenting, "RETRY", (0.1, 0.1))
    family = Family(settings, view)
    yield family
    family.end()


class Broken:
    """A statement of the ledger that fails for one job, in a way that nobody thought of."""

    def __init__(self, job: UUID) -> None:
        self.failures = 0
        self.mended = False
        self._job = job
        self._forfeit = ledger.forfeit

    def __call__(self, connection: Connection, job: UUID, attempt: int) -> bool:
        if job == self._job and not self.mended:
            self.failures += 1
            raise KeyError(job)
        return self._forfeit(connection, job, attempt)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_child_that_was_never_seen_alive_forfeits_its_lease(
    family: Family, replaced: bool
) -> None:
    job = family.gone(replaced=replaced)
    assert family.live(job)
    family.parent.start()
    until(lambda: not family.live(job), seconds=10, what="the lease is given up")


def test_an_ending_is_written_once(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    (first, job), left = family.child(), family.gone(replaced=True)
    forfeited: list[UUID] = []
    forfeit = ledger.forfeit

    def count(connection: Connection, job: UUID, attempt: int) -> bool:
        forfeited.append(job)
        return forfeit(connection, job, attempt)

    monkeypatch.setattr(ledger, "forfeit", count)
    monkeypatch.setattr(parenting, "WATCH", 0.01)
    family.parent.start()
    until(lambda: forfeited == [left], seconds=10, what="the one that was never seen")
    first.die()
    until(lambda: not family.live(job), seconds=10, what="the other")
    looked = family.parent._looked
    until(lambda: family.parent._looked > looked + 0.1, seconds=10, what="it has looked again")
    assert forfeited == [left, job]


@pytest.mark.slow
def test_an_ending_that_raises_costs_nobody_else_a_lease(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    (_, kept), (first, stuck), (second, other) = (family.child() for _ in range(3))
    family.start()
    broken = Broken(stuck)
    monkeypatch.setattr(ledger, "forfeit", broken)
    first.die()
    until(lambda: broken.failures > 1, seconds=10, what="the scribe tries again")
    second.die()
    until(lambda: not family.live(other), seconds=10, what="another ending is written")
    family.expire(kept)
    until(lambda: family.live(kept), seconds=10, what="the living child's lease is renewed")
    assert family.live(stuck)
    broken.mended = True
    until(lambda: not family.live(stuck), seconds=10, what="written in the end")


@pytest.mark.slow
def test_an_ending_whose_row_is_locked_costs_nobody_else_a_lease(
    family: Family, engine: Engine
) -> None:
    (_, kept), (first, stuck), (second, other) = (family.child() for _ in range(3))
    family.start()
    with engine.begin() as connection:
        connection.execute(LOCK, {"job": stuck})
        first.die()
        second.die()
        until(lambda: not family.live(other), seconds=10, what="another ending is written")
        family.expire(kept)
        until(lambda: family.live(kept), seconds=10, what="the living child's lease is renewed")
        assert family.live(stuck)
    until(lambda: not family.live(stuck), seconds=10, what="written in the end")


@pytest.mark.slow
def test_a_row_that_another_holds_is_kept_and_asked_for_again(
    family: Family, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No beat of its own would come in time.
    monkeypatch.setattr(parenting, "BEAT", 3600.0)
    (_, free), (_, locked), (_, lost) = (family.child() for _ in range(3))
    for job in free, locked:
        family.expire(job)
    with engine.begin() as connection:
        ledger.release(connection, lost, 1, keep=KEEP)
    with engine.begin() as connection:
        connection.execute(LOCK, {"job": locked})
        family.start()
        until(lambda: family.live(free), seconds=10, what="the others are renewed")
        until(lambda: family.order(lost) is Order.DROP, seconds=10, what="what is lost is told")
        assert family.order(free) is family.order(locked) is Order.NONE
        assert not family.live(locked)
    until(lambda: family.live(locked), seconds=10, what="it asks again")
    assert family.order(locked) is Order.NONE


def test_told_to_stop_before_it_was_started(family: Family) -> None:
    """Celery is ready only once Redis is there."""
    family.parent.stop()
    assert not family.registered()


def test_what_ended_last_is_written_before_it_leaves(family: Family) -> None:
    child, job = family.child()
    family.start()
    child.die()
    family.parent.stop()
    assert not family.live(job)
    assert not family.registered()


def test_nothing_is_added_to_what_it_waits_for(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parenting, "LAST_WRITES", 30.0)
    child, job = family.child()
    family.start()
    broken = Broken(job)
    monkeypatch.setattr(ledger, "forfeit", broken)
    child.die()
    stopping = threading.Thread(target=family.parent.stop)
    stopping.start()
    until(lambda: broken.failures, seconds=10, what="an ending waits to be written")
    until(lambda: not family.parent._watching.is_alive(), seconds=10, what="nobody watches")
    assert stopping.is_alive()
    broken.mended = True
    stopping.join(30)
    assert not stopping.is_alive()
    assert not family.live(job)
    assert not family.registered()


@pytest.mark.parametrize("loop", ["_look", "_write_endings"])
@pytest.mark.slow
def test_the_watch_and_the_scribe_go_on_whatever_they_raise(
    loop: str, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = getattr(family.parent, loop)
    errors: list[BaseException] = [SystemExit(0), KeyboardInterrupt(), MemoryError()]

    def fails_at_first() -> None:
        if errors:
            raise errors.pop()
        turn()

    monkeypatch.setattr(family.parent, loop, fails_at_first)
    child, job = family.child()
    family.start()
    until(lambda: not errors, seconds=10, what="it has failed")
    assert family.parent.wedged() is None
    assert family.parent.unready() is None
    child.die()
    until(lambda: not family.live(job), seconds=10, what="the child's death is noticed")
