"""A job that somebody watches: what the ledger says of it, and what Redis has said since.

Anybody who can write to Redis can send a message. It is shown at once only where it says no more
than the progress of an attempt that the ledger has running, and no longer than until the next read:
what was read replaces all that was heard before. Any other message has its job read.
"""

import asyncio
from uuid import UUID

from app.core.errors import DomainError
from app.models.job import JobState
from app.schemas.job import MAX_SEQ, JobEvent


class Watcher:
    """One stream. It has been `read` for once its job was read after it had come."""

    __slots__ = ("credential", "ended", "news", "read", "shown")

    def __init__(self, credential: UUID) -> None:
        self.credential = credential
        self.read = False
        self.shown: JobEvent | None = None
        self.ended: DomainError | None = None
        self.news = asyncio.Event()

    def end(self, why: DomainError) -> None:
        self.ended = why
        self.news.set()


class WatchedJob:
    """`latest` is what watchers are shown: read from the ledger, or heard since."""

    __slots__ = ("latest", "read", "watchers")

    def __init__(self) -> None:
        self.latest: JobEvent | None = None
        self.read: JobEvent | None = None
        self.watchers: set[Watcher] = set()

    def is_read(self, event: JobEvent, *, before: JobEvent | None) -> None:
        """Take what the ledger says; `before` was the latest event when it was asked."""
        self.read = event
        # What was heard meanwhile may be newer than what the ledger saw.
        if self.latest is None or self.latest is before or event.seq >= self.latest.seq:
            self._show(event)

    def is_heard(self, event: JobEvent) -> bool:
        """Take what a message says; False if the ledger has to be asked."""
        if self.read is None:
            return False
        if event.seq <= self.read.seq:
            return True
        if (
            (event.state, event.attempt) != (self.read.state, self.read.attempt)
            or event.state != JobState.RUNNING
            or event.error is not None
            or event.seq > MAX_SEQ
        ):
            return False
        if self.latest is None or event.seq > self.latest.seq:
            self._show(event)
        return True

    def _show(self, event: JobEvent) -> None:
        if event != self.latest:
            self.latest = event
            for watcher in self.watchers:
                watcher.news.set()
