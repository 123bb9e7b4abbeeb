"""Readiness waits for the database and its schema once; the breaker spares everybody the wait."""

import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import structlog
from alembic.script import ScriptDirectory
from httpx2 import AsyncClient
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core import config
from app.core.breaker import Breaker, DatabaseAway
from app.core.config import Settings
from app.core.db import async_engine, direct_engine, pool_of
from app.core.revisions import Revisions, read_revisions
from app.embedded import EmbeddedPostgres
from app.main import create_app
from app.migrations import configuration, upgrade
from app.services.database_watch import DatabaseWatch
from tests.integration.api.conftest import connect, is_ready, serving
from tests.integration.api.kinds import KINDS
from tests.integration.listening import eventually, listening
from tests.servers import scratch_folder

pytestmark = pytest.mark.anyio

ONE = text("SELECT 1")


@pytest.fixture
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """One that is not started yet."""
    with scratch_folder() as folder:
        server = EmbeddedPostgres(folder / "pg", durable=False)
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def own_database(settings: Settings, own_postgres: EmbeddedPostgres) -> config.Database:
    return settings.database.model_copy(update={"url": SecretStr(own_postgres.url())})


@pytest.fixture
async def migrated(
    own_postgres: EmbeddedPostgres, own_database: config.Database
) -> config.Database:
    """The same, started and with the schema."""
    await anyio.to_thread.run_sync(own_postgres.start)
    await anyio.to_thread.run_sync(upgrade, own_database)
    return own_database


@pytest.fixture
async def watched(settings: Settings, own_database: config.Database) -> AsyncIterator[AsyncClient]:
    """A client of an application whose database that is."""
    app = create_app(settings.model_copy(update={"database": own_database}), KINDS)
    async with serving(app) as served, connect(served) as client:
        yield client


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/startupz"])
async def test_a_probe_may_ask_for_the_head_alone(anonymous: AsyncClient, path: str) -> None:
    """Load balancers do."""
    await is_ready(anonymous)
    whole, head = await anonymous.get(path), await anonymous.head(path)
    assert head.status_code == whole.status_code == 200
    for name in ("content-type", "content-length", "cache-control"):
        assert head.headers[name] == whole.headers[name]
    assert (await anonymous.head(path, params={"a": "b"})).status_code == 422
    assert (await anonymous.post(path)).headers["allow"] == "GET, HEAD"


async def says(client: AsyncClient, status: int, what: str) -> None:
    with anyio.fail_after(30):
        while True:
            response = await client.get("/readyz")
            if response.status_code == status and what in response.text:
                return
            await anyio.sleep(0.02)


async def test_all_dependencies_are_shown(anonymous: AsyncClient) -> None:
    await is_ready(anonymous)
    body: dict[str, Any] = {}
    states: dict[str, str] = {}
    with anyio.fail_after(10):
        while not states or "unknown" in states.values():
            body = (await anonymous.get("/readyz")).json()
            states = {name: one["state"] for name, one in body["dependencies"].items()}
            await anyio.sleep(0.05)
    assert body["status"] == "ok"
    assert states == {"postgresql": "up", "redis": "up", "storage": "up"}


@pytest.mark.slow
async def test_probes_show_strangers_no_paths_and_no_words_of_servers(
    settings: Settings, tmp_path: Path
) -> None:
    """The log has them."""
    nowhere = tmp_path / "secret-place"
    database = settings.database.model_copy(
        update={"url": SecretStr(f"postgresql://joe@/d?host={nowhere}")}
    )
    redis = settings.redis.model_copy(update={"url": SecretStr(f"unix://{nowhere}/redis.sock")})
    app = create_app(settings.model_copy(update={"database": database, "redis": redis}), KINDS)
    with structlog.testing.capture_logs() as logs:
        async with listening(app) as there, there.client() as client:
            watch = there.state.dependencies
            await eventually(lambda: watch.storage.up)
            # As the watch says it of a folder; root may write in any.
            watch.storage.is_down(f"can't write in {nowhere}")
            await eventually(lambda: {one.health.state for one in watch.all} == {"down"})
            url = f"http://{there.host}:{there.port}/readyz"
            unready = await client.get(url)
            # As if it had been reached before.
            there.state.database.reached = True
            ready = await client.get(url)
    assert (unready.status_code, ready.status_code) == (503, 200)
    assert {one["state"] for one in ready.json()["dependencies"].values()} == {"down"}
    for answer in (unready.text, ready.text):
        for private in (
            str(tmp_path),
            "secret-place",
            "joe",
            "Errno",
            "No such file",
            "redis.sock",
        ):
            assert private not in answer
    said = [line["error"] for line in logs if line["event"] == "dependency is away"]
    assert len(said) == 3
    assert all("secret-place" in line or "No such file" in line for line in said)


