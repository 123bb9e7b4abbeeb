"""One run of the whole stack under scripted traffic, and what its signals said of it."""

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, LiteralString

import httpx2
import psycopg
from psycopg.rows import dict_row

from app.core.config import PREFIX
from app.embedded import monitoring_files
from app.embedded.monitoring_files import dashboards
from app.embedded.prometheus import LABELS
from app.embedded.stack import Part, Stack, all_parts, controller, free_port, worker
from loadtests.__main__ import ADMIN, UNLIMITED, make_admin
from tests.observe.faults import compressed
from tests.observe.pictures import Drawn, pictures
from tests.observe.queries import (
    Prometheus,
    Query,
    panel_queries,
    recording_queries,
    variable_queries,
)
from tests.otlp import OtlpReceiver, Span
from tests.processes import KINDS, until
from tests.tls_redis import TlsRedis, tls_redis

JOBS = 200

# Two of the pool that the jobs are for, so that one goes on while the other is started again; and
# one of a newer version, which takes the second's place.
SECOND, NEXT = "worker-cpu-2", "worker-cpu-next"

# A second controller, which dispatches nothing. While the first one is stopped, nobody does.
PAUSED = "controller-paused"

# Jobs at once, of each.
SLOTS = 2

# Seconds: long enough to be killed in the middle.
LONG = 5

# Users of the load test, and its seconds.
USERS, LOADED = 10, 60

# Labels of the scraped process, which all its series have.
TARGET = {"instance", "job", "namespace", "release"}

# For what a dashboard's variables stand for in its queries.
VALUES = {
    **LABELS,
    "pool": ".*",
    "kind": ".*",
    "route": ".+",
    "scenario": ".+",
    "__rate_interval": "20s",
    "__interval": "5s",
    "__range": "3m",
}

# The longest interval of the rules, two minutes, is as long as the run.
PACE = 10

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
    """Lines of each part, as it wrote them."""
    series: dict[str, dict[str, set[str]]]
    """Names of labels and scrape jobs of each metric that Prometheus has."""
    types: dict[str, str]
    """Type of each metric, by the name of its family."""
    samples: dict[Query, int]
    """How many finite samples each query of a dashboard or a rule had."""
    offered: dict[Query, list[str]]
    """The values that each variable of a dashboard had to choose from."""
    drawn: Drawn | None
    """Unless the programs for it are missing."""


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
        happenings: dict[int, Callable[[], None]] = {
            0: partial(self.stack.stop_one, NEXT),
            40: partial(self.restart, "worker-cpu"),
            60: self.pause_dispatch,
            80: self.upgrade_half,
            100: self.kill_controller,
            # What is in the ledger by then goes on in the trace of a process that is gone.
            110: self.restart_api,
            140: self.kill_while_busy,
            141: partial(self.restart, "worker-io"),
        }
        for number in range(JOBS):
            self.submit_next(number)
            if number in happenings:
                happenings[number]()

    def submit_next(self, number: int) -> None:
        match number % 20:
            case 0:
                self.submit("test.fail", 0)
            case 1:
                self.submit("test.write", 0.1)
            case 2:
                soon = datetime.now(UTC) + timedelta(seconds=3)
                self.submit("test.nap", 0.1, not_before=soon.isoformat())
            case 3:
                self.submit("test.wait", 0.1)
            case _:
                self.submit("test.nap", LONG if 130 < number <= 140 else 0.15)

    def restart_api(self) -> None:
        self.restart("api")
        assert self.stack.wait_ready()

    def upgrade_half(self) -> None:
        """Half of the pool's workers get another version."""
        self.stack.stop_one(SECOND)
        self.stack.start_one(NEXT)

    def kill_controller(self) -> None:
        """Once it has sent its spans: those that it still has are lost with it."""
        until(self.ended, seconds=PATIENCE, what="every job so far has ended")
        time.sleep(2)
        self.kill("controller")

    def kill(self, name: str) -> None:
        """Its supervisor starts another."""
        os.kill(self.stack.pid(name), signal.SIGKILL)

    def restart(self, name: str) -> None:
        self.stack.stop_one(name)
        self.stack.start_one(name)

    def pause_dispatch(self) -> None:
        self.stack.stop_one("controller")
        for _ in range(5):
            self.submit("test.nap", 0.1)
        time.sleep(4)
        self.stack.start_one("controller")

    def kill_while_busy(self) -> None:
        """Kill a worker with its children; its supervisor starts another."""
        until(self._middle_of_naps, seconds=PATIENCE, what=f"{NEXT} is in the middle of two jobs")
        self.kill(NEXT)
        # The ledger does not know yet: what is in the dead one's name stays so for a lease.
        self.killed = {str(row["id"]) for row in self._held_by_next()}

    def _middle_of_naps(self) -> bool:
        """What ends in the moment of the kill may have said so already, or not."""
        held = self._held_by_next()
        return len(held) == SLOTS and all(
            row["nap"] == LONG and 0.5 < row["age"] < LONG - 1.5 for row in held
        )

    def _held_by_next(self) -> list[dict[str, Any]]:
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


