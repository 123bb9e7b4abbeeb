"""Rescue's turns, on a real ledger."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine

from app.services import ledger
from app.services.ledger import Change
from tests.ledger_view import KEEP, View
from worker.controller import rescue
from worker.controller.rescue import Rescue

LOST = 5


@pytest.fixture
def view(engine: Engine, make_owner: Callable[..., UUID]) -> View:
    """With jobs whose worker was lost."""
    view = View(engine, make_owner())
    for job in [view.submit() for _ in range(LOST)]:
        with engine.begin() as connection:
            assert ledger.claim(connection, job, worker_id=uuid4(), kinds=["test.nap"], version="1")
            assert ledger.forfeit(connection, job, 1)
    return view


def test_a_full_batch_is_followed_by_another(
    engine: Engine, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rescue, "BATCH", 2)
    # Its contact with the database has lasted long enough.
    monkeypatch.setattr(rescue, "LEASE", timedelta(0))
    announced: list[Change] = []
    rescuing = Rescue(engine, KEEP, announced.append, lambda: None)
    assert [rescuing.turn() for _ in range(3)] == [True, True, False]
    assert view.count("job_runs WHERE state = 'queued'") == len(announced) == LOST


def test_nothing_is_taken_without_long_contact(engine: Engine, view: View) -> None:
    rescuing = Rescue(engine, KEEP, lambda change: None, lambda: None)
    assert not rescuing.turn()
    assert view.count("job_runs WHERE state = 'running'") == LOST
