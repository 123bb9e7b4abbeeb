"""Work that is done one at a time for each key, with few waiting."""

from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from anyio import Lock


class QueueFull(Exception):
    """As many wait for the key's turn as may wait."""


class Turns:
    """`waiting` is how many may wait for a key's turn while another has it."""

    def __init__(self, *, waiting: int) -> None:
        self._waiting = waiting
        # anyio's hands over at its release: a lock that is free has nobody waiting.
        self._locks: dict[Hashable, Lock] = {}

    @asynccontextmanager
    async def take(self, key: Hashable) -> AsyncIterator[None]:
        """Wait for the turn, in order of arrival. Raises `QueueFull`."""
        lock = self._locks.setdefault(key, Lock(fast_acquire=True))
        if lock.statistics().tasks_waiting >= self._waiting:
            raise QueueFull
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():
                del self._locks[key]
