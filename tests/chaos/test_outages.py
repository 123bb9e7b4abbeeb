"""PostgreSQL and Redis gone or frozen under a working system."""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2
import pytest
from sqlalchemy import text

from app.services.ledger import LEASE
from tests.chaos.conftest import Stack
from tests.chaos.stream import steady
from tests.chaos.test_worker_signals import answers, up, value
from tests.processes import Part, until

OUTAGE = 60


def stop_postgres(stack: Stack) -> Callable[[], None]:
    stack.postgres.stop()
    return stack.postgres.start


def freeze_postgres(stack: Stack) -> Callable[[], None]:
    stack.postgres.signal_all(signal.SIGSTOP)
    return lambda: stack.postgres.signal_all(signal.SIGCONT)


@pytest.mark.parametrize("begin", [stop_postgres, freeze_postgres])
def test_an_outage_of_postgresql_costs_no_running_job_anything(
    stack: Stack, begin: Callable[[Stack], Callable[[], None]]
) -> None:
    """Every lease expires meanwhile, and no worker has died."""
    controllers = [stack.parts.controller().ready() for _ in range(2)]
    worker = stack.parts.worker(concurrency=3).ready()
    # One ends while the database is away, and its timeout passes before its outcome can be
    # written; one ends right after, one much later.
    jobs = [
        stack.ledger.submit("test.brief", seconds=50),
        *(stack.ledger.submit(seconds=seconds) for seconds in (OUTAGE + 45, OUTAGE + 60)),
    ]
    until(lambda: all(stack.ledger.running(job, 1) for job in jobs), seconds=30, what="all run")
    # The controllers have been in contact for more than a lease: they would rescue.
    time.sleep(LEASE.total_seconds() + 5)
    end = begin(stack)
    time.sleep(OUTAGE)
    end()
    stack.ledger.engine.dispose()
    until(lambda: stack.ledger.succeeded(*jobs), seconds=120, what="all succeed")
    for job in jobs:
        ended = stack.ledger.job(job)
        assert (ended["attempt"], ended["tries"]) == (1, 0), ended
    assert all("worker lost" not in controller.output for controller in controllers)
    assert "child killed" not in worker.output


def test_redis_killed_and_emptied_loses_no_job(stack: Stack) -> None:
    stack.parts.controller().ready()
    stack.parts.worker(concurrency=2).ready()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    api = stack.parts.start("api", HEAVYLIFT_API_PORT=str(port))

    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:

        def answers() -> bool:
            try:
                return client.get("/readyz").status_code == 200
            except httpx2.TransportError:
                return False

        until(answers, seconds=30, what=f"the API is ready: {api.output}")
        credentials = {"email": "a@example.com", "password": "correct horse battery"}
        assert client.post("/api/v1/users", json=credentials).status_code == 201
        login = {"username": credentials["email"], "password": credentials["password"]}
        token = client.post("/api/v1/auth/login", data=login).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"

        def post(seconds: float) -> str:
            answer = client.post("/api/v1/jobs/test.nap", json={"spec": {"seconds": seconds}})
            assert answer.status_code == 202, answer.text
            return str(answer.json()["id"])

        jobs = [post(0.2) for _ in range(50)]
        until(
            lambda: stack.ledger.count("jobs WHERE outcome IS NOT NULL") > 2,
            seconds=30,
            what="some ran",
        )
        stack.redis.process.kill()
        waiting = stack.ledger.count("job_runs")
        assert waiting > 20, "most of them wait"
        jobs += [post(0.1) for _ in range(10)]
        stack.redis.start()
        jobs += [post(0.1) for _ in range(5)]

        def all_succeeded() -> bool:
            return stack.ledger.count("jobs WHERE outcome = 'succeeded'") == len(jobs)

        until(all_succeeded, seconds=90, what=f"all {len(jobs)} succeed")
    assert stack.ledger.count("jobs WHERE attempt <> 1") == 0


