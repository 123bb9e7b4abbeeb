"""What `X-Forwarded-For` may do to limits, and `X-Forwarded-Proto` to addresses."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import redis
from httpx2 import ASGITransport, AsyncClient

from app.core.config import Settings
from app.main import create_app
from app.services import rate_limits
from tests.integration.api.conftest import serving
from tests.integration.api.kinds import KINDS

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

PROXY = "10.0.0.7"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is not an unavailable Redis."""
    monkeypatch.setattr(rate_limits, "BUDGET", 0.5)


@asynccontextmanager
async def behind(settings: Settings, trusted: str) -> AsyncIterator[AsyncClient]:
    """A client whose requests come from `PROXY`, of an API that allows one log-in an address."""
    auth = settings.auth.model_copy(update={"logins_per_address": "1/hour"})
    api = settings.api.model_copy(update={"forwarded_allow_ips": trusted})
    limited = settings.model_copy(update={"auth": auth, "api": api})
    async with serving(create_app(limited, KINDS)) as served:
        transport = ASGITransport(app=served, client=(PROXY, 1))
        async with AsyncClient(transport=transport, base_url="http://test") as client:
            yield client


async def log_in(client: AsyncClient, *forwarded: bytes) -> int:
    headers = [(b"X-Forwarded-For", value) for value in forwarded]
    form = {"username": "ada@example.com", "password": "wrong"}
    return (await client.post("/api/v1/auth/login", data=form, headers=headers)).status_code


@pytest.mark.parametrize("trusted", ["10.0.0.0/8", "1", "*"])
async def test_what_is_no_address_is_counted_as_the_proxys(
    settings: Settings, clean: None, trusted: str
) -> None:
    garbage = (b"unknown", b"", b"203.0.113.9\xb2", b"[::1", b"x" * 4000, b"'; FLUSHALL", b"1")
    async with behind(settings, trusted) as client:
        statuses = [await log_in(client, entry) for entry in garbage]
        assert statuses == [401] + [429] * (len(garbage) - 1)
        # An address is known whatever it is written with.
        spelt = (b"203.0.113.9", b"203.0.113.9:80", b"::ffff:203.0.113.9", b"[::ffff:cb00:7109]:80")
        assert [await log_in(client, entry) for entry in spelt] == [401, 429, 429, 429]
        # Two headers are one list.
        assert await log_in(client, b"203.0.113.77", b"203.0.113.9") == 429
    with redis.Redis.from_url(settings.redis.url.get_secret_value()) as asked:
        keys = b" ".join(asked.keys("*"))
    assert b"/10.0.0.7/" in keys
    assert not [entry for entry in garbage if len(entry) > 1 and entry in keys]


async def test_the_scheme_is_the_nearest_proxys(settings: Settings) -> None:
    said = {
        "https": "https",
        "HTTPS": "https",
        "http, https": "https",
        "https, http": "http",
        "javascript": "http",
        "": "http",
    }
    async with behind(settings, "10.0.0.0/8") as client:
        for scheme, redirected in said.items():
            headers = {"X-Forwarded-Proto": scheme}
            # To the address without its last slash.
            response = await client.get("/api/v1/users/me/", headers=headers)
            assert response.headers["location"] == f"{redirected}://test/api/v1/users/me", scheme
    async with behind(settings, "192.0.2.1") as client:
        response = await client.get("/api/v1/users/me/", headers={"X-Forwarded-Proto": "https"})
        assert response.headers["location"] == "http://test/api/v1/users/me"
