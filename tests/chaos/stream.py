"""A steady stream of jobs, through whatever happens meanwhile."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from uuid import UUID

from sqlalchemy.exc import DBAPIError

from tests.chaos.conftest import Stack

# Seconds between two of them.
INTERVAL = 0.5


class Stream:
    def __init__(self, stack: Stack, seconds: tuple[float, ...]) -> None:
        self.accepted: list[UUID] = []
        self._stack = stack
        self._seconds = cycle(seconds)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._submit_for_ever, daemon=True)

    def _submit_for_ever(self) -> None:
        while not self._over.wait(INTERVAL):
            try:
                self.accepted.append(self._stack.ledger.submit(seconds=next(self._seconds)))
            except DBAPIError:
                # Not accepted: its client is told so.
                self._stack.ledger.engine.dispose()

    def start(self) -> None:
        self._thread.start()

    def end(self) -> list[UUID]:
        """All that were accepted; there will be no more."""
        self._over.set()
        self._thread.join()
        return self.accepted


@contextmanager
def steady(stack: Stack, *seconds: float) -> Iterator[Stream]:
    """Naps of so many seconds, in turn."""
    stream = Stream(stack, seconds)
    stream.start()
    try:
        yield stream
    finally:
        stream.end()
