"""Tells Redis what changed: hints that are worth a moment, never a wait."""

import time

import structlog

from app.core import channels
from app.core.config import Settings
from app.core.redis_client import WRITE_PROBE, client
from app.schemas.job import JobEvent
from app.services.ledger import Change
from app.services.snapshot import failure

log = structlog.get_logger()

# Nobody waits for a hint longer than this (seconds), nor asks again so soon after a failure.
TIMEOUT = 0.25
BREAK = 5.0


class Announcer:
    """One process's publisher. Safe in several threads; opened in the process that uses it."""

    def __init__(self, settings: Settings) -> None:
        self._redis = client(settings.redis, timeout=TIMEOUT)
        self._broken_until = 0.0

    def _publish(self, channel: str, message: str) -> None:
        if time.monotonic() < self._broken_until:
            return
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                # A replica takes a PUBLISH too, but nobody hears it: the probe detects a failover.
                pipeline.execute_command(*WRITE_PROBE)  # type: ignore[no-untyped-call]
                pipeline.publish(channel, message)
                pipeline.execute()
        except Exception as error:
            # Any error: the change has been written, and a lost hint must not undo it.
            self._broken_until = time.monotonic() + BREAK
            log.warning("redis is away, watchers and controllers poll", error=str(error))

    def event(self, event: JobEvent) -> None:
        self._publish(channels.job(event.job_id), event.model_dump_json())

    def change(self, change: Change) -> None:
        self.event(
            JobEvent(
                job_id=change.job_id,
                seq=change.seq,
                state=change.state,
                attempt=change.attempt,
                progress=1 if change.state == "succeeded" else 0,
                error=failure(change.error_code, change.error_detail),
            )
        )

    def room(self, pool: str) -> None:
        """A pool's window has room, or its backlog has grown."""
        self._publish(channels.DISPATCH, pool)

    def close(self) -> None:
        self._redis.close()
