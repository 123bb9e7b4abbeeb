"""Live job events: one Redis subscription per API process, shared by all who watch.

Redis says that something changed; PostgreSQL says what is. Every few seconds, and whenever a
subscription begins (again), all watched jobs are read in one statement: what Redis lost is
noticed then, and without Redis that is all there is. Nothing here holds a database connection
between reads, and nobody who watches can hold up another: of each job only the latest event is
kept, and each watcher takes it when it is ready to.

`watched_job` decides what watchers are shown of a message.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NoReturn
from uuid import UUID

import structlog
from pydantic import ValidationError
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError
from sqlalchemy import ARRAY, Connection, Row, Uuid, any_, bindparam, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.core import channels, config
from app.core.errors import NotFound, Unauthorized, Unavailable
from app.core.masking import faults
from app.core.redis_client import async_client
from app.core.spaced import Spaced
from app.core.tasks import Background, Loops
from app.models import Job
from app.models.job import TERMINAL
from app.schemas.job import JobEvent
from app.services.auth import Caller
from app.services.snapshot import SNAPSHOT, failure
from app.services.watched_job import WatchedJob, Watcher

log = structlog.get_logger(__name__)

# Seconds between two reads of all that is watched: how late a lost message is noticed, and how
# long a stream outlives its session, its API key or its user.
POLL = 5.0

# Seconds between two reads, however many messages ask for one: each reads all that has changed.
READ_SPACING = 0.02

# Seconds between two log lines about messages that are not events.
LOG_SPACING = 60.0

# Maximum bytes of an event; a valid one has some 1,000.
MAX_BYTES = 16 * 1024

# Characters logged about an invalid event, which may have any number of faults.
MAX_FAULTS = 200

# Seconds that a job's first read waits for its subscription: enough for a Redis that answers.
SUBSCRIBED_WITHIN = 0.25

# Seconds between attempts to reach Redis: doubled from the first to the last.
MIN_BACKOFF, MAX_BACKOFF = 0.1, 5.0

JOB_SNAPSHOT = SNAPSHOT.where(Job.id == any_(bindparam("job_ids", type_=ARRAY(Uuid))))

# The sessions and API keys that still open something.
LIVE_CREDENTIALS = text(
    """
    SELECT credential.id FROM (
        SELECT id, user_id, expires_at FROM sessions
        WHERE id = ANY(CAST(:credentials AS uuid[]))
        UNION ALL
        SELECT id, user_id, expires_at FROM api_keys
        WHERE id = ANY(CAST(:credentials AS uuid[]))
    ) AS credential
    JOIN users ON users.id = credential.user_id
    WHERE users.is_active
      AND (credential.expires_at IS NULL OR credential.expires_at > clock_timestamp())
    """
)


def job_snapshot(connection: Connection, job_ids: Collection[UUID]) -> dict[UUID, JobEvent | None]:
    """Read the jobs in one statement; those that no longer exist are missing.

    A job that can't be read is None: it must not end the streams of the others.
    """
    rows = connection.execute(JOB_SNAPSHOT, {"job_ids": list(job_ids)})
    return {row.id: _event(row) for row in rows}


def _event(row: Row[Any]) -> JobEvent | None:
    try:
        return JobEvent(
            job_id=row.id,
            seq=row.seq,
            state=row.state,
            attempt=row.attempt,
            progress=row.progress,
            message=row.message,
            error=failure(row.error_code, row.error_detail),
        )
    except ValidationError as error:
        # For example, a later version has added a state.
        log.warning("watched job not understood", job_id=str(row.id), error=faults(error))
        return None


def live_credentials(connection: Connection, credentials: Collection[UUID]) -> set[UUID]:
    parameters = {"credentials": list(credentials)}
    return set(connection.execute(LIVE_CREDENTIALS, parameters).scalars())


class _Subscriptions:
    """One connection's; a new connection has none."""

    def __init__(self, pubsub: PubSub) -> None:
        self.pubsub = pubsub
        self.broken = False
        self._jobs: set[UUID] = set()

    async def become(self, jobs: set[UUID]) -> None:
        added, dropped = jobs - self._jobs, self._jobs - jobs
        self._jobs = jobs
        try:
            if added:
                await self.pubsub.subscribe(*map(channels.job, added))
            if dropped:
                await self.pubsub.unsubscribe(*map(channels.job, dropped))
        except (RedisError, OSError):
            # Whoever receives from the connection ends it.
            self.broken = True


