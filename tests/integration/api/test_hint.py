"""Redis is told after the commit, and nobody waits for it."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import anyio
import pytest
import redis
import structlog
from httpx2 import AsyncClient
from sqlalchemy import Engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from starlette.types import ASGIApp

from app.core import channels
from app.core.config import Settings
from app.core.transaction import after_commit, transaction
from app.embedded import EmbeddedRedis
from app.main import create_app
from app.schemas.job import JobEvent
from app.services.dispatch_hint import DispatchHint, hint_client
from tests.integration.api.conftest import serving
from tests.integration.api.kinds import KINDS

pytestmark = pytest.mark.anyio

Draw = Callable[..., Awaitable[dict[str, Any]]]


class Subscriber:
    def __init__(self, url: str, *patterns: str) -> None:
        self._client = redis.Redis.from_url(url)
        self._pubsub = self._client.pubsub()  # type: ignore[no-untyped-call]
        self._pubsub.psubscribe(*patterns)
        for _ in patterns:
            assert self._pubsub.get_message(timeout=5) is not None

    async def next(self, seconds: float = 5) -> tuple[str, bytes] | None:
        message = await anyio.to_thread.run_sync(lambda: self._pubsub.get_message(timeout=seconds))
        return None if message is None else (message["channel"].decode(), message["data"])

    def close(self) -> None:
        self._pubsub.close()
        self._client.close()


@pytest.fixture
def subscriber(settings: Settings, clean: None) -> Iterator[Subscriber]:
    subscriber = Subscriber(
        settings.redis.url.get_secret_value(), channels.DISPATCH, f"{channels.JOB_PREFIX}*"
    )
    yield subscriber
    subscriber.close()


async def test_a_submit_says_which_pool(subscriber: Subscriber, draw: Draw) -> None:
    await draw()
    assert await subscriber.next() == (channels.DISPATCH, b"cpu")


async def test_a_refused_submit_says_nothing(
    subscriber: Subscriber, client: AsyncClient, draw: Draw
) -> None:
    source = "00000000-0000-0000-0000-000000000000"
    response = await client.post("/api/v1/jobs/shape.draw", json={"spec": {"source": source}})
    assert response.status_code == 422
    response = await client.post("/api/v1/jobs/word.count", json={"spec": {"words": ""}})
    assert response.status_code == 202
    # The first that is heard is the one that came second.
    assert await subscriber.next() == (channels.DISPATCH, b"io")


async def test_a_cancel_tells_who_watches(
    subscriber: Subscriber, client: AsyncClient, draw: Draw
) -> None:
    job = await draw()
    await subscriber.next()
    cancelled = (await client.post(f"/api/v1/jobs/{job['id']}/cancel")).json()
    told = await subscriber.next()
    assert told is not None
    channel, data = told
    event = JobEvent.model_validate_json(data)
    assert channel == f"{channels.JOB_PREFIX}{job['id']}"
    assert (event.state, event.seq) == ("cancelled", cancelled["seq"])
    # What changed nothing is no news.
    await client.post(f"/api/v1/jobs/{job['id']}/cancel")
    await draw()
    assert await subscriber.next() == (channels.DISPATCH, b"cpu")


async def test_whoever_is_told_finds_it_committed(
    client: AsyncClient, draw: Draw, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    def look(hint: DispatchHint, what: object) -> None:
        with engine.connect() as connection:
            count = text("SELECT count(*), count(outcome) FROM jobs")
            jobs, finished = connection.execute(count).one()
        seen.append((jobs, finished))

    monkeypatch.setattr(DispatchHint, "pool", look)
    monkeypatch.setattr(DispatchHint, "event", look)
    job = await draw()
    await client.post(f"/api/v1/jobs/{job['id']}/cancel")
    assert seen == [(1, 0), (1, 1)]


async def test_it_comes_after_the_commit(async_engine: AsyncEngine, engine: Engine) -> None:
    sessions = async_sessionmaker(async_engine)
    seen: list[int] = []

    def look() -> None:
        with engine.connect() as connection:
            seen.append(connection.execute(text("SELECT count(*) FROM pools")).scalar_one())

    async with transaction(sessions) as session:
        await session.execute(text("INSERT INTO pools (name) VALUES ('a')"))
        after_commit(session, look)
        assert seen == []
    assert seen == [1]


async def test_it_does_not_come_after_a_rollback(async_engine: AsyncEngine) -> None:
    sessions = async_sessionmaker(async_engine)
    called: list[None] = []

    async def fail() -> None:
        async with transaction(sessions) as session:
            after_commit(session, lambda: called.append(None))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert called == []


async def test_hints_to_a_frozen_redis_coalesce(
    own_redis: EmbeddedRedis, own_settings: Settings
) -> None:
    subscriber = Subscriber(own_redis.url(), channels.DISPATCH)
    redis = hint_client(own_settings.redis)
    with structlog.testing.capture_logs() as logs:
        async with DispatchHint(redis) as hint:
            hint.pool("cpu")
            assert await subscriber.next() == (channels.DISPATCH, b"cpu")
            own_redis.process.signal(signal.SIGSTOP)
            hint.pool("cpu")
            while hint.reachable:  # noqa: ASYNC110 - it tells a flag, and nobody who waits
                await anyio.sleep(0.01)
            for _ in range(1000):
                hint.pool("cpu")
                hint.pool("io")
            own_redis.process.signal(signal.SIGCONT)
            with anyio.fail_after(10):
                while not hint.reachable:
                    await anyio.sleep(0.01)
                    hint.pool("io")
    await redis.aclose()
    events = [line["event"] for line in logs]
    assert events == ["redis is away: jobs start by polling", "redis is back"]
    heard = 0
    while await subscriber.next(seconds=0.2) is not None:
        heard += 1
    subscriber.close()
    assert 1 <= heard < 100


class TestWithoutRedis:
    @pytest.fixture
    async def served(self, own_settings: Settings) -> AsyncIterator[ASGIApp]:
        async with serving(create_app(own_settings, KINDS)) as served:
            yield served

    async def test_jobs_are_accepted(
        self, own_redis: EmbeddedRedis, draw: Draw, client: AsyncClient, engine: Engine
    ) -> None:
        await draw()
        own_redis.process.kill()
        jobs = [await draw() for _ in range(5)]
        assert (await client.post(f"/api/v1/jobs/{jobs[0]['id']}/cancel")).status_code == 202
        assert (await client.get("/api/v1/jobs")).status_code == 200
        with engine.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM job_runs")).scalar_one() == 5
