"""The application in this very process, its lifespan running, and clients that are logged in."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.config import Settings
from app.main import create_app
from tests.integration.api.kinds import KINDS

PASSWORD = "correct horse battery staple"


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[ASGIApp]:
    """Run the lifespan and hand its state to every request, as a server does."""
    async with app.router.lifespan_context(app) as state:

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "state": dict(state or {})}, receive, send)

        yield serve


@asynccontextmanager
async def connect(served: ASGIApp, token: str | None = None) -> AsyncIterator[AsyncClient]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with AsyncClient(
        transport=ASGITransport(app=served), base_url="http://test", headers=headers
    ) as client:
        yield client


@pytest.fixture
def app(settings: Settings, clean: None) -> FastAPI:
    return create_app(settings, KINDS)


@pytest.fixture
async def served(app: FastAPI) -> AsyncIterator[ASGIApp]:
    async with serving(app) as served:
        yield served


@pytest.fixture
async def anonymous(served: ASGIApp) -> AsyncIterator[AsyncClient]:
    async with connect(served) as client:
        yield client


@pytest.fixture
def login(anonymous: AsyncClient) -> Callable[[str], Awaitable[str]]:
    """Register a user and log in: an access token."""

    async def login(email: str) -> str:
        credentials = {"email": email, "password": PASSWORD}
        registered = await anonymous.post("/api/v1/users", json=credentials)
        assert registered.status_code == 201, registered.text
        form = {"username": email, "password": PASSWORD}
        response = await anonymous.post("/api/v1/auth/login", data=form)
        assert response.status_code == 200, response.text
        token: str = response.json()["access_token"]
        return token

    return login


@pytest.fixture
async def client(
    served: ASGIApp, login: Callable[[str], Awaitable[str]]
) -> AsyncIterator[AsyncClient]:
    """Logged in as a user of its own."""
    async with connect(served, await login("ada@example.com")) as client:
        yield client


@pytest.fixture
async def stranger(
    served: ASGIApp, login: Callable[[str], Awaitable[str]]
) -> AsyncIterator[AsyncClient]:
    """Another tenant."""
    async with connect(served, await login("eve@example.com")) as client:
        yield client


@pytest.fixture
def draw(client: AsyncClient) -> Callable[..., Awaitable[dict[str, Any]]]:
    """Submit a job."""

    async def draw(**spec: object) -> dict[str, Any]:
        response = await client.post("/api/v1/jobs/shape.draw", json={"spec": spec})
        assert response.status_code == 202, response.text
        job: dict[str, Any] = response.json()
        return job

    return draw
