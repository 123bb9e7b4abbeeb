"""Clients that hold connections of a real API process, and send nothing or too slowly."""

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import httpx2
import psutil
import pytest

from app.core.descriptors import RESERVE
from tests.chaos.conftest import Stack
from tests.exposition import Exposition
from tests.processes import Part, until

LIMIT = 128

# Fewer are left when a quarter is.
FOR_CLIENTS = LIMIT - min(RESERVE, LIMIT // 4)

LIVE = b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n"
HALF = b"GET /livez HTTP/1.1\r\nHost: te"
STALLED = (
    b"POST /api/v1/auth/refresh HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
    b"Content-Length: 9\r\n\r\n{"
)

# Seconds: a busy machine's, beyond the limit itself.
PATIENCE = 60


@pytest.fixture
def held() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def connect(held: ExitStack, port: int, sent: bytes = b"") -> socket.socket:
    client = held.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
    client.sendall(sent)
    return client


def limits(part: Part) -> set[tuple[int, int]]:
    """Of the process and its children."""
    processes = [psutil.Process(part.pid), *part.children()]
    return {process.rlimit(resource.RLIMIT_NOFILE) for process in processes}


def metrics(api: Part) -> Exposition:
    return Exposition(httpx2.get(f"{api.signals()}/metrics").text)


def test_clients_that_hold_connections_stop_nobody(stack: Stack, held: ExitStack) -> None:
    api = stack.parts.start_limited(
        LIMIT, "api", HEAVYLIFT_API_PORT="0", HEAVYLIFT_SIGNALS_PORT="0"
    )
    port = stack.parts.port(api)
    api.ready()
    assert limits(api) == {(LIMIT, LIMIT)}
    [worker] = api.children()

    # More silent ones than there are descriptors: others are served, and the database is reached.
    for _ in range(3 * LIMIT):
        connect(held, port)
    for _ in range(3):
        client = connect(held, port, LIVE)
        assert client.recv(12) == b"HTTP/1.1 200"
        assert worker.num_fds() < FOR_CLIENTS + 8
    user = {"email": "ada@example.com", "password": "correct horse battery"}
    url = f"http://127.0.0.1:{port}/api/v1/users"
    assert httpx2.post(url, json=user, timeout=PATIENCE).status_code == 201
    assert api.output.count("accept paused") == 1
    assert metrics(api).value("heavylift_accept_pauses_total") > 1
    closed = metrics(api).by("heavylift_connections_closed_total", "reason")
    assert closed["few-descriptors"] > LIMIT

    # And without those, what is begun and not ended is given up in its own time.
    held.close()
    until(lambda: worker.num_fds() < FOR_CLIENTS - 20, seconds=PATIENCE, what="they have left")
    waiting = [connect(held, port, sent) for sent in (HALF, STALLED) for _ in range(5)]
    for client in waiting:
        assert client.recv(12) == b"HTTP/1.1 408"
    closed = metrics(api).by("heavylift_connections_closed_total", "reason")
    assert closed["request-timeout"] == len(waiting)


def test_each_process_raises_its_limit(stack: Stack) -> None:
    parts = [
        stack.parts.start_limited(256, *arguments, HEAVYLIFT_SIGNALS_PORT="0").ready()
        for arguments in (("controller",), ("worker", "--pool", "cpu", "--concurrency", "1"))
    ]
    for part in parts:
        assert limits(part) == {(256, 256)}
