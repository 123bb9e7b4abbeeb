"""One run of the whole stack under scripted traffic, and what its signals said of it."""

import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, LiteralString

import httpx2
import psycopg
from psycopg.rows import dict_row

from app.embedded.stack import Stack, all_parts, worker
from tests.otlp import OtlpReceiver, Span
from tests.processes import KINDS, until

JOBS = 200

# Two of the pool that the jobs are for, so that one goes on while the other is started again.
SECOND = "worker-cpu-2"

# Jobs at once, of each.
SLOTS = 2

# Seconds: long enough to be killed in the middle.
LONG = 5

# Labels of the scraped process, which all its series have.
TARGET = {"instance", "job", "namespace", "release"}

# Seconds. A killed worker's jobs come back after a lease, and a failed one's after its backoff.
PATIENCE = 180


@dataclass
class Evidence:
    jobs: list[dict[str, Any]]
    """Rows of the ledger: id, kind, traceparent, attempt, outcome."""
    killed: set[str]
    """Ids of the jobs that a killed worker was running."""
    spans: list[Span]
    lines: dict[str, list[str]]
    """Of each part, as it wrote them."""
    series: dict[str, dict[str, set[str]]]
    """Of each metric that Prometheus scraped: its labels' names, and the jobs that it is from."""
    types: dict[str, str]
    """Of each metric, by the name of its family."""


@dataclass
class Script:
    stack: Stack
    client: httpx2.Client
    submitted: list[str] = field(default_factory=list)
    killed: set[str] = field(default_factory=set)

    def submit(self, kind: str, seconds: float, **more: object) -> None:
        body = {"spec": {"seconds": seconds}, **more}
        answer = self.client.post(f"/api/v1/jobs/{kind}", json=body)
        assert answer.status_code == 202, answer.text
        self.submitted.append(answer.json()["id"])

    def play(self) -> None:
        self.client.get("/api/v1/nowhere")
        self.client.put("/api/v1/items")
        self.client.get("/api/v1/items", headers={"Authorization": "Bearer wrong"})
        for number in range(JOBS):
            match number % 20:
                case 0:
                    self.submit("test.fail", 0)
                case 1:
                    self.submit("test.write", 0.1)
                case 2:
                    soon = datetime.now(UTC) + timedelta(seconds=3)
                    self.submit("test.nap", 0.1, not_before=soon.isoformat())
                case _:
                    self.submit("test.nap", LONG if 130 < number <= 140 else 0.15)
            match number:
                case 40:
                    self.restart("worker-cpu")
                case 80:
                    self.restart(SECOND)
                case 110:
                    # What is in the ledger by now goes on in the trace of a process that is gone.
                    self.stack.stop_one("api")
                    self.stack.start_one("api")
                    assert self.stack.wait_ready()
                case 140:
                    self.kill_while_busy()
                    self.restart("worker-io")

    def restart(self, name: str) -> None:
        self.stack.stop_one(name)
        self.stack.start_one(name)

    def kill_while_busy(self) -> None:
        """Kill a worker with its children; its supervisor starts another."""
        until(self._middle_of_naps, seconds=PATIENCE, what=f"{SECOND} is in the middle of two jobs")
        os.kill(self.stack.pid(SECOND), signal.SIGKILL)
        # The ledger does not know yet: what is in the dead one's name stays so for a lease.
        self.killed = {str(row["id"]) for row in self._held_by_second()}

    def _middle_of_naps(self) -> bool:
        """What ends in the moment of the kill may have said so already, or not."""
        held = self._held_by_second()
        return len(held) == SLOTS and all(
            row["nap"] == LONG and 0.5 < row["age"] < LONG - 1.5 for row in held
        )

    def _held_by_second(self) -> list[dict[str, Any]]:
        """It was started last."""
        return rows(
            self.stack,
            """
            SELECT jobs.id, (spec ->> 'seconds')::float AS nap,
                extract(epoch FROM clock_timestamp() - run.started_at)::float AS age
            FROM job_runs run JOIN jobs ON jobs.id = run.job_id
            WHERE run.state = 'running' AND worker_id = (
                SELECT id FROM workers WHERE pool = 'cpu' ORDER BY started_at DESC LIMIT 1
            )
            """,
        )

    def ended(self) -> bool:
        return not rows(self.stack, "SELECT FROM job_runs LIMIT 1")


def rows(stack: Stack, query: LiteralString) -> list[dict[str, Any]]:
    with psycopg.connect(stack.postgres.url(), row_factory=dict_row) as connection:
        return connection.execute(query).fetchall()


@contextmanager
def variables(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def logged_in(stack: Stack) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=stack.base_url, timeout=30) as client:
        credentials = {"email": "observer@example.com", "password": "correct horse battery"}
        assert client.post("/api/v1/users", json=credentials).status_code == 201
        login = {"username": credentials["email"], "password": credentials["password"]}
        token = client.post("/api/v1/auth/login", data=login).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


def scraped(prometheus: str) -> tuple[dict[str, dict[str, set[str]]], dict[str, str]]:
    with httpx2.Client(base_url=f"{prometheus}/api/v1", timeout=30) as client:
        found = client.get("/series", params={"match[]": '{job=~"heavylift-.+"}'}).json()["data"]
        metadata = client.get("/targets/metadata").json()["data"]
    series: dict[str, dict[str, set[str]]] = defaultdict(lambda: {"labels": set(), "jobs": set()})
    for one in found:
        name = one["__name__"]
        series[name]["labels"] |= set(one) - {"__name__", "le", *TARGET}
        series[name]["jobs"].add(one["job"].removeprefix("heavylift-"))
    return dict(series), {one["metric"]: one["type"] for one in metadata}


def run(folder: Path) -> Evidence:
    """Play the script from start to end, and stop everything."""
    lines: dict[str, list[str]] = defaultdict(list)
    lock = threading.Lock()

    def sink(part: str, line: str) -> None:
        with lock:
            lines[part].append(line)

    with OtlpReceiver() as receiver:
        environment = variables(
            PYTHONPATH=str(KINDS),
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
            OTEL_TRACES_SAMPLER="parentbased_always_on",
            HEAVYLIFT_LOG_FORMAT="json",
        )
        parts = [*all_parts(concurrency=SLOTS), replace(worker("cpu", SLOTS), name=SECOND)]
        stack = Stack(folder, parts=parts, durable=False, sink=sink, observe=True)
        with environment, stack:
            assert stack.wait_ready()
            assert stack.prometheus is not None, "apt-get install prometheus"
            with logged_in(stack) as client:
                script = Script(stack, client)
                script.play()
            until(script.ended, seconds=PATIENCE, what="every job has ended")
            jobs = rows(stack, "SELECT id, kind, traceparent, attempt, outcome FROM jobs")
            # Two scrapes after the last job.
            time.sleep(5)
            series, types = scraped(stack.prometheus.url)
        # Everything has stopped, and has sent what it had left.
        spans = list(receiver.spans)
    assert len(jobs) == JOBS
    return Evidence(jobs, script.killed, spans, dict(lines), series, types)
