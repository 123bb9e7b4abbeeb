"""What a worker's parent says of itself: alive, ready, and its metrics."""

import threading
from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import psycopg
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from app.core.config import Settings
from app.jobs import KindRegistry
from app.services import ledger
from tests.children import Child
from tests.ledger_view import View
from tests.processes import until
from worker import parent as parenting
from worker.identity import Identity
from worker.messages import Foreign
from worker.metrics import WorkerMetrics
from worker.parent import Parent
from worker.slots import Slots


class Told:
    """A worker's parent and what its signals say."""

    def __init__(self, settings: Settings) -> None:
        self.slots = Slots(2)
        self.identity = Identity(uuid4(), "cpu", "1", KindRegistry([]))
        self.parent = Parent(settings, self.identity, self.slots, memory_per_slot=1 << 40)
        self.metrics = WorkerMetrics("cpu", self.slots, self.parent, Foreign())
        self._registry = CollectorRegistry()
        self._registry.register(self.metrics)

    def value(self, name: str, **labels: str) -> float | None:
        if name != "heavylift_dependency_up":
            labels["pool"] = "cpu"
        return self._registry.get_sample_value(name, labels)

    def up(self, dependency: str) -> float | None:
        return self.value("heavylift_dependency_up", dependency=dependency)


@pytest.fixture
def told(settings: Settings, clean: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    monkeypatch.setattr(parenting, "WEDGED", 1.0)
    monkeypatch.setattr(parenting, "BEAT", 0.2)
    monkeypatch.setattr(parenting, "RETRY", (0.05, 0.05))
    monkeypatch.setattr(parenting, "SLOW", 0.2)
    monkeypatch.setattr(parenting, "LATE", 0.3)
    told = Told(settings)
    yield told
    told.parent.stop()


class Stuck:
    """A function that one thread, named so, does not come back from until it is told to."""

    def __init__(self, function: Callable[..., object], thread: str) -> None:
        self.go_on = threading.Event()
        self._function = function
        self._thread = thread

    def __call__(self, *arguments: object, **named: object) -> object:
        if threading.current_thread().name == self._thread:
            self.go_on.wait()
        return self._function(*arguments, **named)


@pytest.fixture
def stick(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[object, str, str], Stuck]]:
    stuck: list[Stuck] = []

    def replace(where: object, name: str, thread: str) -> Stuck:
        stuck.append(Stuck(getattr(where, name), thread))
        monkeypatch.setattr(where, name, stuck[-1])
        return stuck[-1]

    yield replace
    for one in stuck:
        one.go_on.set()


def test_it_is_alive_before_it_starts_and_ready_once_it_has_beaten(told: Told) -> None:
    """Celery starts it once Redis is there, and may wait for that for hours."""
    assert told.parent.wedged() is None
    assert told.parent.unready() == "not registered with the ledger yet"
    assert told.value("heavylift_worker_heartbeat_age_seconds") is None
    assert told.up("postgresql") is None
    assert told.up("redis") is None
    told.parent.start()
    until(lambda: told.parent.unready() is None, seconds=10, what="it has beaten")
    assert told.parent.wedged() is None
    assert told.up("postgresql") == 1
    told.parent.drain()
    assert told.parent.unready() == "draining"
    assert told.parent.wedged() is None
    told.parent.stop()
    assert told.parent.wedged() is None


@pytest.mark.slow
@pytest.mark.parametrize("thread", ["watch", "scribe"])
def test_a_thread_that_never_comes_back_is_told(
    told: Told, stick: Callable[[object, str, str], Stuck], thread: str
) -> None:
    told.parent.start()
    until(lambda: told.parent.unready() is None, seconds=10, what="it has beaten")
    child = Child(told.slots, [uuid4()])
    try:
        stuck = stick(parenting, "alive", thread)
        found = until(told.parent.wedged, seconds=10, what="it says so")
        assert thread in found
        stuck.go_on.set()
        until(lambda: told.parent.wedged() is None, seconds=10, what="it goes on")
    finally:
        child.die()


@pytest.mark.slow
def test_a_ledger_that_does_not_answer_is_down_and_the_parent_well(
    told: Told, stick: Callable[[object, str, str], Stuck]
) -> None:
    told.parent.start()
    until(lambda: told.up("postgresql"), seconds=10, what="the ledger answers")
    stuck = stick(ledger, "heartbeat", "scribe")
    # Past what would be wedged anywhere else.
    until(
        lambda: (told.parent.beat_age or 0) > parenting.BEAT + parenting.WEDGED + 0.5,
        seconds=10,
        what="no heartbeat for long",
    )
    assert told.up("postgresql") == 0
    assert (told.parent.wedged(), told.parent.unready()) == (None, None)
    late = told.value("heavylift_worker_heartbeats_late_total") or 0
    stuck.go_on.set()
    until(lambda: told.up("postgresql"), seconds=10, what="the ledger answers again")
    counted = told.value("heavylift_worker_heartbeats_late_total")
    assert counted is not None
    assert counted >= late + 1


def test_a_ledger_that_refuses_is_down(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    told.parent.start()
    until(lambda: told.up("postgresql"), seconds=10, what="the ledger answers")

    def refuse(connection: Connection, beat: ledger.Beat) -> None:
        raise OperationalError("", {}, psycopg.OperationalError("the server is gone"))

    with monkeypatch.context() as outage:
        outage.setattr(ledger, "heartbeat", refuse)
        until(lambda: told.up("postgresql") == 0, seconds=10, what="it is down")
        assert (told.parent.wedged(), told.parent.unready()) == (None, None)
    until(lambda: told.up("postgresql"), seconds=10, what="it is up again")


def test_busy_slots_and_their_memory(
    told: Told, engine: Engine, make_owner: Callable[..., UUID]
) -> None:
    view = View(engine, make_owner())
    assert told.value("heavylift_worker_slots") == 2
    assert told.value("heavylift_worker_slots_busy") == 0
    assert told.value("heavylift_worker_child_memory_limit_bytes") == 1 << 40
    job = view.submit()
    child = Child(told.slots, [job], slot=1)
    child.does(job)
    try:
        assert told.value("heavylift_worker_slots_busy") == 1
        assert told.value("heavylift_worker_child_memory_bytes", slot="0") == 0
        assert (told.value("heavylift_worker_child_memory_bytes", slot="1") or 0) > 1 << 20
    finally:
        child.die()
    assert told.value("heavylift_worker_slots_busy") == 0
    assert told.value("heavylift_worker_child_memory_bytes", slot="1") == 0


def test_redis_is_up_while_the_consumer_says_so(told: Told) -> None:
    assert told.up("redis") is None
    told.metrics.broker(True)
    assert told.up("redis") == 1
    told.metrics.broker(False)
    assert told.up("redis") == 0
