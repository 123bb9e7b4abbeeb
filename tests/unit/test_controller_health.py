"""A controller's probes: alive through any outage, dead when it is stuck by itself."""

import threading
from collections.abc import Iterator

import pytest

from worker.controller.health import PATIENCE, SILENT, Health
from worker.controller.loop import Loop
from worker.controller.main import look_after
from worker.controller.rescue import Contact


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Stuck(Loop):
    """A real thread, in a turn that goes on for as long as the test says."""

    seconds = 0.0

    @property
    def turning(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def contact(clock: Clock) -> Contact:
    return Contact(clock)


@pytest.fixture
def loop() -> Iterator[Stuck]:
    released = threading.Event()
    one = Stuck("dispatch", lambda: released.wait() and None, interval=1, patience=PATIENCE)
    one.start()
    yield one
    one.stop()
    released.set()
    one.join(10)


@pytest.fixture
def health(loop: Loop, contact: Contact, clock: Clock) -> Health:
    return Health([loop], contact, lambda: contact.lasts > 0, clock=clock)


def hear(contact: Contact, clock: Clock, health: Health, seconds: float) -> None:
    """That long, the database answers and the main thread looks about."""
    until = clock.now + seconds
    while clock.now < until:
        clock.now += 3
        contact.heard()
        health.tick()


def test_a_loop_that_is_stuck_while_the_database_answers_is_dead(
    health: Health, loop: Stuck, contact: Contact, clock: Clock
) -> None:
    loop.seconds = 10_000
    contact.heard()
    hear(contact, clock, health, PATIENCE - 9)
    assert health.livez() is None, "it may have answered only just now"
    hear(contact, clock, health, 15)
    assert health.livez() == health.readyz() == "dispatch is stuck in a turn for 10000 s"


def test_an_outage_of_any_length_kills_nobody(
    health: Health, loop: Stuck, contact: Contact, clock: Clock
) -> None:
    hear(contact, clock, health, 3600)
    contact.broken()
    loop.seconds = 7200
    for _ in range(7200 // 10):
        clock.now += 10
        health.tick()
        assert health.livez() is None
    # It is over, and the loop has not yet had its answer.
    hear(contact, clock, health, 30)
    assert health.livez() is None


def test_a_frozen_database_breaks_the_contact_without_a_word(
    health: Health, loop: Stuck, contact: Contact, clock: Clock
) -> None:
    hear(contact, clock, health, 3600)
    loop.seconds = 3600
    clock.now += 20
    health.tick()
    assert health.livez() is None


def test_a_loop_whose_turns_are_long_has_no_limit(contact: Contact, clock: Clock) -> None:
    released = threading.Event()
    loop = Stuck("retain", lambda: released.wait() and None, interval=1)
    loop.start()
    health = Health([loop], contact, lambda: True, clock=clock)
    loop.seconds = 10_000
    hear(contact, clock, health, 10_000)
    assert health.livez() is None
    loop.stop()
    released.set()
    loop.join(10)
    assert health.livez() == health.readyz() == "retain has ended"
    assert look_after(health, stopping=[]) == 1
    health.drain()
    assert health.livez() is None


def test_a_main_thread_that_is_silent_is_dead(health: Health, clock: Clock) -> None:
    clock.now += SILENT - 1
    assert health.livez() is None
    clock.now += 2
    assert health.livez() == "the main thread has not been heard for 31 s"


def test_it_is_ready_once_the_ledger_was_read_until_it_drains(
    loop: Loop, contact: Contact, clock: Clock
) -> None:
    read: list[int] = []
    health = Health([loop], contact, lambda: bool(read), clock=clock)
    assert health.readyz() == "the ledger has not been read yet"
    read.append(1)
    assert health.readyz() is None
    health.drain()
    assert health.readyz() == "draining"
