"""How often somebody may try: for each account and each address, with Redis and without."""

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import redis
import structlog
from httpx2 import ASGITransport, AsyncClient, Response

from app.core.config import Settings
from app.core.errors import TooManyRequests
from app.embedded import EmbeddedRedis
from app.main import create_app
from app.services import rate_limits
from app.services.rate_limits import RateLimiter, network
from tests.integration.api.conftest import connect, serving
from tests.integration.api.kinds import KINDS
from tests.integration.listening import eventually

pytestmark = pytest.mark.anyio

LOGIN = "/api/v1/auth/login"
ME = "/api/v1/users/me"
SUBSCRIPTIONS = "/api/v1/newsletter/subscriptions"

PASSWORD = "correct horse battery staple"

LIMIT = "3/hour"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no Redis that is away."""
    monkeypatch.setattr(rate_limits, "BUDGET", 0.5)


def limited(settings: Settings, **limits: str) -> Settings:
    auth = settings.auth.model_copy(update=limits)
    return settings.model_copy(update={"auth": auth})


Start = Callable[..., AbstractAsyncContextManager[AsyncClient]]


@asynccontextmanager
async def api(settings: Settings, **limits: str) -> AsyncIterator[AsyncClient]:
    async with (
        serving(create_app(limited(settings, **limits), KINDS)) as served,
        connect(served) as client,
    ):
        yield client


@pytest.fixture
def start(settings: Settings, clean: None) -> Start:
    return lambda **limits: api(settings, **limits)


async def register(client: AsyncClient, email: str = "ada@example.com") -> Response:
    return await client.post("/api/v1/users", json={"email": email, "password": PASSWORD})


async def log_in(
    client: AsyncClient, *, email: str = "ada@example.com", password: str = "wrong"
) -> Response:
    return await client.post(LOGIN, data={"username": email, "password": password})


def check_refused(response: Response) -> None:
    assert response.status_code == 429
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"].endswith("/too-many-requests")
    seconds = int(response.headers["retry-after"])
    assert 3500 < seconds <= 3600
    assert str(seconds) in response.json()["detail"]


async def test_an_account_is_tried_so_often(start: Start) -> None:
    async with start(logins_per_account=LIMIT) as client:
        await register(client)
        for _ in range(3):
            assert (await log_in(client)).status_code == 401
        check_refused(await log_in(client))
        # By whoever it is, and however it is written; the right password is of no help.
        check_refused(await log_in(client, email="ADA@example.com", password=PASSWORD))
        # An account that nobody has is none the less limited: the answers are the same.
        for _ in range(3):
            assert (await log_in(client, email="bob@example.com")).status_code == 401
        check_refused(await log_in(client, email="bob@example.com"))


async def test_an_account_has_no_more_tries_in_other_letters(start: Start) -> None:
    """PostgreSQL's "lower" makes an "i" of an "I" with a dot, and Python's makes two letters."""
    async with start(logins_per_account=LIMIT) as client:
        await register(client, "trinity@example.com")
        spelt = ["trinity", "trİnity", "trinİty"]
        for name in spelt:
            found = await log_in(client, email=f"{name}@example.com", password=PASSWORD)
            assert found.status_code == 200, "else this test says nothing"
        for name in spelt:
            assert (await log_in(client, email=f"{name}@example.com")).status_code == 401
        check_refused(await log_in(client, email="trİnİty@example.com"))


async def test_the_right_password_forgets_the_wrong_ones(start: Start) -> None:
    async with start(logins_per_account=LIMIT) as client:
        await register(client)
        for _ in range(3):
            for _ in range(2):
                assert (await log_in(client)).status_code == 401
            assert (await log_in(client, password=PASSWORD)).status_code == 200


async def test_an_address_tries_so_often_whatever_it_tries(start: Start) -> None:
    async with start(logins_per_address=LIMIT) as client:
        await register(client)
        assert (await log_in(client, password=PASSWORD)).status_code == 200
        for n in range(2):
            assert (await log_in(client, email=f"{n}@example.com")).status_code == 401
        check_refused(await log_in(client, email="2@example.com"))
        check_refused(await log_in(client, password=PASSWORD))
        # From elsewhere it goes on.
        transport = client._transport
        assert isinstance(transport, ASGITransport)
        elsewhere = ASGITransport(app=transport.app, client=("203.0.113.9", 1))
        async with AsyncClient(transport=elsewhere, base_url="http://test") as other:
            assert (await log_in(other, password=PASSWORD)).status_code == 200


async def test_an_address_registers_so_often(start: Start) -> None:
    async with start(registrations_per_address=LIMIT) as client:
        for n in range(3):
            assert (await register(client, f"{n}@example.com")).status_code == 201
        check_refused(await register(client, "3@example.com"))
        assert (await log_in(client, email="0@example.com", password=PASSWORD)).status_code == 200


async def test_an_address_asks_for_the_newsletter_so_often(settings: Settings, clean: None) -> None:
    limits = {"subscriptions_per_address": LIMIT}
    newsletter = settings.newsletter.model_copy(update=limits)
    async with api(settings.model_copy(update={"newsletter": newsletter})) as client:
        for n in range(3):
            new = {"email": f"{n}@example.com"}
            assert (await client.post(SUBSCRIPTIONS, json=new)).status_code == 202
        check_refused(await client.post(SUBSCRIPTIONS, json={"email": "3@example.com"}))


async def test_the_current_password_is_asked_for_so_often(start: Start) -> None:
    async with start(logins_per_account=LIMIT) as client:
        await register(client)
        tokens = (await log_in(client, password=PASSWORD)).json()
        client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        change = {"current_password": "wrong", "new_password": PASSWORD}
        for _ in range(3):
            assert (await client.post(f"{ME}/password", json=change)).status_code == 403
        check_refused(await client.post(f"{ME}/password", json=change))
        check_refused(await client.request("DELETE", ME, json={"password": PASSWORD}))
        check_refused(
            await client.patch(ME, json={"email": "a@b.org", "current_password": PASSWORD})
        )
        # Who has the account's token only can't keep its owner from logging in.
        assert (await log_in(client, password=PASSWORD)).status_code == 200


async def test_processes_count_together(settings: Settings, clean: None) -> None:
    async with api(settings, logins_per_account=LIMIT) as one:
        for _ in range(3):
            assert (await log_in(one)).status_code == 401
    async with api(settings, logins_per_account=LIMIT) as another:
        check_refused(await log_in(another))


async def test_redis_is_told_no_address_of_an_account(start: Start, settings: Settings) -> None:
    async with start() as client:
        await log_in(client)
    with redis.Redis.from_url(settings.redis.url.get_secret_value()) as asked:
        keys = b" ".join(asked.keys("*"))
    assert b"account" in keys
    assert b"ada@" not in keys


# --- the limiter itself ---------------------------------------------------------------------------


async def refused(limiter: RateLimiter, key: str = "key") -> int | None:
    try:
        await limiter.hit(LIMIT, key)
    except TooManyRequests as error:
        return error.retry_after
    return None


async def test_what_is_forgotten_counts_no_more(settings: Settings, clean: None) -> None:
    async with RateLimiter(settings.redis) as limiter:
        for _ in range(3):
            assert await refused(limiter) is None
        assert await refused(limiter) is not None
        assert await refused(limiter, "another") is None
        await limiter.forget(LIMIT, "key")
        assert await refused(limiter) is None


async def test_a_window_ends_when_it_says(settings: Settings, clean: None) -> None:
    """Tries that are refused do not make it longer."""
    async with RateLimiter(settings.redis) as limiter:
        for _ in range(5):
            await refused(limiter)
        with redis.Redis.from_url(settings.redis.url.get_secret_value()) as asked:
            [key] = asked.keys("heavylift:limit*")
            asked.expire(key, 100)
            seconds = await refused(limiter)
            assert seconds is not None
            assert 98 <= seconds <= 100
            asked.delete(key)
        assert await refused(limiter) is None


async def test_a_redis_that_is_gone_is_done_without(own_settings: Settings) -> None:
    gone = own_settings.redis.model_validate({"url": "redis://127.0.0.1:1/0"})
    with structlog.testing.capture_logs() as logs:
        async with RateLimiter(gone) as limiter:
            for _ in range(3):
                assert await refused(limiter) is None
            seconds = await refused(limiter)
            assert seconds is not None
            assert 3500 < seconds <= 3600
            assert await refused(limiter, "another") is None
            await limiter.forget(LIMIT, "key")
            assert await refused(limiter) is None
    # Once, not with each try.
    assert [line["event"] for line in logs] == ["redis is away: each process limits alone"]


async def test_a_frozen_redis_is_waited_for_once(
    own_settings: Settings, own_redis: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with RateLimiter(own_settings.redis) as limiter:
        assert await refused(limiter) is None
        own_redis.process.signal(signal.SIGSTOP)
        monkeypatch.setattr(rate_limits, "PAUSE", 0.05)
        asked = 0
        count = rate_limits._count

        async def counted(storage: Any, *rest: Any) -> int:
            nonlocal asked
            asked += storage is limiter._shared
            return await count(storage, *rest)

        monkeypatch.setattr(rate_limits, "_count", counted)
        # What Redis let through counts here as well.
        for _ in range(2):
            assert await refused(limiter) is None
        assert await refused(limiter) is not None
        assert asked == 1
        assert not limiter.reachable
        # Thawed, it is asked again after the pause, and what it had counted counts.
        own_redis.process.signal(signal.SIGCONT)
        await eventually(lambda: limiter.reachable)
        assert await refused(limiter) is not None
        assert asked == 2
        # It has counted all of them, those of the time without it too.
        assert await refused(limiter, "another") is None


async def test_a_log_in_goes_on_without_redis(
    own_settings: Settings, own_redis: EmbeddedRedis
) -> None:
    own_redis.process.signal(signal.SIGSTOP)
    async with api(own_settings, logins_per_account=LIMIT) as client:
        assert (await register(client)).status_code == 201
        for _ in range(2):
            assert (await log_in(client)).status_code == 401
        assert (await log_in(client, password=PASSWORD)).status_code == 200
        for _ in range(3):
            assert (await log_in(client)).status_code == 401
        check_refused(await log_in(client))


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_what_counts_as_one_address(address: str, counted: str) -> None:
    assert network(address) == counted
