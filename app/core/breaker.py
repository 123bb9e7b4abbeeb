"""A circuit breaker before the database: while it is away, nobody waits for it.

A server that is stopped refuses at once; one that is frozen, or behind a network that drops
packets, lets each request wait for a connection and then for its statement's timeout, and whoever
waits holds what others wait for. The watch of the database (`app.services.database_watch`) opens
the breaker; the pool asks it before it hands out or makes a connection.

A server that says nothing may just be slow: a lost packet costs 200 ms (the least retransmission
timeout of Linux), a busy node more. Until the watch is sure, only a few requests wait for
connections that others hold, a third of the pool's size. They are answered late, or refused once
the breaker opens.
"""

import time
from typing import Any

from sqlalchemy.exc import TimeoutError as PoolTimeout


class DatabaseAway(PoolTimeout):
    """As when no connection came free in time, without the time."""


class Breaker:
    """`open`: the database is away. `epoch` counts the outages that connections may not outlive."""

    def __init__(self) -> None:
        self.open = False
        self.silent = False
        """The database has not answered for a moment, and may be away."""
        self.epoch = 0
        self.suspected = False
        """A connection failed: somebody should look."""
        self.answered_at = time.monotonic()
        """When a connection last came back from its use, unharmed."""
        self._in_use: dict[object, Any] = {}

    def check(self, *, waits: bool = False) -> None:
        """Raises `DatabaseAway`. `waits`: the caller would wait behind many others."""
        if self.open or (waits and self.silent):
            raise DatabaseAway("the database is away")

    def taken(self, key: object, connection: Any) -> None:
        self._in_use[key] = connection

    def given_back(self, key: object, *, unharmed: bool) -> None:
        self._in_use.pop(key, None)
        if unharmed:
            self.answered_at = time.monotonic()

    def end_statements(self) -> None:
        """Close the connections that are in use: whoever waits for an answer gets an error."""
        for connection in list(self._in_use.values()):
            connection.terminate()
