"""A plain TCP balancer that honours readiness, as a Service of Kubernetes does.

It asks each backend's `/readyz` every second, and gives new connections to the ready ones in turn;
what is connected stays where it is. `python -m tests.balancer 8000 127.0.0.1:8001 127.0.0.1:8002`
"""

import asyncio
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException

# Seconds: between two probes, and for one.
PERIOD = 1.0
TIMEOUT = 1.0


def answers_ready(host: str, port: int) -> bool:
    connection = HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/readyz", headers={"Connection": "close"})
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


@dataclass
class Backend:
    host: str
    port: int
    ready: bool = False
    taken: int = 0
    """Connections that it got."""
    refused: int = 0
    """Connections that it was given while ready, and did not take."""


@dataclass
class Balancer:
    backends: Sequence[Backend]
    port: int = 0
    unserved: int = 0
    """Connections for which there was no backend."""
    _turn: int = 0
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def refused(self) -> int:
        return sum(backend.refused for backend in self.backends)

    def all_ready(self) -> bool:
        return all(backend.ready for backend in self.backends)

    async def serve(self, until: asyncio.Event, serving: threading.Event) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        probes = [asyncio.create_task(self._probe(backend)) for backend in self.backends]
        serving.set()
        await until.wait()
        server.close()
        for task in (*probes, *self._connections):
            task.cancel()
        await asyncio.gather(*probes, *self._connections, return_exceptions=True)

    async def _probe(self, backend: Backend) -> None:
        while True:
            backend.ready = await asyncio.to_thread(answers_ready, backend.host, backend.port)
            await asyncio.sleep(PERIOD)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            opened = await self._open()
            if opened is None:
                self.unserved += 1
                return
            there, back = opened
            try:
                await asyncio.gather(_pump(reader, back), _pump(there, writer))
            finally:
                await _close(back)
        except asyncio.CancelledError:
            # At the end of all; a task that asyncio's own server made is not to be cancelled.
            return
        finally:
            self._connections.discard(task)
            await _close(writer)

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in self.backends:
            ready = [backend for backend in self.backends if backend.ready]
            if not ready:
                return None
            self._turn += 1
            backend = ready[self._turn % len(ready)]
            try:
                opened = await asyncio.open_connection(backend.host, backend.port)
            except OSError:
                # It may have been found unready while this one waited for it.
                backend.refused += backend.ready
                continue
            backend.taken += 1
            return opened
        return None


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """One direction; the end of what one side says is passed on, and no more than that."""
    try:
        while chunk := await source.read(65536):
            sink.write(chunk)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()
    except (OSError, RuntimeError):
        sink.transport.abort()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


@contextmanager
def balancing(*ports: int, port: int = 0) -> Iterator[Balancer]:
    """In a thread of its own, before backends of this machine."""
    balancer = Balancer([Backend("127.0.0.1", number) for number in ports], port)
    loop = asyncio.new_event_loop()
    until, serving = asyncio.Event(), threading.Event()
    thread = threading.Thread(
        target=lambda: loop.run_until_complete(balancer.serve(until, serving)), daemon=True
    )
    thread.start()
    try:
        assert serving.wait(10)
        yield balancer
    finally:
        loop.call_soon_threadsafe(until.set)
        thread.join(10)
        loop.close()


def main() -> None:
    port, *backends = sys.argv[1:]
    balancer = Balancer(
        [
            Backend(host, int(number))
            for host, _, number in (backend.rpartition(":") for backend in backends)
        ],
        int(port),
    )
    with suppress(KeyboardInterrupt):
        asyncio.run(balancer.serve(asyncio.Event(), threading.Event()))


if __name__ == "__main__":
    main()
