"""Real faults of the whole stack fire their alerts, and their end resolves them.

The rules are the project's own at sixty times their pace, with thresholds that fit a few jobs.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import httpx2
import pytest

from app.core.config import PREFIX
from app.embedded import monitoring_files
from app.embedded.stack import Stack, all_parts
from tests.observe.faults import FAULTS, Alerts, compressed
from tests.observe.scenario import logged_in, rows, variables
from tests.processes import KINDS, until
from tests.servers import scratch_folder

pytestmark = pytest.mark.observe

PACE = 60

THRESHOLDS = {
    "api_min_errors": "5",
    "pool_stalled_age": "5",
    "pool_without_workers_age": "5",
    "dead_letters_per_hour": "2",
    "lost_attempts_per_hour": "1",
}

# All kinds of the pool but one, which no worker can run then.
UNKNOWN = "test.brief"
KNOWN = "test.nap,test.fail,test.grind"


@dataclass
class Run:
    stack: Stack
    alerts: Alerts
    client: httpx2.Client

    def submit(self, kind: str, seconds: float = 0) -> str:
        answer = self.client.post(f"/api/v1/jobs/{kind}", json={"spec": {"seconds": seconds}})
        assert answer.status_code == 202, answer.text
        job: str = answer.json()["id"]
        return job

    def cancel(self, job: str) -> None:
        assert self.client.post(f"/api/v1/jobs/{job}/cancel").status_code in (200, 202)

    def signal(self, part: str, number: int) -> None:
        os.kill(self.stack.pid(part), number)

    @contextmanager
    def requests(self) -> Iterator[None]:
        """Somebody reads their items ten times a second meanwhile, whatever the answers are."""
        stopped = threading.Event()

        def read() -> None:
            with httpx2.Client(
                base_url=self.stack.base_url, timeout=30, headers=self.client.headers
            ) as client:
                while not stopped.wait(0.1):
                    client.get("/api/v1/items")

        thread = threading.Thread(target=read)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()


@pytest.fixture(scope="module")
def noted() -> list[str]:
    return []


@pytest.fixture(autouse=True)
def table(noted: list[str], record_property: Callable[[str, str], None]) -> Iterator[None]:
    """Each test's lines are printed when all have run."""
    before = len(noted)
    yield
    for line in noted[before:]:
        record_property(FAULTS, line)


@pytest.fixture(scope="module")
def run(noted: list[str]) -> Iterator[Run]:
    settings = {f"{PREFIX}WORKER_KINDS": KNOWN}
    parts = [
        replace(part, settings=settings) if part.name == "worker-cpu" else part
        for part in all_parts(concurrency=2)
    ]
    rules = compressed(monitoring_files.rules(THRESHOLDS), PACE)
    with scratch_folder() as folder:
        stack = Stack(
            folder / "stack",
            parts=parts,
            durable=False,
            sink=lambda *_: None,
            observe=True,
            known_ports=False,
            rules=rules,
        )
        with variables(PYTHONPATH=str(KINDS)), stack:
            assert stack.wait_ready()
            assert stack.prometheus is not None, "apt-get install prometheus"
            with logged_in(stack) as client:
                found = Run(stack, Alerts(stack.prometheus.url, noted.append), client)
                found.submit("test.nap", 0.1)
                until(partial(ended, stack), seconds=60, what="the stack has run a job")
                yield found


def ended(stack: Stack) -> bool:
    return not rows(stack, "SELECT FROM job_runs LIMIT 1")


def test_a_pool_without_workers(run: Run) -> None:
    fault, alert = "all workers of a pool are stopped", "HeavyliftPoolWithoutWorkers"
    run.stack.stop_one("worker-io")
    with run.alerts.fired_by(fault, alert):
        run.submit("test.wait")
    assert run.alerts.firing(alert)[0]["pool"] == "io"
    run.stack.start_one("worker-io")
    run.alerts.resolved(fault, alert)


def test_no_controller(run: Run) -> None:
    fault, alert = "the only controller is stopped", "HeavyliftControllerAbsent"
    with run.alerts.fired_by(fault, alert):
        run.stack.stop_one("controller")
    run.stack.start_one("controller")
    run.alerts.resolved(fault, alert)


def test_a_frozen_redis_stalls_pools(run: Run) -> None:
    fault = "Redis is frozen while jobs wait"
    alerts = "HeavyliftDependencyDown", "HeavyliftPoolStalled"
    with run.alerts.fired_by(fault, *alerts):
        run.stack.redis.process.signal(signal.SIGSTOP)
        run.submit("test.nap")
    assert {one["dependency"] for one in run.alerts.firing(alerts[0])} == {"redis"}
    assert {one["pool"] for one in run.alerts.firing(alerts[1])} == {"cpu"}
    run.stack.redis.process.signal(signal.SIGCONT)
    run.alerts.resolved(fault, *alerts)


def test_dead_letters(run: Run) -> None:
    fault, alert = "three jobs fail at every try", "HeavyliftDeadLettersGrowing"
    with run.alerts.fired_by(fault, alert):
        for _ in range(3):
            run.submit("test.fail")
    assert run.alerts.firing(alert)[0]["kind"] == "test.fail"
    run.alerts.resolved(fault, alert)


def test_lost_workers(run: Run) -> None:
    fault, alert = "a worker is killed with its two jobs", "HeavyliftWorkersLost"
    jobs = [run.submit("test.nap", 600) for _ in range(2)]

    def both_run() -> bool:
        return len(rows(run.stack, "SELECT FROM job_runs WHERE state = 'running'")) == 2

    until(both_run, seconds=60, what="both jobs run")
    with run.alerts.fired_by(fault, alert):
        run.signal("worker-cpu", signal.SIGKILL)
    for job in jobs:
        run.cancel(job)
    run.alerts.resolved(fault, alert)


def test_jobs_that_no_worker_can_run(run: Run) -> None:
    fault, alert = "a job of a kind that no worker has", "HeavyliftUnreadableJobs"
    with run.alerts.fired_by(fault, alert):
        job = run.submit(UNKNOWN)
    (labels,) = run.alerts.firing(alert)
    assert (labels["kind"], labels["reason"]) == (UNKNOWN, "unknown-kind")
    run.cancel(job)
    run.alerts.resolved(fault, alert)


def test_the_error_budget_of_the_api(run: Run) -> None:
    fault, alert = "PostgreSQL is stopped while users read", "HeavyliftApiErrorBudget"
    with run.requests():
        with run.alerts.fired_by(fault, alert):
            run.stack.stop_one("postgres")
        run.stack.start_one("postgres")
        run.alerts.resolved(fault, alert)
