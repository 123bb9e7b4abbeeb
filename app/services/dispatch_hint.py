"""Tells Redis what has just been committed, without anybody waiting for Redis.

One task per process. What it could not tell is not kept: controllers poll, and streams read again.
"""

import asyncio
from collections import deque
from contextlib import suppress
from typing import NoReturn

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.core import channels, config
from app.core.redis_client import WRITE_PROBE, async_client
from app.core.tasks import Background, Loops
from app.schemas.job import JobEvent

log = structlog.get_logger(__name__)

# Events that wait while Redis is slow; the oldest give way.
MAX_EVENTS = 1000

# Seconds without anything to tell, until Redis is asked whether it is there.
PING_EVERY = 5.0


def hint_client(redis: config.Redis) -> Redis:
    """One connection that gives up at the first failure: what it carries is not worth a second."""
    return async_client(redis, max_connections=1)


class DispatchHint(Background):
    """`reachable` says how the last telling went, `fault` why it went wrong."""

    def __init__(self, redis: Redis) -> None:
        super().__init__()
        self.reachable = True
        self.told = False
        """At least once: `reachable` is known, not assumed."""
        self.fault: str | None = None
        self._redis = redis
        self._pools: set[str] = set()
        self._events: deque[JobEvent] = deque(maxlen=MAX_EVENTS)
        self._something = asyncio.Event()

    def _loops(self) -> Loops:
        return {"dispatch hint": self._tell_for_ever}

    def pool(self, name: str) -> None:
        """The pool's backlog has grown; hints that wait for Redis coalesce."""
        self._pools.add(name)
        self._something.set()

    def event(self, event: JobEvent) -> None:
        self._events.append(event)
        self._something.set()

    async def _tell_for_ever(self) -> NoReturn:
        while True:
            if self.told or self.fault is not None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(PING_EVERY):
                        await self._something.wait()
            self._something.clear()
            pools, self._pools = self._pools, set()
            events = list(self._events)
            self._events.clear()
            try:
                await self._tell(pools, events)
            except (RedisError, OSError) as error:
                self.fault = str(error) or type(error).__name__
                if self.reachable:
                    log.warning("redis is away: jobs start by polling", error=self.fault)
                self.reachable = False
            else:
                if not self.reachable:
                    log.info("redis is back")
                self.reachable = self.told = True
                self.fault = None

    async def _tell(self, pools: set[str], events: list[JobEvent]) -> None:
        """Bounded by the client's own timeouts."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            # A replica takes a PUBLISH too, but nobody hears it: the probe detects a failover.
            pipeline.execute_command(*WRITE_PROBE)
            for name in sorted(pools):
                pipeline.publish(channels.DISPATCH, name)
            for event in events:
                pipeline.publish(channels.job(event.job_id), event.model_dump_json())
            await pipeline.execute()