class EventHub(Background):
    """The fan-out of job events in one process, for every transport.

    `poll` is in seconds. Enter it once, in the event loop that its streams run in.
    """

    def __init__(self, engine: AsyncEngine, redis: config.Redis, *, poll: float = POLL) -> None:
        super().__init__()
        self._engine = engine
        self._redis = redis
        self._poll = poll
        self._jobs: dict[UUID, WatchedJob] = {}
        self._closed = False
        # To be read at once, rather than at the next poll.
        self._stale: set[UUID] = set()
        self._to_read = asyncio.Event()
        self._watched_changed = asyncio.Event()
        self._subscriptions: _Subscriptions | None = None
        self._log = Spaced(LOG_SPACING)

    def _loops(self) -> Loops:
        loops = (self._read_for_ever, self._listen_for_ever, self._subscribe_for_ever)
        return {f"events: {loop.__name__}": loop for loop in loops}

    async def __aexit__(self, *raised: object) -> None:
        self.close()
        await super().__aexit__(*raised)

    def close(self) -> None:
        """End all streams at once, and any that comes later: the process is about to leave."""
        self._closed = True
        for job in self._jobs.values():
            for watcher in job.watchers:
                watcher.news.set()

    async def watch(
        self, job_id: UUID, caller: Caller, *, after: int = 0
    ) -> AsyncGenerator[JobEvent, None]:
        """The job as it is, then every change that this watcher is in time for, the newest always.

        Starts behind the event `after`, the last one that the client has seen, and ends after the
        terminal one. That the caller may see the job is checked by who calls.

        Raises `Unauthorized` when the caller's token, session, API key or user is no longer good,
        `NotFound` when the job is gone, and `Unavailable` when the hub is closed.
        """
        watcher = self._enter(job_id, caller.credential)
        try:
            while (
                event := await self._next(job_id, watcher, until=caller.until, after=after)
            ) is not None:
                after = event.seq
                watcher.shown = event
                yield event
                if event.state in TERMINAL:
                    return
        finally:
            self._leave(job_id, watcher)

    async def _next(
        self, job_id: UUID, watcher: Watcher, *, until: datetime | None, after: int
    ) -> JobEvent | None:
        job = self._jobs[job_id]
        while True:
            if self._closed:
                raise Unavailable("this process is about to leave: come again")
            if watcher.ended is not None:
                raise watcher.ended
            latest = job.latest
            if watcher.read and latest is not None:
                # A client that is ahead of the ledger has seen events that were lost when the
                # database was restored from a backup, or progress that the ledger never confirmed.
                if latest.seq != after or latest != (watcher.shown or latest):
                    return latest
                if latest.state in TERMINAL:
                    return None
            watcher.news.clear()
            remaining = None if until is None else (until - datetime.now(UTC)).total_seconds()
            try:
                async with asyncio.timeout(remaining):
                    await watcher.news.wait()
            except TimeoutError:
                raise Unauthorized("the access token has expired: log in again") from None

    # --- who watches

    def _enter(self, job_id: UUID, credential: UUID) -> Watcher:
        watcher = Watcher(credential)
        job = self._jobs.get(job_id)
        if job is None:
            job = self._jobs[job_id] = WatchedJob()
            self._watched_changed.set()
        job.watchers.add(watcher)
        if self._subscriptions is not None and job.latest is None:
            # Subscribe first, read second. What Redis does not answer in time is read at once,
            # and again when it has answered.
            asyncio.get_running_loop().call_later(SUBSCRIBED_WITHIN, self._read_soon, job_id)
        else:
            self._read_now(job_id)
        return watcher

    def _leave(self, job_id: UUID, watcher: Watcher) -> None:
        job = self._jobs[job_id]
        job.watchers.discard(watcher)
        if not job.watchers:
            del self._jobs[job_id]
            self._watched_changed.set()

    def _read_soon(self, job_id: UUID) -> None:
        job = self._jobs.get(job_id)
        if job is not None and not all(watcher.read for watcher in job.watchers):
            self._read_now(job_id)

    def _read_now(self, *job_ids: UUID) -> None:
        self._stale.update(job_ids)
        self._to_read.set()

    # --- PostgreSQL: what is

    async def _read_for_ever(self) -> NoReturn:
        loop = asyncio.get_running_loop()
        next_poll = loop.time() + self._poll
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(next_poll):
                    await self._to_read.wait()
            self._to_read.clear()
            if loop.time() >= next_poll:
                self._stale.update(self._jobs)
                next_poll = loop.time() + self._poll
            wanted = [job_id for job_id in self._stale if job_id in self._jobs]
            self._stale.clear()
            if wanted:
                try:
                    await self._read(wanted)
                except (SQLAlchemyError, OSError) as error:
                    # The next poll reads them all.
                    log.warning("watched jobs not read", jobs=len(wanted), error=str(error))
                await asyncio.sleep(READ_SPACING)

    async def _read(self, job_ids: Sequence[UUID]) -> None:
        watchers = {
            watcher: job_id for job_id in job_ids for watcher in self._jobs[job_id].watchers
        }
        credentials = {watcher.credential for watcher in watchers}
        before = {job_id: self._jobs[job_id].latest for job_id in job_ids}

        def read(connection: Connection) -> tuple[dict[UUID, JobEvent | None], set[UUID]]:
            return job_snapshot(connection, job_ids), live_credentials(connection, credentials)

        async with self._engine.connect() as connection:
            found, live = await connection.run_sync(read)
        for event in filter(None, found.values()):
            if (job := self._jobs.get(event.job_id)) is not None:
                job.is_read(event, before=before[event.job_id])
        for watcher, job_id in watchers.items():
            if watcher.credential not in live:
                watcher.end(Unauthorized("the session, the API key or its user has ended"))
            elif job_id not in found:
                watcher.end(NotFound(f"you have no job {job_id}"))
            elif not watcher.read:
                watcher.read = True
                watcher.news.set()

    # --- Redis: that something changed

    async def _listen_for_ever(self) -> NoReturn:
        backoff = MIN_BACKOFF
        while True:
            if not self._jobs:
                await self._watched_changed.wait()
            try:
                await self._listen()
            except (RedisError, OSError) as error:
                if self._subscriptions is not None:
                    log.warning("redis is away: streams poll", error=str(error))
                    backoff = MIN_BACKOFF
            finally:
                self._subscriptions = None
            await asyncio.sleep(backoff * random.uniform(0.5, 1))  # noqa: S311 - spreads load
            backoff = min(2 * backoff, MAX_BACKOFF)

    async def _listen(self) -> NoReturn:
        """One connection's life, to its failure."""
        # A client without retries: after a failed connection, missed events must be read.
        async with async_client(self._redis) as client, client.pubsub() as pubsub:
            await pubsub.connect()
            self._subscriptions = _Subscriptions(pubsub)
            self._watched_changed.set()
            await self._receive(self._subscriptions)

    async def _subscribe_for_ever(self) -> NoReturn:
        """A task beside the one that receives: its connection may be silent for long."""
        while True:
            await self._watched_changed.wait()
            self._watched_changed.clear()
            if self._subscriptions is not None:
                await self._subscriptions.become(set(self._jobs))

    async def _receive(self, subscriptions: _Subscriptions) -> NoReturn:
        silent = False
        while True:
            message = await subscriptions.pubsub.get_message(timeout=self._poll)
            if subscriptions.broken:
                raise ConnectionError("a subscription could not be sent")
            if message is None:
                if silent:
                    raise TimeoutError("no answer to a ping")
                silent = True
                await subscriptions.pubsub.ping()
                continue
            silent = False
            match message["type"]:
                case "message":
                    self._take(_job_of(message["channel"]), message["data"])
                case "subscribe":
                    self._read_now(_job_of(message["channel"]))

    def _take(self, job_id: UUID, payload: bytes) -> None:
        job = self._jobs.get(job_id)
        if job is None:
            return
        try:
            event = JobEvent.model_validate_json(payload[:MAX_BYTES])
        except ValidationError as error:
            # From another version in a rolling upgrade, or a stranger: the poll finds changes.
            if self._log.due():
                log.warning("event not understood", error=faults(error)[:MAX_FAULTS])
            return
        if event.job_id == job_id and not job.is_heard(event):
            self._read_now(job_id)


def _job_of(channel: bytes) -> UUID:
    return UUID(channel.decode().removeprefix(channels.JOB_PREFIX))
