"""Measures the CPU time of a request's overhead: signals, and the bounds of its connection.

It compares a bare FastAPI application that returns a model with the same behind `RequestMiddleware`
(tracing at 10 %, metrics and logs). Both are served on uvloop as `heavylift api` does, but from
memory, without the kernel's network. uvicorn's own protocol, which has no bounds, serves the bare
one once more. All run in turns in one process, since machines differ, and one machine from minute
to minute. Spans go to a receiver in another process; the cost of exporting them here is counted.

    python -m bench.observability [rounds]
"""

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
from contextlib import redirect_stdout
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from statistics import median
from typing import Any

import uvloop
from fastapi import FastAPI
from pydantic import BaseModel
from typing_extensions import override
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app.api.health import Lifecycle
from app.api.middleware import RequestMiddleware
from app.api.protocol import ProblemProtocol
from app.core import telemetry
from app.core.config import Log
from app.core.logging import configure_logging

# Of what a bare request takes, on top.
LIMIT = 0.60

# Maximum cost of the bounds, as a share of a bare request without them.
BOUNDS_LIMIT = 0.02

ROUNDS = 12

# A batch's worth of recorded ones: the SDK exports 512 at once, or those of 5 s.
REQUESTS = 5000

# The bounds cost less than a machine's speed changes from second to second: many short slices, of
# which each is compared with its neighbour. Quartiles of 300 were 8 % away from their median, which
# was the same to a tenth of a percent in three runs.
SLICES = 25
SLICE = 300

# As a browser or a client library sends it.
REQUEST = (
    "GET /api/v1/items/{number} HTTP/1.1\r\n"
    "Host: api.example.com\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
    "Accept: application/json\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    f"Authorization: Bearer {200 * 'x'}\r\n\r\n"
)


class Item(BaseModel):
    id: int
    title: str
    description: str
    tags: list[str]


def application() -> FastAPI:
    app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False})
    # The protocol asks it whether the process is on its way out.
    app.state.lifecycle = Lifecycle()

    @app.get("/api/v1/items/{item_id}")
    async def get_item(item_id: int) -> Item:
        return Item(id=item_id, title="An item", description="Of the usual length", tags=["a", "b"])

    return app


class Unbounded(HttpToolsProtocol):
    """uvicorn's protocol, with the same check as ours whether the process is draining."""

    @override
    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        assert not self.config.app.state.lifecycle.draining  # type: ignore[union-attr]  # noqa: S101


class Wire(asyncio.Transport):
    """A connection that ends here: the server's own work is counted, and no kernel's."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 40000), "sockname": ("127.0.0.1", 8000)})
        self.answered = asyncio.Event()
        self.last = b""

    @override
    def write(self, data: Any) -> None:
        self.last = bytes(data)
        # The head comes first, and of so short a body all at once.
        if self.last.startswith(b"{") or b"\r\n\r\n{" in self.last:
            self.answered.set()

    @override
    def is_closing(self) -> bool:
        return False

    @override
    def close(self) -> None:
        pass

    @override
    def pause_reading(self) -> None:
        pass

    @override
    def resume_reading(self) -> None:
        pass


class Served:
    """An application behind a protocol: by default as `heavylift api` serves it."""

    def __init__(self, app: FastAPI, protocol: type[HttpToolsProtocol] = ProblemProtocol) -> None:
        config = Config(app, http=protocol, lifespan="off", log_config=None, access_log=False)
        config.load()
        self._wire = Wire()
        self._protocol = protocol(config, ServerState(), {})
        self._protocol.connection_made(self._wire)

    async def requests(self, count: int) -> None:
        for number in range(count):
            self._wire.answered.clear()
            self._protocol.data_received(REQUEST.format(number=number).encode())
            await self._wire.answered.wait()
        assert b'"id":%d,' % (count - 1) in self._wire.last  # noqa: S101


async def cost(served: Served, requests: int) -> float:
    """Microseconds of this process's CPU for one request."""
    gc.collect()
    began = time.process_time()
    await served.requests(requests)
    # In its own turn, or some of it would be counted as the other side's.
    telemetry.flush()
    return (time.process_time() - began) / requests * 1e6


async def measure(rounds: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Measure each round bare and with signals, and each slice without bounds and with them."""
    app = application()
    app.add_middleware(RequestMiddleware)
    unbounded, bare, observed = Served(application(), Unbounded), Served(application()), Served(app)
    for side in (unbounded, bare, observed):
        await side.requests(REQUESTS)
    # As the server does when it has started.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    return (
        await pairs(bare, observed, rounds, REQUESTS),
        await pairs(unbounded, bare, rounds * SLICES, SLICE),
    )


async def pairs(one: Served, other: Served, count: int, requests: int) -> list[tuple[float, float]]:
    """Measure both sides in turns; each is first as often."""
    found = []
    for number in range(count):
        order = (one, other) if number % 2 else (other, one)
        costs = {side: await cost(side, requests) for side in order}
        found.append((costs[one], costs[other]))
    return found


class _Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def receive() -> None:
    """The other process: it takes spans for as long as it has a stdin."""
    server = HTTPServer(("127.0.0.1", 0), _Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    while os.read(0, 1 << 16):
        pass


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    receiver = subprocess.Popen(
        [sys.executable, "-c", "from bench.observability import receive; receive()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert receiver.stdin is not None  # noqa: S101
    assert receiver.stdout is not None  # noqa: S101
    port = int(receiver.stdout.readline())
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        del os.environ[name]
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{port}"
    telemetry.configure_tracing("bench")
    # As with the network: the kernel's part of a write is none of ours.
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        configure_logging(Log(format="json"))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            signals, slices = runner.run(measure(rounds))
    receiver.stdin.close()
    receiver.wait()

    bare, observed = (median(side) for side in zip(*signals, strict=True))
    unbounded = median(without for without, _ in slices)
    share = median(with_signals / without - 1 for without, with_signals in signals)
    bounds = median(with_bounds / without - 1 for without, with_bounds in slices)
    for what, took in (
        ("bare FastAPI, a model", f"{bare:6.1f} us"),
        ("with traces (10 %), metrics, logs", f"{observed:6.1f} us"),
        ("on top, median of the rounds' own", f"{share:6.0%}"),
        ("at most", f"{LIMIT:6.0%}"),
        ("bare, without a connection's bounds", f"{unbounded:6.1f} us"),
        ("the bounds on top", f"{bounds:6.1%}"),
        ("at most", f"{BOUNDS_LIMIT:6.0%}"),
    ):
        print(f"{what:<36}{took}")
    return int(share > LIMIT or bounds > BOUNDS_LIMIT)


if __name__ == "__main__":
    sys.exit(main())
