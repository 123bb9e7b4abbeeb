"""What every transaction of ours says to the server, and what a session that was ended costs."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.core.config import Database, Settings
from app.core.database_url import parse, render
from app.core.db import async_engine as make_async_engine
from app.core.db import sync_engine
from tests.processes import until
from worker.persist import persist

IDLE_LIMIT = "SHOW idle_in_transaction_session_timeout"


@pytest.fixture
def one(settings: Settings) -> Iterator[Engine]:
    """An engine with one connection."""
    engine = sync_engine(settings.database)
    yield engine
    engine.dispose()


def test_a_transaction_may_not_idle_and_leaves_nothing_behind(one: Engine) -> None:
    with one.begin() as connection:
        assert connection.execute(text(IDLE_LIMIT)).scalar_one() == "10s"
    driver = one.raw_connection()
    cursor = driver.cursor()
    cursor.execute(IDLE_LIMIT)
    assert cursor.fetchone() == ("0",)
    cursor.close()
    driver.close()


@pytest.mark.anyio
async def test_nor_may_one_of_the_api(async_engine: AsyncEngine) -> None:
    async with async_engine.begin() as connection:
        assert await connection.scalar(text(IDLE_LIMIT)) == "10s"
        driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    assert await driver.fetchval(IDLE_LIMIT) == "0"


# What a transaction of ours runs under, whatever a role's defaults are.
NEEDS = {
    "transaction_isolation": "read committed",
    "transaction_read_only": "off",
    "lock_timeout": "0",
    "jit": "off",
    "client_encoding": "UTF8",
}
OTHERWISE = (
    "default_transaction_isolation = 'serializable'",
    "default_transaction_read_only = on",
    "lock_timeout = 5",
    "jit = on",
    "client_encoding = 'LATIN1'",
)


@pytest.fixture
def tuned(settings: Settings, engine: Engine) -> Iterator[Database]:
    """As a role whose defaults are others."""
    role = f"tuned_{uuid4().hex[:8]}"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))
        for default in OTHERWISE:
            connection.execute(text(f"ALTER ROLE {role} SET {default}"))
    url = render({**parse(settings.database.url.get_secret_value()), "user": role})
    yield Database.model_validate({"url": url, "statement_timeout": 7})
    with engine.begin() as connection:
        connection.execute(text(f"DROP ROLE {role}"))


def test_a_workers_transaction_says_what_it_needs(tuned: Database) -> None:
    engine = sync_engine(tuned)
    with engine.begin() as connection:
        found = {name: connection.execute(text(f"SHOW {name}")).scalar_one() for name in NEEDS}
        assert found == NEEDS
        assert connection.execute(text("SHOW statement_timeout")).scalar_one() == "1min"
    engine.dispose()


@pytest.mark.anyio
async def test_an_apis_transaction_says_what_it_needs(tuned: Database) -> None:
    engine = make_async_engine(tuned)
    async with engine.begin() as connection:
        assert {name: await connection.scalar(text(f"SHOW {name}")) for name in NEEDS} == NEEDS
        assert await connection.scalar(text("SHOW statement_timeout")) == "7s"
    await engine.dispose()


def test_a_lock_is_not_waited_for_longer_than_was_said(settings: Settings, one: Engine) -> None:
    impatient = sync_engine(settings.database, lock_timeout=0.5)
    with impatient.begin() as connection:
        assert connection.execute(text("SHOW lock_timeout")).scalar_one() == "500ms"
        assert connection.execute(text(IDLE_LIMIT)).scalar_one() == "10s"
    impatient.dispose()
    with one.begin() as connection:
        assert connection.execute(text("SHOW lock_timeout")).scalar_one() == "0"


def test_what_fails_is_rolled_back_whole(one: Engine, clean: None) -> None:
    """The driver commits by itself: only our own BEGIN keeps statements together."""

    def insert_then_fail() -> None:
        with one.begin() as connection:
            connection.execute(text("INSERT INTO pools (name) VALUES ('cpu')"))
            raise KeyError

    with pytest.raises(KeyError):
        insert_then_fail()
    with one.connect() as connection:
        connection.execute(text("INSERT INTO pools (name) VALUES ('io')"))
    with one.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM pools")).scalar_one() == 0


@pytest.mark.parametrize("ended", ["idle in transaction", "between transactions"])
def test_what_an_ended_session_did_not_commit_is_written_once(
    one: Engine, engine: Engine, clean: None, ended: str
) -> None:
    name = uuid4().hex
    sessions: list[int] = []

    def gone() -> bool:
        query = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")
        with engine.begin() as other:
            return bool(other.execute(query, {"pid": sessions[0]}).scalar_one() == 0)

    def write(connection: Connection) -> None:
        connection.execute(text("INSERT INTO pools (name) VALUES (:name)"), {"name": name})
        sessions.append(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
        if ended == "idle in transaction" and len(sessions) == 1:
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 1"))
            until(gone, seconds=10, what="the server ends the session")

    if ended == "between transactions":
        with one.begin() as connection:
            pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with engine.begin() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        sessions.append(pid)
        until(gone, seconds=10, what="the session is gone")
    persist(one, write)
    assert len(set(sessions)) == 2
    with engine.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM pools")).scalar_one() == 1


def test_a_connection_that_is_closed_again_at_once_is_waited_for(one: Engine, clean: None) -> None:
    """SQLAlchemy gives up when it finds two connections closed in a row."""
    refusals = iter(range(2))

    @event.listens_for(one, "checkout")
    def closed(*_: object) -> None:
        if next(refusals, None) is not None:
            raise DisconnectionError

    persist(one, lambda connection: connection.execute(text("INSERT INTO pools VALUES ('cpu')")))
    with one.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM pools")).scalar_one() == 1
