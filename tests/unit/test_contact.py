"""A controller rescues only after a whole lease of unbroken contact."""

from datetime import UTC, datetime, timedelta
from unittest.mock import MagicMock

import pytest

from app.services import ledger
from app.services.ledger import LEASE
from tests.ledger_view import KEEP
from worker.controller import rescue
from worker.controller.rescue import INTERVAL, SILENCE, Contact


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def listen(contact: Contact, clock: Clock, seconds: float) -> None:
    for _ in range(int(seconds / INTERVAL)):
        clock.now += INTERVAL
        contact.heard()


def test_contact_grows_while_it_lasts() -> None:
    clock = Clock()
    contact = Contact(clock)
    assert contact.lasts == 0
    contact.heard()
    listen(contact, clock, 40)
    assert contact.lasts == 40


def test_an_error_begins_it_anew() -> None:
    clock = Clock()
    contact = Contact(clock)
    contact.heard()
    listen(contact, clock, 40)
    contact.broken()
    assert contact.lasts == 0
    listen(contact, clock, 10)
    assert contact.lasts == 10 - INTERVAL


def test_so_does_a_silence_that_nobody_reported() -> None:
    """A frozen database answers at last, and raises nothing; a frozen controller never asked."""
    clock = Clock()
    contact = Contact(clock)
    contact.heard()
    listen(contact, clock, 40)
    clock.now += SILENCE + 1
    assert contact.lasts == 0
    contact.heard()
    assert contact.lasts == 0


def test_no_turn_rescues_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is a mock: what is tested is when a turn asks, not what PostgreSQL answers."""
    asked: list[float] = []
    clock = Clock()
    monkeypatch.setattr(ledger, "now", lambda _: datetime(2026, 1, 1, tzinfo=UTC))

    def take(*_: object, **__: object) -> list[ledger.Change]:
        asked.append(clock.now)
        return []

    monkeypatch.setattr(ledger, "rescue", take)
    turns = rescue.Rescue(MagicMock(), KEEP, lambda _: None, lambda: None)
    turns._contact = Contact(clock)
    began = clock.now
    while clock.now - began < 2 * LEASE / timedelta(seconds=1):
        turns.turn()
        clock.now += INTERVAL
    assert asked[0] - began >= LEASE.total_seconds()
    assert len(asked) > 5