def test_a_pool_whose_row_has_vanished_is_served_again(stack: Stack) -> None:
    """As in a database that was restored under a running controller."""
    stack.parts.controller().ready()
    stack.parts.worker(concurrency=1).ready()
    first = stack.ledger.submit(seconds=0.1)
    until(lambda: stack.ledger.succeeded(first), seconds=30, what="all is well")
    with stack.ledger.engine.begin() as connection:
        connection.execute(text("DELETE FROM pools"))
    second = stack.ledger.submit(seconds=0.1)
    until(lambda: stack.ledger.succeeded(second), seconds=30, what="the next job runs")


def test_a_worker_that_never_saw_redis_stops_when_it_is_told_to(stack: Stack) -> None:
    stack.redis.stop()
    worker = stack.parts.worker(concurrency=1)
    until(lambda: "Cannot connect" in worker.output, seconds=30, what="it looks for Redis")
    worker.terminate()
    assert worker.process.wait(20) == 0, worker.output
    assert "Traceback" not in worker.output


def test_a_frozen_redis_stops_nothing_for_good(stack: Stack) -> None:
    stack.parts.controller().ready()
    stack.parts.worker(concurrency=1).ready()
    first = stack.ledger.submit(seconds=8)
    until(lambda: stack.ledger.running(first, 1), seconds=20, what="it runs")
    stack.redis.process.signal(signal.SIGSTOP)
    second = stack.ledger.submit(seconds=0.1)
    until(lambda: stack.ledger.succeeded(first), seconds=40, what="what runs finishes")
    stack.redis.process.signal(signal.SIGCONT)
    until(lambda: stack.ledger.succeeded(second), seconds=60, what="what waits runs")


class Probes:
    """What a kubelet would have heard from these parts, asked more often than it asks."""

    def __init__(self, parts: list[Part]) -> None:
        self.heard: dict[str, set[int | None]] = {
            f"{part.log.name} {path}": set() for part in parts for path in ("/livez", "/readyz")
        }
        self._asked = [(part.log.name, part.signals()) for part in parts]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def _ask(self) -> None:
        while not self._over.wait(1):
            for name, address in self._asked:
                for path in ("/livez", "/readyz"):
                    self.heard[f"{name} {path}"].add(answers(address, path))

    @contextmanager
    def asking(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()


# The parts whose probes are asked all along.
PROBED = ("worker", "controller")


def test_outages_under_load_move_no_probe_and_cost_no_job_anything(stack: Stack) -> None:
    signals = {"HEAVYLIFT_SIGNALS_PORT": "0"}
    controller = stack.parts.start("controller", **signals).ready()
    arguments = ("worker", "--pool", "cpu", "--concurrency", "3")
    workers = [stack.parts.start(*arguments, **signals).ready() for _ in range(2)]
    probed = {"worker": workers, "controller": [controller]}
    probes = Probes([part for name in PROBED for part in probed[name]])
    address = workers[0].signals()
    until(lambda: stack.ledger.count("workers") == 2, seconds=30, what="both are registered")
    with steady(stack, *[0.1, 0.5] * 7, 20.0) as stream, probes.asking():
        for dependency, server in (("postgresql", stack.postgres), ("redis", stack.redis)):
            # The controller would rescue: it has been in contact for more than a lease.
            time.sleep(LEASE.total_seconds() + 5)
            assert up(address, dependency)
            before = len(stream.accepted)
            server.stop()
            stopped = time.monotonic()
            until(lambda down=dependency: not up(address, down), seconds=20, what="it is told")  # type: ignore[misc]
            time.sleep(max(0.0, OUTAGE - (time.monotonic() - stopped)))
            if dependency == "redis":
                assert len(stream.accepted) > before, "accepting needs no Redis"
            server.start()
            until(lambda back=dependency: up(address, back), seconds=20, what="it is back")  # type: ignore[misc]
        jobs = stream.end()
        until(lambda: stack.ledger.count("job_runs") == 0, seconds=180, what="all have ended")
    assert stack.ledger.succeeded(*jobs)
    assert stack.ledger.count("jobs WHERE attempt <> 1 OR tries <> 0") == 0
    assert {said for heard in probes.heard.values() for said in heard} == {200}, probes.heard
    assert "worker lost" not in controller.output
    assert all("child killed" not in worker.output for worker in workers)
    assert value(address, 'heavylift_worker_heartbeats_late_total{pool="cpu"}') >= 1
