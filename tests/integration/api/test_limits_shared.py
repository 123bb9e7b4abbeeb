"""Limits while Redis is too slow for them, or holds what no limit has left there."""

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
import redis
from limits import parse

from app.core import config
from app.core.errors import TooManyRequests
from app.embedded import EmbeddedRedis
from app.services import rate_limits
from app.services.rate_limits import PREFIX, PRESENT, RateLimiter, Share
from tests.integration.listening import eventually
from tests.slow_redis import slow_redis

pytestmark = pytest.mark.anyio

LIMIT = "100/hour"
KEY = f"{PREFIX}:{parse(LIMIT).key_for('key')}"


class Delay:
    """Seconds that Redis takes longer to answer; it may be changed."""

    def __init__(self) -> None:
        self.seconds: Iterator[float] = itertools.repeat(0.0)

    def __call__(self) -> float:
        return next(self.seconds)


@pytest.fixture
def delay() -> Delay:
    return Delay()


@pytest.fixture
async def slow(own_redis: EmbeddedRedis, delay: Delay) -> AsyncIterator[config.Redis]:
    socket = own_redis.url().removeprefix("unix://").partition("?")[0]
    async with slow_redis(socket, delay) as url:
        yield config.Redis.model_validate({"url": url})


async def admitted(limiter: RateLimiter, limit: str = LIMIT) -> bool:
    try:
        await limiter.hit(limit, "key")
    except TooManyRequests:
        return False
    return True


async def start(stack: AsyncExitStack, redis: config.Redis, count: int) -> list[RateLimiter]:
    """As many processes, each of which knows of all of them."""
    limiters = [await stack.enter_async_context(RateLimiter(redis)) for _ in range(count)]
    for limiter in limiters:
        limiter._something.set()
    await eventually(lambda: all(limiter._share._count == count for limiter in limiters))
    return limiters


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 3, 7])
@pytest.mark.parametrize("before", [0, 40])
async def test_processes_that_limit_alone_let_through_no_more_than_the_limit(
    slow: config.Redis, delay: Delay, processes: int, before: int
) -> None:
    async with AsyncExitStack() as stack:
        limiters = await start(stack, slow, processes)
        turns = itertools.cycle(limiters)
        through = [await admitted(next(turns)) for _ in range(before)]
        assert all(through)
        delay.seconds = itertools.repeat(2 * rate_limits.BUDGET)
        through += [await admitted(next(turns)) for _ in range(3 * 100)]
        assert not any(limiter.reachable for limiter in limiters)
        # Of those that Redis counted too late, each process counts one twice.
        assert 100 - 2 * processes <= sum(through) <= 100


@pytest.mark.slow
async def test_a_redis_that_is_slow_at_times_lets_through_no_more_than_the_limit(
    slow: config.Redis, delay: Delay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some processes count alone and others do not, and they change places."""
    monkeypatch.setattr(rate_limits, "PAUSE", 0.02)
    async with AsyncExitStack() as stack:
        limiters = await start(stack, slow, 3)
        delay.seconds = itertools.cycle((0.0, 0.0, 2 * rate_limits.BUDGET, 0.0, 0.0))
        turns = itertools.cycle(limiters)
        through = [await admitted(next(turns)) for _ in range(3 * 100)]
        assert sum(through) <= 100


@pytest.mark.slow
async def test_what_was_counted_alone_is_told_to_redis(
    slow: config.Redis, delay: Delay, own_redis: EmbeddedRedis
) -> None:
    async with AsyncExitStack() as stack:
        one, other = await start(stack, slow, 2)
        delay.seconds = itertools.repeat(2 * rate_limits.BUDGET)
        alone = [await admitted(one) for _ in range(60)]
        assert sum(alone) <= 50
        with redis.Redis.from_url(own_redis.url()) as client:
            await eventually(lambda: int(client.get(KEY) or 0) >= sum(alone))
        delay.seconds = itertools.repeat(0.0)
        through = [await admitted(other) for _ in range(100)]
        assert sum(alone) + sum(through) <= 100
        assert sum(through) >= 40


@pytest.mark.slow
async def test_what_is_forgotten_alone_is_forgotten_by_redis(
    slow: config.Redis, delay: Delay, own_redis: EmbeddedRedis
) -> None:
    async with AsyncExitStack() as stack:
        [limiter] = await start(stack, slow, 1)
        assert await admitted(limiter)
        delay.seconds = itertools.repeat(2 * rate_limits.BUDGET)
        assert await admitted(limiter)
        await limiter.forget(LIMIT, "key")
        with redis.Redis.from_url(own_redis.url()) as client:
            await eventually(lambda: not limiter._forgotten and not client.exists(KEY))


async def test_what_waits_for_redis_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "MAX_UNTOLD", 10)
    gone = config.Redis.model_validate({"url": "redis://127.0.0.1:1/0"})
    async with RateLimiter(gone) as limiter:
        for number in range(50):
            await limiter.hit(LIMIT, str(number))
            await limiter.forget(LIMIT, f"another {number}")
        assert len(limiter._untold) == len(limiter._forgotten) == 10


def test_shares_add_up_to_the_limit() -> None:
    members = [bytes([number]) * 16 for number in range(7)]
    shares = [Share(1) for _ in members]
    for share, member in zip(shares, members, strict=True):
        share.heard(list(reversed(members)), member)
    for amount in (1, 3, 7, 10, 100):
        for name in ("a", "b", "c", "d"):
            assert sum(share.of(amount, name) for share in shares) == amount
    # No process refuses everybody because the limit is low.
    assert all(any(share.of(1, str(n)) for n in range(1000)) for share in shares)


@pytest.mark.parametrize(("least", "amount", "part"), [(1, 10, 10), (4, 10, 2), (40, 10, 1)])
def test_a_share_before_anything_is_heard(least: int, amount: int, part: int) -> None:
    assert Share(least).of(amount, "name") == part


@pytest.mark.parametrize(
    "put",
    [
        lambda client: client.hset(KEY, "a", "b"),
        lambda client: client.lpush(KEY, "a"),
        lambda client: client.set(KEY, "text"),
        lambda client: client.set(KEY, str(2**63 - 1)),
        lambda client: client.set(KEY, "1000"),
        lambda client: (client.set(PRESENT, "text"), client.zadd(f"{PRESENT}2", {"a": 1})),
        lambda client: client.zadd(PRESENT, {"stranger": float("inf"), "old": 1}),
    ],
    ids=["hash", "list", "text", "largest", "endless", "presence", "strangers"],
)
async def test_a_key_that_no_limit_has_left_is_replaced(
    own_redis: EmbeddedRedis, put: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limits, "BUDGET", 0.5)
    assert callable(put)
    with redis.Redis.from_url(own_redis.url()) as client:
        put(client)
        settings = config.Redis.model_validate({"url": own_redis.url()})
        async with RateLimiter(settings) as limiter:
            through = [await admitted(limiter, LIMIT) for _ in range(110)]
            assert sum(through) == 100
            assert limiter.reachable
            await eventually(lambda: limiter._share._place == 0)
            assert client.zcard(PRESENT) == 1
