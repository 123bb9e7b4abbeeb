"""One PostgreSQL for the run, with a database for every test worker; a Redis for each of them."""

import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import redis
import structlog
from sqlalchemy import Connection, Engine, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.core import db
from app.core.config import Settings
from app.core.security import sign_access_token
from app.services.auth import Caller
from tests.servers import create_database, postgres_server, redis_server

_running = ExitStack()


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell started this run in the background. Programs under test would ignore it as well.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Once a test has set up logging, these would be heard on the stdout of what others test: the
    # tests' own clients, and migrations, which are run here and not in a process of their own.
    for name in ("httpx2", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Until a test has set up logging: Rich, the default, may take a minute to show the locals of
    # a crash in the API.
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.get_config()["processors"][-1] = plain
    # Only in the process that starts the others: they inherit the environment.
    if not hasattr(config, "workerinput") and not config.option.collectonly:
        _running.enter_context(postgres_server())


def pytest_unconfigure() -> None:
    _running.close()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def test_worker() -> int:
    """The number of this test worker: 0 when tests do not run in parallel."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


@pytest.fixture(scope="session")
def redis_address() -> Iterator[str]:
    with redis_server() as server:
        yield server.url()


@pytest.fixture(scope="session")
def settings(
    test_worker: int, redis_address: str, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    return Settings.model_validate(
        {
            "database": {"url": create_database(f"test_{test_worker}")},
            "redis": {"url": redis_address},
            "storage": {"url": tmp_path_factory.mktemp("files").as_uri()},
            # They all come from one address.
            "auth": {
                "logins_per_account": "10000/minute",
                "logins_per_address": "10000/minute",
                "registrations_per_address": "10000/minute",
            },
            "newsletter": {"subscriptions_per_address": "10000/minute"},
        }
    )


@pytest.fixture(scope="session")
def engine(settings: Settings) -> Iterator[Engine]:
    """A synchronous engine, as the workers and the controller have."""
    engine = db.sync_engine(settings.database, connections=20)
    yield engine
    engine.dispose()


# Children before parents.
TABLES = (
    "job_files",
    "job_runs",
    "job_tallies",
    "job_totals",
    "files",
    "jobs",
    "workers",
    "pools",
    "items",
    "newsletter_subscriptions",
    "users",
)


# With few rows, DELETE costs a tenth of what TRUNCATE does; and one statement is one round trip.
EMPTY = f"DO $$ BEGIN {' '.join(f'DELETE FROM {table};' for table in TABLES)} END $$"


@pytest.fixture(scope="session")
def emptied_redis(settings: Settings) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(settings.redis.url.get_secret_value()) as client:
        yield client


@pytest.fixture
def clean(engine: Engine, emptied_redis: redis.Redis) -> None:
    """Empty tables and an empty Redis, for tests that commit."""
    with engine.begin() as connection:
        connection.exec_driver_sql(EMPTY)
    emptied_redis.flushdb()


@pytest.fixture
def connection(engine: Engine, clean: None) -> Iterator[Connection]:
    """A connection whose transaction is rolled back."""
    with engine.connect() as connection:
        yield connection
        connection.rollback()


@pytest.fixture
async def async_engine(settings: Settings, clean: None) -> AsyncIterator[AsyncEngine]:
    engine = db.async_engine(settings.database)
    yield engine
    await engine.dispose()


@pytest.fixture
def make_owner(engine: Engine, clean: None) -> Callable[..., UUID]:
    """Insert a user; committed."""
    count = 0

    def make(*, email: str | None = None) -> UUID:
        nonlocal count
        count += 1
        with engine.begin() as connection:
            owner: UUID = connection.execute(
                text("INSERT INTO users (email, password_hash) VALUES (:email, '!') RETURNING id"),
                {"email": email or f"owner{count}@example.com"},
            ).scalar_one()
        return owner

    return make


@pytest.fixture
def open_session(engine: Engine) -> Callable[[UUID], Caller]:
    """Begin a session of the user's; committed."""

    def begin(user: UUID) -> Caller:
        until = datetime.now(UTC) + timedelta(hours=1)
        with engine.begin() as connection:
            session: UUID = connection.execute(
                text(
                    "INSERT INTO sessions (user_id, generation, kid, digest, expires_at, ends_at)"
                    " VALUES (:user, 1, 'k', '', :until, :until) RETURNING id"
                ),
                {"user": user, "until": until},
            ).scalar_one()
        return Caller(user, session, until)

    return begin


@pytest.fixture
def sign_in(settings: Settings, open_session: Callable[[UUID], Caller]) -> Callable[..., str]:
    """An access token for the user, of a session of its own."""

    def sign(user: UUID, *, ttl: int = 3600) -> str:
        return sign_access_token(settings.auth, user, open_session(user).credential, ttl=ttl)

    return sign