@pytest.mark.slow
async def test_a_process_comes_up_before_its_database(
    watched: AsyncClient, own_postgres: EmbeddedPostgres, own_database: config.Database
) -> None:
    await says(watched, 503, "postgresql was not reached yet: ")
    assert (await watched.get("/livez")).status_code == 200
    assert (await watched.get("/startupz")).status_code == 200
    await anyio.to_thread.run_sync(own_postgres.start)
    await says(watched, 503, "the database has no schema yet: run `heavylift migrate`")
    await anyio.to_thread.run_sync(upgrade, own_database, "0001")
    await says(watched, 503, "the schema is at 0001, this needs ")
    await anyio.to_thread.run_sync(upgrade, own_database)
    await is_ready(watched)
    # From now on it is away for all processes alike.
    await anyio.to_thread.run_sync(own_postgres.stop)
    await says(watched, 200, '"postgresql":{"state":"down"')
    refused = await watched.post("/api/v1/auth/login", data={"username": "a", "password": "b"})
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    await anyio.to_thread.run_sync(own_postgres.start)
    await says(watched, 200, '"postgresql":{"state":"up"')
    answer = await watched.post("/api/v1/auth/login", data={"username": "a", "password": "b"})
    assert answer.status_code == 401


@pytest.mark.slow
async def test_of_a_frozen_server_nobody_waits_for_long(
    own_postgres: EmbeddedPostgres, migrated: config.Database
) -> None:
    breaker = Breaker()
    patient = migrated.model_copy(update={"statement_timeout": 600.0})
    engine = async_engine(patient, breaker)
    watch = DatabaseWatch(migrated, breaker, pool_of(engine))
    ended: list[type[BaseException]] = []

    async def ask() -> None:
        try:
            async with engine.connect() as connection:
                await connection.execute(ONE)
        except (DBAPIError, DatabaseAway, OSError) as error:
            ended.append(type(error))

    async with watch:
        with anyio.fail_after(30):
            await eventually(lambda: watch.reached)
            await ask()
            assert ended == []
            own_postgres.signal_all(signal.SIGSTOP)
            try:
                # More than the pool has: some have a connection, some wait for one.
                async with anyio.create_task_group() as asking:
                    for _ in range(migrated.pool_size + 5):
                        asking.start_soon(ask)
                assert breaker.open
                assert len(ended) == migrated.pool_size + 5
                with pytest.raises(DatabaseAway):
                    await engine.connect().start()
            finally:
                own_postgres.signal_all(signal.SIGCONT)
            await eventually(lambda: not breaker.open)
            ended.clear()
            await ask()
            assert ended == []
    await engine.dispose()


@pytest.mark.slow
async def test_a_server_that_is_silent_for_a_moment_is_waited_for(
    own_postgres: EmbeddedPostgres, migrated: config.Database
) -> None:
    """With a free connection; a request does not wait for one that another request holds."""
    breaker = Breaker()
    engine = async_engine(migrated.model_copy(update={"pool_size": 2}), breaker)
    answered: list[int] = []

    async def ask(connection: AsyncConnection) -> None:
        answered.append((await connection.execute(ONE)).scalar_one())

    async with DatabaseWatch(migrated, breaker, pool_of(engine)) as watch:
        with anyio.fail_after(30):
            await eventually(lambda: watch.reached)
            async with (
                engine.connect() as first,
                engine.connect() as second,
                anyio.create_task_group() as asking,
            ):
                await ask(second)
                await second.close()
                own_postgres.signal_all(signal.SIGSTOP)
                try:
                    asking.start_soon(ask, first)
                    await eventually(lambda: breaker.silent)
                    again = await engine.connect().start()
                    with pytest.raises(DatabaseAway):
                        await engine.connect().start()
                    assert not breaker.open
                finally:
                    own_postgres.signal_all(signal.SIGCONT)
                await ask(again)
                await again.close()
            assert answered == [1, 1, 1]
            await eventually(lambda: not breaker.silent)
            assert breaker.epoch == 0
    await engine.dispose()


