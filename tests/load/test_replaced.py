"""SIGTERM to every process in turn under the load of `make load`: its users see nothing of it."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from sqlalchemy import Engine, text

from app.core.config import Settings
from app.embedded.stack import free_port
from loadtests.__main__ import UNLIMITED
from loadtests._mix import MIX
from tests.balancer import balancing
from tests.load.runs import load, make_admin, verdict
from tests.processes import Part, parts, until

pytestmark = pytest.mark.slow

# All six are replaced within it, on a machine that does something else as well.
SECONDS = 90

# Of how fast it is nothing is said here, only that all of it is right.
STRICT = {
    "scenarios": {name: {"p95_ms": 30_000, "error_rate": 0} for name in MIX},
    "jobs": {"finished_p95_ms": 60_000, "queue_wait_p95_ms": 60_000},
}


def count(engine: Engine, what: str) -> int:
    with engine.connect() as connection:
        found: int = connection.execute(text(f"SELECT count(*) FROM {what}")).scalar_one()
    return found


def test_all_processes_are_replaced_and_no_user_sees_it(
    settings: Settings, engine: Engine, clean: None, tmp_path: Path
) -> None:
    objectives = tmp_path / "slo.yaml"
    objectives.write_text(yaml.safe_dump(STRICT))
    first = free_port(8001)
    ports = first, free_port(first + 1, {first})
    with parts(settings, tmp_path) as running, balancing(*ports) as balancer:

        def api(port: int) -> Part:
            # Long enough for a balancer that looks each second.
            return running.start(
                "api",
                HEAVYLIFT_API_PORT=str(port),
                HEAVYLIFT_API_SHUTDOWN_DELAY="3",
                **UNLIMITED,
            )

        def worker() -> Part:
            return running.worker(concurrency=1).ready()

        def controller() -> Part:
            return running.controller().ready()

        def replace(old: Part, start: Callable[[], Part]) -> Part:
            old.terminate()
            assert old.process.wait(90) == 0, old.output
            assert "Traceback" not in old.output
            return start()

        apis = {port: api(port) for port in ports}
        workers = [worker(), worker()]
        controllers = [controller(), controller()]
        make_admin(settings)
        until(balancer.all_ready, seconds=60, what="both are ready")
        with ThreadPoolExecutor(1) as thread:
            loaded = thread.submit(
                load,
                settings,
                balancer.url,
                tmp_path / "report",
                seconds=SECONDS,
                LOADTEST_RATE="1",
                LOADTEST_SLO=str(objectives),
            )
            until(lambda: count(engine, "jobs") > 3 or loaded.done(), seconds=60, what="jobs")
            began = time.monotonic()
            for port in ports:
                apis[port] = replace(apis[port], lambda port=port: api(port))  # type: ignore[misc]
                until(balancer.all_ready, seconds=60, what="it is ready again")
            workers = [replace(old, worker) for old in workers]
            controllers = [replace(old, controller) for old in controllers]
            assert not loaded.done(), loaded.result()[1]
            print(f"all were replaced within {time.monotonic() - began:.0f} s")  # noqa: T201
            code, said = loaded.result()
            print(said[-1500:])  # noqa: T201
        assert code == 0, said
        met = verdict(said)
        assert len(met) == 14, said
        assert all(met.values())
        assert (balancer.refused, balancer.unserved) == (0, 0)
        until(lambda: count(engine, "job_runs") == 0, seconds=60, what="all have ended")
        output = running.output
    assert count(engine, "jobs") > 20
    assert count(engine, "jobs WHERE outcome IS DISTINCT FROM 'succeeded' OR tries <> 0") == 0
    assert "worker lost" not in output
