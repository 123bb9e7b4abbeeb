"""Accepting connections for as long as there are file descriptors for them.

The event loop's own server accepts whatever comes; with no descriptor left, libuv accepts and
closes, and the rest of the process can open nothing.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from app.api.metrics import ACCEPT_PAUSES
from app.core.descriptors import last_for_clients, lowest_free

log = structlog.get_logger(__name__)

# Connections taken at once, before others have their turn: several processes share a listener.
AT_ONCE = 16

# Idle connections closed at once to make room.
MAKE_ROOM = 16

# Seconds between two lines of the log about it.
LOG_EVERY = 60.0


class Idle(Protocol):
    @property
    def idle_for(self) -> int: ...

    def close_idle(self, reason: str) -> None: ...


class Acceptor:
    """Serves one listening socket; uvicorn's server closes it as it would close asyncio's."""

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        connections: Callable[[], Iterable[Idle]],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._protocol = protocol
        self._connections = connections
        self._last = last_for_clients()
        self._paused = False
        self._logged_at = -LOG_EVERY
        self._beginning = set[asyncio.Task[None]]()
        listener.setblocking(False)
        self._loop.add_reader(listener, self._accept)

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        return (self._listener,)

    def close(self) -> None:
        self._loop.remove_reader(self._listener)

    async def wait_closed(self) -> None:
        """The connections that are open are uvicorn's to wait for."""

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                # Another part of the process has taken the last ones.
                self._pause()
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._begin(connection))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)
            if connection.fileno() >= self._last:
                self._pause()
                return

    async def _begin(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError as error:
            # Its client has left already.
            log.debug("connection not begun", error=str(error))
            connection.close()

    def _pause(self) -> None:
        """Stop accepting: new connections wait in the kernel's queue."""
        if self._paused:
            return
        self._paused = True
        self._loop.remove_reader(self._listener)
        ACCEPT_PAUSES.inc()
        now = self._loop.time()
        if now - self._logged_at >= LOG_EVERY:
            self._logged_at = now
            log.warning(
                "accept paused: few file descriptors are left; raise the hard limit (ulimit -Hn)",
                reached=self._last,
            )
        self._make_room()

    def look(self) -> None:
        """Go on as soon as there is room; call it a few times a second."""
        if not self._paused or self._listener.fileno() == -1:
            return
        free = lowest_free()
        if free is not None and free < self._last:
            self._paused = False
            self._loop.add_reader(self._listener, self._accept)
        else:
            self._make_room()

    def _make_room(self) -> None:
        """Close the connections that have been idle for longest."""
        idle = [found for found in self._connections() if found.idle_for > 0]
        idle.sort(key=lambda found: found.idle_for, reverse=True)
        for connection in idle[:MAKE_ROOM]:
            connection.close_idle("few-descriptors")
