"""The application in this very process, its lifespan running, and clients that are logged in."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient
from sqlalchemy import Engine, text
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.config import Settings
from app.core.security import ARGON2ID
from app.core.tokens import RefreshToken
from app.embedded import EmbeddedRedis
from app.main import create_app
from tests.integration.api.kinds import KINDS
from tests.integration.listening import as_new
from tests.servers import scratch_folder

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


async def is_ready(client: AsyncClient) -> None:
    """Until the process says so: it has reached its database then."""
    with anyio.fail_after(10):
        while (await client.get("/readyz")).status_code != 200:  # noqa: ASYNC110
            await anyio.sleep(0.01)


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


@pytest.fixture(scope="session")
def password_hash() -> str:
    return ARGON2ID.hash(PASSWORD)


@pytest.fixture
def make_user(engine: Engine, clean: None, password_hash: str) -> Callable[..., UUID]:
    """Insert a user whose password is `PASSWORD`; committed."""
    statement = text(
        "INSERT INTO users (email, password_hash, is_admin) VALUES (:email, :hash, :admin)"
        " RETURNING id"
    )

    def make(email: str, *, is_admin: bool = False) -> UUID:
        row = {"email": email, "hash": password_hash, "admin": is_admin}
        with engine.begin() as connection:
            user: UUID = connection.execute(statement, row).scalar_one()
        return user

    return make


@pytest.fixture
def make_refresh_token(engine: Engine) -> Callable[[UUID], str]:
    """Of a session of its own; committed."""
    statement = text(
        "INSERT INTO sessions (user_id, family, generation, kid, digest, expires_at, ends_at)"
        " VALUES (:user, :family, 1, 'k', :digest, :until, :until)"
    )

    def make(user: UUID) -> str:
        token = RefreshToken.derive("any secret", uuid4(), 1)
        until = datetime.now(UTC) + timedelta(hours=1)
        row = {"user": user, "family": token.family, "digest": token.digest, "until": until}
        with engine.begin() as connection:
            connection.execute(statement, row)
        return token.text

    return make


@pytest.fixture
def make_reader(engine: Engine, clean: None) -> Callable[[str], UUID]:
    """Of the newsletter, who has not confirmed yet; committed."""
    statement = text("INSERT INTO newsletter_subscriptions (email) VALUES (:email) RETURNING id")

    def make(email: str) -> UUID:
        with engine.begin() as connection:
            reader: UUID = connection.execute(statement, {"email": email}).scalar_one()
        return reader

    return make


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