@pytest.mark.slow
async def test_a_few_requests_wait_behind_others_while_the_server_is_silent(
    own_postgres: EmbeddedPostgres, migrated: config.Database
) -> None:
    """Of a pool of three, one; met in a rollback, where a node started many pods."""
    breaker = Breaker()
    engine = async_engine(migrated.model_copy(update={"pool_size": 3}), breaker)
    pool = pool_of(engine)
    answered: list[int] = []

    async def ask() -> None:
        async with engine.connect() as connection:
            answered.append((await connection.execute(ONE)).scalar_one())

    async with DatabaseWatch(migrated, breaker, pool) as watch:
        with anyio.fail_after(30):
            await eventually(lambda: watch.reached)
            held = [await engine.connect().start() for _ in range(3)]
            async with anyio.create_task_group() as asking:
                own_postgres.signal_all(signal.SIGSTOP)
                try:
                    # Nothing comes back: the watch asks the server, and gets no answer.
                    await eventually(lambda: breaker.silent)
                    asking.start_soon(ask)
                    await eventually(lambda: pool.pending == 1)
                    with pytest.raises(DatabaseAway):
                        await engine.connect().start()
                    assert not breaker.open
                finally:
                    own_postgres.signal_all(signal.SIGCONT)
                for connection in held:
                    await connection.close()
            assert answered == [1]
    await engine.dispose()


@pytest.mark.slow
async def test_a_slow_new_connection_does_not_count_as_silence(settings: Settings) -> None:
    """The kernel accepts it, and nobody answers: the breaker opens at the end of its patience."""
    breaker = Breaker()
    engine = async_engine(settings.database, breaker)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = SecretStr(f"postgresql://a@127.0.0.1:{mute.getsockname()[1]}/d?sslmode=disable")
        database = settings.database.model_copy(update={"url": url})
        async with DatabaseWatch(database, breaker, pool_of(engine)):
            with anyio.fail_after(30):
                while not breaker.open:
                    assert not breaker.silent
                    await anyio.sleep(0.01)
    await engine.dispose()


async def test_connections_of_before_an_outage_are_made_anew(settings: Settings) -> None:
    breaker = Breaker()
    engine = async_engine(settings.database, breaker)
    which = text("SELECT pg_backend_pid()")

    async def backend() -> int:
        async with engine.connect() as connection:
            pid: int = (await connection.execute(which)).scalar_one()
        return pid

    first = await backend()
    assert await backend() == first
    breaker.epoch += 1
    second = await backend()
    assert second != first
    # One that the server has ended is noticed without asking it.
    other = async_engine(settings.database)
    async with other.connect() as connection:
        await connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": second})
    await anyio.sleep(0.05)
    assert await backend() != second
    await other.dispose()
    await engine.dispose()


@pytest.mark.slow
async def test_a_lock_that_is_waited_for_opens_no_breaker(settings: Settings) -> None:
    breaker = Breaker()
    engine = async_engine(settings.database, breaker)
    async with DatabaseWatch(settings.database, breaker, pool_of(engine)) as watch:
        await eventually(lambda: watch.reached)
        async with engine.connect() as connection:
            await connection.execute(text("SELECT pg_sleep(1.5)"))
        assert not breaker.open
        assert breaker.epoch == 0
    await engine.dispose()


def test_revisions_are_those_that_alembic_knows(settings: Settings) -> None:
    scripts = ScriptDirectory.from_config(configuration(direct_engine(settings.database)))
    revisions = read_revisions()
    assert revisions.head == scripts.get_current_head()
    assert revisions.known == {script.revision for script in scripts.walk_revisions()}


@pytest.mark.parametrize(
    ("current", "fault"),
    [("2", None), ("3", None), ("1", "is at 1, this needs 2"), (None, "no schema yet")],
)
def test_a_schema_of_a_newer_code_is_good(current: str | None, fault: str | None) -> None:
    found = Revisions(frozenset({"1", "2"}), "2").fault(current)
    assert (found is None) if fault is None else (found is not None and fault in found)
