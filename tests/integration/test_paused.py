"""A controller that is paused: a process, beside a worker that would take what it sends."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import httpx2
import pytest
from sqlalchemy import Engine, text

from app.core.config import Settings
from app.services import ledger
from app.services.ledger import Beat, Submission
from tests.exposition import Exposition
from tests.processes import Part, parts, until

pytestmark = pytest.mark.slow

HELD_BACK = text("SELECT count(*) FROM job_runs WHERE state = 'queued' AND dispatched_at IS NULL")


def held_back(engine: Engine) -> int:
    with engine.begin() as connection:
        count: int = connection.execute(HELD_BACK).scalar_one()
    return count


def metrics(controller: Part) -> Exposition:
    return Exposition(httpx2.get(f"{controller.signals()}/metrics").text)


def test_nothing_is_dispatched_while_all_else_goes_on(
    engine: Engine, settings: Settings, make_owner: Callable[..., UUID], tmp_path: Path
) -> None:
    owner = make_owner()
    soon = datetime.now(UTC) + timedelta(seconds=2)
    with engine.begin() as connection:
        ledger.heartbeat(connection, Beat(uuid4(), "cpu", "h", "1", "b", ["test.nap"], 4, False))
        for not_before in (None, soon):
            job = Submission(owner, "test.nap", "cpu", 3, "{}", not_before=not_before)
            assert ledger.accept(connection, job)

    with parts(settings, tmp_path) as running:
        signals = {"HEAVYLIFT_SIGNALS_PORT": "0"}
        paused = running.controller(HEAVYLIFT_CONTROLLER_PAUSED="true", **signals).ready()
        assert paused.output.count("dispatch is paused") == 1
        until(lambda: held_back(engine) == 2, seconds=30, what="what is due is queued")

        def seen() -> Exposition | None:
            shown = metrics(paused)
            queued = shown.by("heavylift_jobs", "state").get("queued")
            return shown if queued == 2 else None

        # A window of eight is free for them all that time.
        shown = until(seen, seconds=30, what="both are counted and measured")
        assert shown.value("heavylift_dispatch_paused") == 1
        assert shown.value("heavylift_pool_window_limit", pool="cpu") == 8
        assert httpx2.get(f"{paused.signals()}/readyz").status_code == 200
        assert httpx2.get(f"{paused.signals()}/livez").status_code == 200
        assert held_back(engine) == 2

        awake = running.controller(**signals).ready()
        until(lambda: held_back(engine) == 0, seconds=30, what="another one dispatches them")
        assert metrics(awake).value("heavylift_dispatch_paused") == 0
        assert "paused" not in awake.output