def parts(tls: TlsRedis) -> list[Part]:
    second = replace(worker("cpu", SLOTS), name=SECOND)
    upgraded = replace(second, name=NEXT, settings={f"{PREFIX}WORKER_VERSION": "next"})
    # As it dispatches nothing, it may have another Redis: one whose certificate it can tell of.
    settings = {f"{PREFIX}CONTROLLER_PAUSED": "true", f"{PREFIX}REDIS_URL": tls.url()}
    paused = replace(controller(), name=PAUSED, settings=settings)
    return [*all_parts(concurrency=SLOTS), second, upgraded, paused]


def load(stack: Stack, port: int) -> None:
    """`make load` on this stack, which exports its metrics; PostgreSQL stops for a moment then."""
    password = secrets.token_urlsafe()
    make_admin(stack.environment, password)
    settings = {
        "LOADTEST_ADMIN_EMAIL": ADMIN,
        "LOADTEST_ADMIN_PASSWORD": password,
        "LOADTEST_METRICS_PORT": str(port),
    }

    def all_at_work() -> bool:
        try:
            page = httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
        except httpx2.TransportError:
            # While accounts are made.
            return False
        return f"heavylift_loadtest_users {USERS:.1f}\n" in page

    command = [sys.executable, "-m", "loadtests", "--host", stack.base_url]
    command += ["--users", str(USERS), "--run-time", str(LOADED)]
    with subprocess.Popen(
        [*command, "--report", str(stack.folder / "report")],
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        until(all_at_work, seconds=PATIENCE, what="the load test has all of its users")
        time.sleep(LOADED / 3)
        stack.stop_one("postgres")
        time.sleep(2)
        stack.start_one("postgres")
        said, _ = running.communicate(timeout=PATIENCE)
    # 1: an objective was missed.
    assert running.returncode in (0, 1), said


def queries(text: str) -> tuple[list[Query], list[Query]]:
    """Queries of all panels and recording rules, and those of the dashboards' variables."""
    pages = dashboards()
    panels = [query for page in pages for query in panel_queries(page)]
    variables = [query for page in pages for query in variable_queries(page)]
    return [*panels, *recording_queries(text)], variables


def run(folder: Path, *, drawing: bool) -> Evidence:
    """Play the script from start to end, look at all of it, and stop everything."""
    begun = time.time()
    lines: dict[str, list[str]] = defaultdict(list)
    lock = threading.Lock()

    def sink(part: str, line: str) -> None:
        with lock:
            lines[part].append(line)

    with OtlpReceiver() as receiver, tls_redis(folder.parent) as tls:
        environment = variables(
            PYTHONPATH=str(KINDS),
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
            OTEL_TRACES_SAMPLER="parentbased_always_on",
            OTEL_BSP_SCHEDULE_DELAY="500",
            HEAVYLIFT_LOG_FORMAT="json",
        )
        port = free_port()
        stack = Stack(
            folder,
            parts=parts(tls),
            settings=UNLIMITED,
            durable=False,
            sink=sink,
            observe=True,
            known_ports=False,
            targets={"loadtest": {"loadtest": port}},
            rules=compressed(monitoring_files.rules(), PACE),
        )
        with environment, stack:
            assert stack.wait_ready()
            assert stack.prometheus is not None, "apt-get install prometheus"
            with logged_in(stack) as client:
                script = Script(stack, client)
                script.play()
            until(script.ended, seconds=PATIENCE, what="every job has ended")
            load(stack, port)
            until(script.ended, seconds=PATIENCE, what="every job of the load test has ended")
            jobs = rows(stack, "SELECT id, kind, traceparent, attempt, outcome FROM jobs")
            # Two scrapes after the last job, and a survey.
            time.sleep(5)
            series, types = scraped(stack.prometheus.url)
            asked, variables_asked = queries(monitoring_files.rules())
            with closing(
                Prometheus(stack.prometheus.url, begun=begun, ended=time.time(), values=VALUES)
            ) as prometheus:
                samples = {query: prometheus.samples(query.expression) for query in asked}
                offered = {
                    query: prometheus.values_of(query.expression) for query in variables_asked
                }
            drawn = pictures(stack.prometheus.url, folder.parent, begun=begun) if drawing else None
        # Everything has stopped, and has sent what it had left.
        spans = list(receiver.spans)
    assert len(jobs) > len(script.submitted)
    return Evidence(jobs, script.killed, spans, dict(lines), series, types, samples, offered, drawn)
