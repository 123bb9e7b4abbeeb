"""Limits on how often something may be tried: counted in Redis, shared by all processes.

Redis has 50 ms to answer. If it does not, this process counts alone until Redis answers in time
again: nobody waits for an unavailable Redis, and every limit stays on. A process that counts alone
enforces its share of the limit, and reports its counts to Redis in the background.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil
from time import time
from typing import Any, NoReturn, TypeVar
from uuid import uuid4
from zlib import crc32

import structlog
from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, RedisStorage
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError, ResponseError
from typing_extensions import override

from app.core import config
from app.core.errors import TooManyRequests
from app.core.redis_client import ASYNC_CONNECTIONS, is_wrong_type, pool_arguments
from app.core.tasks import Background, Loops

log = structlog.get_logger(__name__)

# Seconds that Redis has for an answer.
BUDGET = 0.05

# Seconds between two turns in the background.
PAUSE = 5.0

# Seconds after which a silent process no longer counts: it may miss two turns.
GONE_AFTER = 15

CONNECTIONS = 4

# Names whose counts wait to be reported to Redis: some megabytes.
MAX_UNTOLD = 10_000

PREFIX = "heavylift:limit"

# The set of processes that limit, scored by their last report (in Redis's own clock).
PRESENT = "heavylift:api-processes"
SAY_PRESENT = """
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' then
    redis.call('DEL', KEYS[1])
end
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. now, '+inf')
redis.call('EXPIRE', KEYS[1], ARGV[2])
return redis.call('ZRANGE', KEYS[1], 0, -1)
"""

T = TypeVar("T")

rate = lru_cache(parse)


class Share:
    """This process's part of a limit: the parts of all processes add up to the limit."""

    def __init__(self, least: int) -> None:
        """Assume at least `least` processes, even if fewer are heard of."""
        self._least = self._count = least
        self._place: int | None = None

    def heard(self, members: list[bytes], me: bytes) -> None:
        self._count = max(self._least, len(members))
        self._place = sorted(members).index(me)

    def of(self, amount: int, name: str) -> int:
        whole, rest = divmod(amount, self._count)
        if self._place is None:
            # Until the number of processes is known, each one allows at least one try.
            return max(1, whole)
        # The rest goes to different processes for each name: none refuses everybody.
        return whole + ((self._place + crc32(name.encode())) % self._count < rest)


