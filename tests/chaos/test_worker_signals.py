"""What a real worker says of itself, and when a kubelet would believe it dead."""

import signal
import time
from collections.abc import Callable

import httpx2
import psutil
import pytest

from tests.chaos.conftest import Stack
from tests.processes import Part, until

# As a kubelet probes: so often (seconds), for so long (seconds), until so many failures in a row.
PERIOD, TIMEOUT, FAILURES = 10, 5, 3


def worker_of(stack: Stack, **variables: str) -> Part:
    return stack.parts.worker(concurrency=1, HEAVYLIFT_SIGNALS_PORT="0", **variables)


def answers(address: str, path: str = "/livez") -> int | None:
    """The status; None: none, or not in time."""
    try:
        return httpx2.get(address + path, timeout=TIMEOUT).status_code
    except httpx2.TransportError:
        return None


def value(address: str, series: str) -> float:
    """Of one series, named as `/metrics` writes it."""
    lines = httpx2.get(f"{address}/metrics", timeout=TIMEOUT).text.splitlines()
    found = [line.removeprefix(f"{series} ") for line in lines if line.startswith(f"{series} ")]
    assert len(found) == 1, (series, lines)
    return float(found[0])


def up(address: str, dependency: str) -> bool:
    return value(address, f'heavylift_dependency_up{{dependency="{dependency}"}}') == 1


def test_a_frozen_parent_is_believed_dead_in_time(stack: Stack) -> None:
    worker = worker_of(stack).ready()
    address = worker.signals()
    assert answers(address) == 200
    worker.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    failures = 0
    while failures < FAILURES:
        asked = time.monotonic()
        failures = 0 if answers(address) == 200 else failures + 1
        assert time.monotonic() - began < 90
        if failures < FAILURES:
            time.sleep(max(0.0, PERIOD - (time.monotonic() - asked)))


def test_it_is_alive_while_it_waits_for_its_first_redis(stack: Stack) -> None:
    stack.redis.stop()
    worker = worker_of(stack)
    address = worker.signals()
    until(lambda: "Cannot connect" in worker.output, seconds=60, what="it looks for Redis")
    assert answers(address) == 200
    assert answers(address, "/readyz") == 503
    assert not up(address, "redis")
    # It has asked PostgreSQL for nothing since it found the schema there.
    assert 'dependency="postgresql"' not in httpx2.get(f"{address}/metrics", timeout=TIMEOUT).text
    stack.redis.start()
    until(lambda: answers(address, "/readyz") == 200, seconds=60, what="it is ready")
    assert up(address, "redis")
    assert up(address, "postgresql")


def test_it_is_alive_and_beats_while_a_child_lets_nobody_look(stack: Stack) -> None:
    """In miniature what an hour of C code is: longer than a lease, and than any probe waits."""
    stack.parts.controller().ready()
    worker = worker_of(stack).ready()
    address = worker.signals()
    job = stack.ledger.submit("test.grind", seconds=45)
    until(lambda: stack.ledger.running(job, 1), seconds=30, what="it runs")
    while not stack.ledger.succeeded(job):
        assert (answers(address), answers(address, "/readyz")) == (200, 200)
        assert value(address, 'heavylift_worker_heartbeat_age_seconds{pool="cpu"}') < 20
        time.sleep(1)
    assert stack.ledger.job(job)["attempt"] == 1
    assert value(address, 'heavylift_worker_heartbeats_total{pool="cpu"}') >= 4


def test_a_killed_and_a_recycled_child_are_counted_apart(stack: Stack) -> None:
    stack.parts.controller().ready()
    worker = worker_of(
        stack, HEAVYLIFT_WORKER_JOBS_PER_CHILD="2", HEAVYLIFT_WORKER_CANCEL_GRACE="1"
    ).ready()
    address = worker.signals()

    def restarts(reason: str) -> float:
        labels = f'pool="cpu",reason="{reason}"'
        return value(address, f"heavylift_worker_child_restarts_total{{{labels}}}")

    for _ in range(4):
        job = stack.ledger.submit()
        until(lambda job=job: stack.ledger.succeeded(job), seconds=30, what="it runs")  # type: ignore[misc]
    until(lambda: restarts("recycled") == 2, seconds=30, what="two were recycled")
    stuck = stack.ledger.submit("test.spin", seconds=60, max_tries=1)
    until(lambda: stack.ledger.state(stuck) == "failed", seconds=30, what="timed out")
    until(lambda: restarts("timed-out") == 1, seconds=30, what="one was killed")
    (child,) = worker.children()
    child.kill()
    until(lambda: restarts("exited") == 1, seconds=30, what="one was killed by somebody else")
    assert restarts("recycled") == 2


def test_a_draining_worker_is_unready_and_alive(stack: Stack) -> None:
    stack.parts.controller().ready()
    worker = worker_of(stack).ready()
    address = worker.signals()
    job = stack.ledger.submit(seconds=5)
    until(lambda: stack.ledger.running(job, 1), seconds=30, what="it runs")
    worker.terminate()
    until(lambda: answers(address, "/readyz") == 503, seconds=5, what="it is unready")
    assert answers(address) == 200
    assert worker.process.wait(30) == 0, worker.output
    assert stack.ledger.succeeded(job)


@pytest.mark.parametrize("how", [psutil.Process.terminate, psutil.Process.kill])
def test_the_port_is_free_once_the_parent_has_gone(
    stack: Stack, how: Callable[[psutil.Process], None]
) -> None:
    """And before: a second worker that wants the same one says so in a line, and leaves."""
    stack.parts.controller().ready()
    first = worker_of(stack).ready()
    port = first.signals().rpartition(":")[2]
    second = stack.parts.worker(HEAVYLIFT_SIGNALS_PORT=port)
    assert second.process.wait(60) == 2
    taken = f"can't listen on 127.0.0.1 port {port}: Address already in use"
    assert second.output == f"heavylift: HEAVYLIFT_SIGNALS_PORT: {taken}\n"
    (child,) = first.children()
    listening = [c for c in child.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert listening == []
    how(psutil.Process(first.pid))
    first.process.wait(30)
    stack.parts.worker(HEAVYLIFT_SIGNALS_PORT=port).ready()


def cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def test_probes_and_scrapes_cost_next_to_nothing(stack: Stack) -> None:
    """In one run: as many as come in an hour, at once, and what each of them took."""
    stack.parts.controller().ready()
    worker = worker_of(stack).ready()
    address = worker.signals()
    hour = {"/livez": 360, "/readyz": 360, "/metrics": 240}
    with httpx2.Client(base_url=address, timeout=TIMEOUT) as client:
        client.get("/metrics")
        idle, spent = 0.0, 0.0
        for _ in range(5):
            before = cpu(worker.pid)
            began = time.monotonic()
            for path, count in hour.items():
                for _ in range(count // 5):
                    assert client.get(path).status_code == 200
            took = time.monotonic() - began
            spent += cpu(worker.pid) - before
            before = cpu(worker.pid)
            time.sleep(took)
            idle += cpu(worker.pid) - before
    share = (spent - idle) / 3600
    print(f"all probes and scrapes of a worker: {share:.4%} of a core")  # noqa: T201
    assert share < 0.01
