"""What pages on other origins may do: nothing, unless a setting names their origin."""

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient, Response

from app.core.config import Settings
from app.main import create_app
from tests.integration.api.conftest import connect, serving
from tests.integration.api.kinds import KINDS

pytestmark = pytest.mark.anyio

APP = "https://app.example.com"
OTHER = "https://evil.example.com"
ME = "/api/v1/users/me"
LOGIN = "/api/v1/auth/login"


@pytest.fixture
def crossing(settings: Settings, clean: None) -> FastAPI:
    origins = {"cors_origins": "https://APP.example.com:443, http://localhost:5173"}
    api = settings.api.model_validate(settings.api.model_dump() | origins)
    auth = settings.auth.model_copy(update={"logins_per_address": "1/hour"})
    return create_app(settings.model_copy(update={"api": api, "auth": auth}), KINDS)


@pytest.fixture
async def page(crossing: FastAPI) -> AsyncIterator[AsyncClient]:
    async with serving(crossing) as served, connect(served) as client:
        client.headers["Origin"] = APP
        yield client


def may_read(response: Response, origin: str = APP) -> bool:
    assert "Origin" in response.headers["vary"]
    assert "access-control-allow-credentials" not in response.headers
    return response.headers.get("access-control-allow-origin") == origin


async def ask_first(client: AsyncClient, path: str, *, method: str, origin: str = APP) -> Response:
    return await client.options(
        path,
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "authorization,if-match,last-event-id,x-api-key",
        },
    )


async def test_by_default_no_other_origin_may_read(anonymous: AsyncClient) -> None:
    answer = await anonymous.get("/livez", headers={"Origin": APP})
    preflight = await ask_first(anonymous, ME, method="PATCH")
    for response in (answer, preflight):
        assert not [name for name in response.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PATCH", "DELETE", "PUT"])
async def test_a_named_origin_may_send_what_it_asks_to(page: AsyncClient, method: str) -> None:
    allowed = await ask_first(page, ME, method=method)
    assert allowed.status_code == 200
    assert may_read(allowed)
    assert method in allowed.headers["access-control-allow-methods"]
    for name in ("authorization", "if-match", "last-event-id", "x-api-key"):
        assert name in allowed.headers["access-control-allow-headers"]


@pytest.mark.parametrize(
    "origin",
    [
        OTHER,
        "null",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.example",
        "https://evil-app.example.com",
        "http://localhost",
    ],
)
async def test_other_origins_may_not(page: AsyncClient, origin: str) -> None:
    refused = await ask_first(page, ME, method="GET", origin=origin)
    assert refused.status_code == 400
    answer = await page.get("/livez", headers={"Origin": origin})
    for response in (refused, answer):
        assert "access-control-allow-origin" not in response.headers
        assert "Origin" in response.headers["vary"]


async def test_errors_can_be_read_too(
    page: AsyncClient, crossing: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a page sees a failed request, and can't tell what has failed."""
    form = {"username": "ada@example.com", "password": "wrong"}
    assert (await page.post(LOGIN, data=form)).status_code == 401
    slow_down = await page.post(LOGIN, data=form)
    assert slow_down.status_code == 429
    assert "Retry-After" in slow_down.headers["access-control-expose-headers"]

    async def crash() -> None:
        raise RuntimeError

    crossing.add_api_route("/crash", crash)
    answers = {
        401: await page.get(ME),
        404: await page.get("/nowhere"),
        405: await page.put("/livez"),
        422: await page.post("/api/v1/users", json={}),
        429: slow_down,
        500: await page.get("/crash"),
    }
    assert {response.status_code for response in answers.values()} == answers.keys()
    for response in answers.values():
        assert may_read(response), response.status_code
        assert "X-Request-Id" in response.headers["access-control-expose-headers"]


async def test_what_programs_need_of_an_answer_is_exposed(page: AsyncClient) -> None:
    exposed = (await page.get("/livez")).headers["access-control-expose-headers"].split(", ")
    assert exposed == [
        "Accept-Ranges",
        "Allow",
        "Content-Disposition",
        "Content-Range",
        "ETag",
        "Idempotent-Replayed",
        "Location",
        "Retry-After",
        "WWW-Authenticate",
        "X-Request-Id",
    ]
