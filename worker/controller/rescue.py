"""Rescue: takes the jobs of lost workers, once it is sure that it was not itself that was lost."""

import time
from collections.abc import Callable

import structlog
from sqlalchemy import Engine

from app.core.telemetry import trace_of
from app.services import ledger
from app.services.ledger import LEASE, Change, Retention
from worker import tracing

log = structlog.get_logger()

BATCH = 100

# Turns come this often (seconds).
INTERVAL = 2.0

# A longer silence than this (seconds) was an interruption: of the database, or of this process.
SILENCE = 3 * INTERVAL


class Contact:
    """Since when this process has been in unbroken contact with the database.

    After an outage every lease has expired and no worker has died: they need the time that a
    lease lasts to say so.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None
        self._last = 0.0

    def heard(self) -> None:
        now = self._clock()
        if self._since is None or now - self._last > SILENCE:
            self._since = now
        self._last = now

    def broken(self) -> None:
        self._since = None

    @property
    def lasts(self) -> float:
        """Seconds."""
        since = self._since
        if since is None or self._clock() - self._last > SILENCE:
            return 0.0
        return self._last - since


class Rescue:
    def __init__(
        self,
        engine: Engine,
        keep: Retention,
        announce: Callable[[Change], None],
        wake: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._keep = keep
        self._announce = announce
        self._wake = wake
        self._contact = Contact()

    def turn(self) -> bool:
        """Whether there may be more to take."""
        try:
            with self._engine.begin() as connection:
                asked_at = ledger.now(connection)
            self._contact.heard()
            if self._contact.lasts < LEASE.total_seconds():
                return False
            with self._engine.begin() as connection:
                changes = ledger.rescue(connection, asked_at=asked_at, limit=BATCH, keep=self._keep)
                origins = ledger.origins(connection, [change.job_id for change in changes])
            self._contact.heard()
        except Exception:
            self._contact.broken()
            raise
        for change in changes:
            origin = origins[change.job_id]
            log.warning(
                "worker lost",
                job_id=str(change.job_id),
                attempt=change.attempt,
                now=change.state,
                trace_id=trace_of(origin.traceparent),
            )
            tracing.lost(origin, change.attempt)
            self._announce(change)
        if changes:
            self._wake()
        return len(changes) == BATCH