class RateLimiter(Background):
    """Windows are fixed, so that what counts is Redis's own clock, and one number for each key."""

    def __init__(self, redis: config.Redis, processes: int = 1) -> None:
        """`processes` is the number of API processes in this container."""
        super().__init__()
        self._pools = [_pool(redis, timeout) for timeout in (BUDGET, redis.timeout)]
        self._shared, self._patient = (_storage(pool) for pool in self._pools)
        self._own = MemoryStorage()
        self._share = Share(processes)
        self._say_present = Redis(connection_pool=self._pools[1]).register_script(SAY_PRESENT)
        self._me = uuid4().bytes
        self.reachable = True
        # Tries that are not yet reported to Redis.
        self._untold: dict[str, tuple[RateLimitItem, int]] = {}
        self._forgotten: dict[str, None] = {}
        self._something = asyncio.Event()

    @override
    async def __aexit__(self, *raised: object) -> None:
        await super().__aexit__(*raised)
        for pool in self._pools:
            await pool.aclose()

    async def hit(self, limit: str, *key: str) -> None:
        """Count one try. Raises `TooManyRequests` if there were as many as the limit has."""
        item = rate(limit)
        name = item.key_for(*key)
        # Counted here as well: tries that this process has allowed are part of its share.
        own = await self._own.incr(name, item.get_expiry())
        counted = await self._ask(_count(self._shared, item, name, 1))
        if counted is not None:
            retry_after = counted
        elif own > self._share.of(item.amount, name):
            retry_after = _seconds(await self._own.get_expiry(name))
        else:
            retry_after = 0
            self._tell_later(name, item, 1)
        if retry_after:
            raise TooManyRequests(retry_after)

    async def forget(self, limit: str, *key: str) -> None:
        """Let the key's tries so far not count."""
        name = rate(limit).key_for(*key)
        await self._own.clear(name)
        self._untold.pop(name, None)
        if await self._ask(_clear(self._shared, name)) is None:
            self._forgotten[name] = None
            _bound(self._forgotten)
            self._something.set()

    async def _ask(self, question: Coroutine[Any, Any, T]) -> T | None:
        """Redis's answer; None if it is late, or if Redis is known to be unreachable."""
        if not self.reachable:
            question.close()
            return None
        try:
            async with asyncio.timeout(BUDGET):
                return await question
        except (RedisError, OSError) as error:
            self._lost(error)
            return None

    def _lost(self, error: Exception) -> None:
        if self.reachable:
            why = str(error) or type(error).__name__
            log.warning("redis is away: each process limits alone", error=why)
        self.reachable = False
        self._something.set()

    # --- in the background: count the processes, and report tries that were counted here alone

    @override
    def _loops(self) -> Loops:
        return {"rate limits": self._tell_for_ever}

    def _tell_later(self, name: str, item: RateLimitItem, tries: int) -> None:
        _, before = self._untold.get(name, (item, 0))
        self._untold[name] = item, before + tries
        _bound(self._untold)
        self._something.set()

    async def _tell_for_ever(self) -> NoReturn:
        while True:
            self._something.clear()
            try:
                await self._tell()
            except (RedisError, OSError) as error:
                self._lost(error)
                await asyncio.sleep(PAUSE)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE):
                    await self._something.wait()

    async def _tell(self) -> None:
        now = asyncio.get_running_loop().time
        asked_at = now()
        members = await self._say_present(keys=[PRESENT], args=[self._me, GONE_AFTER])
        prompt = now() - asked_at < BUDGET
        self._share.heard(members, self._me)
        while self._forgotten:
            name = next(iter(self._forgotten))
            await _clear(self._patient, name)
            self._forgotten.pop(name, None)
        while self._untold:
            name, (item, tries) = self._untold.popitem()
            if not await self._own.get(name):
                # Its window has ended.
                continue
            try:
                refused = await _count(self._patient, item, name, tries)
            except (RedisError, OSError):
                self._tell_later(name, item, tries)
                raise
            if refused:
                # Together with the others' tries, the limit is reached.
                await self._own.incr(name, item.get_expiry(), item.amount)
        # Redis is asked again only once it has all counts.
        self.reachable = self.reachable or prompt


def _pool(redis: config.Redis, timeout: float) -> BlockingConnectionPool:
    arguments = pool_arguments(redis, ASYNC_CONNECTIONS, timeout=timeout)
    return BlockingConnectionPool(max_connections=CONNECTIONS, timeout=timeout, **arguments)


def _storage(pool: BlockingConnectionPool) -> RedisStorage:
    # Connections use the pool's URL; this one only names the kind of storage.
    return RedisStorage(
        "async+redis://",
        implementation="redispy",
        key_prefix=PREFIX,
        connection_pool=pool,  # type: ignore[arg-type] # as its documentation has it
    )


async def _count(storage: RedisStorage, item: RateLimitItem, name: str, tries: int) -> int:
    """Count tries in Redis. Returns the seconds until the next try, 0 within the limit."""
    for _ in range(2):
        try:
            counted = await storage.incr(name, item.get_expiry(), amount=tries)
        except ResponseError as error:
            if not is_wrong_type(error):
                raise
        else:
            if counted <= item.amount:
                return 0
            if (seconds := await storage.get_expiry(name) - time()) > 0:
                return ceil(seconds)
        # No limit leaves a counter that is not a number or that never expires: delete it.
        await storage.clear(name)
    return 1


async def _clear(storage: RedisStorage, name: str) -> bool:
    await storage.clear(name)
    return True


def _bound(names: dict[str, Any]) -> None:
    """Keep the newest names: Redis may be unavailable for long."""
    while len(names) > MAX_UNTOLD:
        del names[next(iter(names))]


def _seconds(moment: float) -> int:
    return max(1, ceil(moment - time()))


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
