"""Serializes work by key, with a short queue for each key."""

from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from anyio import Lock


class QueueFull(Exception):
    """The key's queue is full."""


class Turns:
    """Takes turns by key; `waiting` is the maximum length of a key's queue."""

    def __init__(self, *, waiting: int) -> None:
        self._waiting = waiting
        # anyio's lock passes to the next waiter on release: a free lock has no waiters.
        self._locks: dict[Hashable, Lock] = {}

    @asynccontextmanager
    async def take(self, key: Hashable) -> AsyncIterator[None]:
        """Wait for the turn, in order of arrival. Raises `QueueFull`."""
        lock = self._locks.setdefault(key, Lock(fast_acquire=True))
        if lock.locked() and lock.statistics().tasks_waiting >= self._waiting:
            raise QueueFull
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():
                del self._locks[key]
