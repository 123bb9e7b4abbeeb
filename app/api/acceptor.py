"""Accepts connections while file descriptors are left for them.

The event loop's own server accepts every connection; when no descriptor is left, libuv accepts and
closes, and the rest of the process can open no file or socket.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from app.api.metrics import ACCEPT_PAUSES
from app.core.descriptors import last_for_clients, lowest_free

log = structlog.get_logger(__name__)

# Connections accepted in a row. Several processes share a listener: the others get the rest.
AT_ONCE = 16

# Idle connections closed at once to make room.
MAKE_ROOM = 16

# Seconds between two log lines about a pause.
LOG_EVERY = 60.0


class Idle(Protocol):
    @property
    def idle_for(self) -> int: ...

    def close_idle(self, reason: str) -> None: ...


class Acceptor:
    """Accepts from one listening socket; uvicorn closes it like an `asyncio.Server`."""

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
        """Return at once: uvicorn itself waits for open connections."""

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                # Another part of the process has taken the last descriptors.
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
            # The client has disconnected already.
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
        """Resume once descriptors are free; call it a few times a second."""
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
