"""Limits on how often something may be tried: counted in Redis, shared by all processes.

Redis is given 50 ms. If it does not answer, this process counts for itself and asks again some
seconds later: nobody waits for a Redis that is away, and no limit is off meanwhile.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil
from time import time
from typing import Self, TypeVar

import structlog
from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.core import config
from app.core.errors import TooManyRequests

log = structlog.get_logger(__name__)

# Seconds that Redis has for an answer, and seconds until it is asked again if it gave none.
BUDGET = 0.05
PAUSE = 5.0

CONNECTIONS = 4

T = TypeVar("T")

rate = lru_cache(parse)


class RateLimiter:
    """Windows are fixed, so that what counts is Redis's own clock, and one number for each key."""

    def __init__(self, redis: config.Redis) -> None:
        self._pool = BlockingConnectionPool.from_url(
            redis.url.get_secret_value(),
            max_connections=CONNECTIONS,
            timeout=BUDGET,
            socket_timeout=BUDGET,
            socket_connect_timeout=BUDGET,
            retry=Retry(NoBackoff(), 0),
        )
        # The pool's own URL is what counts; this one names the kind of storage.
        shared = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix="heavylift:limit",
            connection_pool=self._pool,  # type: ignore[arg-type] # as its documentation has it
        )
        self._shared = FixedWindowRateLimiter(shared)
        self._own = FixedWindowRateLimiter(MemoryStorage())
        self.reachable = True
        self._ask_again_at = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._pool.aclose()

    async def hit(self, limit: str, *key: str) -> None:
        """Count one try. Raises `TooManyRequests` if there were as many as the limit has."""
        item = rate(limit)
        retry_after = await self._count(lambda limiter: _hit(limiter, item, key))
        if retry_after is not None:
            raise TooManyRequests(retry_after)

    async def forget(self, limit: str, *key: str) -> None:
        """Let the key's tries so far not count."""
        item = rate(limit)
        await self._count(lambda limiter: limiter.clear(item, *key))

    async def _count(self, ask: Callable[[FixedWindowRateLimiter], Awaitable[T]]) -> T:
        now = asyncio.get_running_loop().time()
        if self.reachable or now >= self._ask_again_at:
            # One finds out for all.
            self._ask_again_at = now + PAUSE
            try:
                async with asyncio.timeout(BUDGET):
                    answer = await ask(self._shared)
            except (RedisError, OSError) as error:
                if self.reachable:
                    log.warning("redis is away: each process limits alone", error=repr(error))
                self.reachable = False
            else:
                self.reachable = True
                return answer
        return await ask(self._own)


async def _hit(
    limiter: FixedWindowRateLimiter, item: RateLimitItem, key: tuple[str, ...]
) -> int | None:
    """Seconds until the next try; None if this one was within the limit."""
    if await limiter.hit(item, *key):
        return None
    window = await limiter.get_window_stats(item, *key)
    return max(1, ceil(window.reset_time - time()))


def network(address: str) -> str:
    """What one client has: an IPv4 address, or the /64 that an IPv6 address is in (RFC 6177)."""
    try:
        ip = ip_address(address)
    except ValueError:
        # A socket's path, or no address at all.
        return address
    if not isinstance(ip, IPv6Address):
        return address
    return str(ip.ipv4_mapped or ip_network((ip.packed, 64), strict=False))
