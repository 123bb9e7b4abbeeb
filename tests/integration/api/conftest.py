"""The application in this very process, its lifespan running, and clients that are logged in."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import anyio
import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient
from sqlalchemy import Engine, text
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.config import Settings
from app.embedded import EmbeddedRedis
from app.main import create_app
from tests.integration.api.kinds import KINDS
from tests.integration.listening import as_new
from tests.servers import scratch_folder


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


async def a_statement_waits(engine: Engine) -> None:
    """Until one does, for a lock that another transaction has."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with engine.connect() as connection, anyio.fail_after(10):
        while connection.execute(waiting).scalar_one() == 0:
            connection.rollback()
            await anyio.sleep(0.01)


@pytest.fixture(scope="session")
def built(settings: Settings) -> FastAPI:
    return create_app(settings, KINDS)


@pytest.fixture
def app(built: FastAPI, clean: None) -> FastAPI:
    return as_new(built)


@pytest.fixture
async def served(app: FastAPI) -> AsyncIterator[ASGIApp]:
    async with serving(app) as served:
        yield served


@pytest.fixture
async def anonymous(served: ASGIApp) -> AsyncIterator[AsyncClient]:
    async with connect(served) as client:
        yield client


@pytest.fixture
async def client(
    served: ASGIApp, sign_in: Callable[..., str], make_owner: Callable[..., UUID]
) -> AsyncIterator[AsyncClient]:
    """Logged in as a user of its own."""
    ada = make_owner(email="ada@example.com")
    async with connect(served, sign_in(ada)) as client:
        yield client


@pytest.fixture
async def stranger(
    served: ASGIApp, sign_in: Callable[..., str], make_owner: Callable[..., UUID]
) -> AsyncIterator[AsyncClient]:
    """Another tenant."""
    eve = make_owner(email="eve@example.com")
    async with connect(served, sign_in(eve)) as client:
        yield client


@pytest.fixture
async def admin(
    served: ASGIApp, sign_in: Callable[..., str], make_owner: Callable[..., UUID], engine: Engine
) -> AsyncIterator[AsyncClient]:
    """Logged in as an admin, the only one there is."""
    root = make_owner(email="root@example.com")
    with engine.begin() as connection:
        connection.execute(text("UPDATE users SET is_admin = true WHERE id = :id"), {"id": root})
    async with connect(served, sign_in(root)) as client:
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


@pytest.fixture
def own_redis(clean: None) -> Iterator[EmbeddedRedis]:
    """One that may be killed."""
    with scratch_folder() as folder:
        server = EmbeddedRedis(folder / "redis")
        server.start()
        try:
            yield server
        finally:
            # It may have been left frozen.
            if server.process.poll() is None:
                server.process.signal(signal.SIGCONT)
            server.stop()


@pytest.fixture
def own_settings(settings: Settings, own_redis: EmbeddedRedis) -> Settings:
    redis = settings.redis.model_validate({"url": own_redis.url(), "timeout": 0.3})
    return settings.model_copy(update={"redis": redis})
