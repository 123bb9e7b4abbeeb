"""A watched job: its latest read from the ledger, and the messages from Redis since.

Anybody who can write to Redis can send a message. It is shown at once only if it reports progress
of an attempt that the ledger has as running, and only until the next read, which replaces
everything heard before it. After any other message the job is read from the ledger.
"""

import asyncio
from uuid import UUID

from app.core.errors import DomainError
from app.models.job import JobState
from app.schemas.job import MAX_SEQ, JobEvent


class Watcher:
    """One stream. `read` is set by the first read of the job after the stream began."""

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
    """`latest` is the event that watchers are shown: read from the ledger, or heard since."""

    __slots__ = ("latest", "read", "watchers")

    def __init__(self) -> None:
        self.latest: JobEvent | None = None
        self.read: JobEvent | None = None
        self.watchers: set[Watcher] = set()

    def is_read(self, event: JobEvent, *, before: JobEvent | None) -> None:
        """Take an event of the ledger; `before` was the latest event when the read began."""
        self.read = event
        # An event that was heard meanwhile may be newer than the read.
        if self.latest is None or self.latest is before or event.seq >= self.latest.seq:
            self._show(event)

    def is_heard(self, event: JobEvent) -> bool:
        """Take an event of a message; False if the job has to be read from the ledger."""
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
