"""Everything behind PgBouncer in transaction mode: two server connections, whoever comes."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import httpx2
import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.core import db
from app.core.config import Database, Settings
from app.embedded import EmbeddedPostgres, EmbeddedRedis
from app.migrations import upgrade
from tests.ledger_view import View
from tests.pgbouncer import PgBouncer, require_pgbouncer
from tests.processes import parts, until
from tests.servers import scratch_folder
from worker.controller.main import CONNECTIONS

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SERVER_CONNECTIONS = 2
CLIENTS = 50
ROUNDS = 20


@dataclass(frozen=True)
class Pooled:
    postgres: EmbeddedPostgres
    bouncer: PgBouncer
    database: Database


@pytest.fixture(scope="module")
def pooled() -> Iterator[Pooled]:
    require_pgbouncer()
    with scratch_folder() as folder:
        postgres = EmbeddedPostgres(folder / "pg", durable=False)
        bouncer = PgBouncer(postgres, folder / "bouncer", size=SERVER_CONNECTIONS)
        try:
            postgres.start()
            bouncer.start()
            database = Database.model_validate(
                {"url": bouncer.url, "direct_url": postgres.url(), "pool_size": CLIENTS}
            )
            # By the direct URL.
            upgrade(database)
            yield Pooled(postgres, bouncer, database)
        finally:
            bouncer.stop()
            postgres.stop()


@pytest.fixture
def engine_to_look(pooled: Pooled) -> Iterator[Engine]:
    """Past the pooler."""
    engine = db.sync_engine(Database.model_validate({"url": pooled.postgres.url()}))
    yield engine
    engine.dispose()


def server_connections(postgres: EmbeddedPostgres) -> int:
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        " AND datname = current_database() AND pid <> pg_backend_pid()"
    )
    with psycopg.connect(postgres.url()) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


# --- statements, each with an answer of its own ---------------------------------------------------


async def adds(connection: AsyncConnection, n: int) -> None:
    query = text("SELECT CAST(:a AS integer) + CAST(:b AS integer)")
    assert (await connection.execute(query, {"a": n, "b": 1})).scalar_one() == n + 1


async def repeats(connection: AsyncConnection, n: int) -> None:
    some = uuid4()
    query = text(
        "SELECT CAST(:id AS uuid) AS id, CAST(:words AS text[]) AS words, CAST(:n AS bigint) AS n"
    )
    row = (await connection.execute(query, {"id": some, "words": [str(n), "é"], "n": n})).one()
    assert (row.id, row.words, row.n) == (some, [str(n), "é"], n)


async def stores(connection: AsyncConnection, n: int) -> None:
    email = f"{uuid4()}@example.com"
    added = text("INSERT INTO users (email, password_hash) VALUES (:e, :h) RETURNING id")
    user: UUID = (await connection.execute(added, {"e": email, "h": str(n)})).scalar_one()
    # A second statement of the same transaction finds it, on whichever server that runs.
    found = text("SELECT email, password_hash FROM users WHERE id = :id")
    assert (await connection.execute(found, {"id": user})).one() == (email, str(n))


async def lists(connection: AsyncConnection, n: int) -> None:
    query = text("SELECT g, g * :n FROM generate_series(1, 5) AS g")
    rows = (await connection.execute(query, {"n": n})).all()
    assert [tuple(row) for row in rows] == [(g, g * n) for g in range(1, 6)]


STATEMENTS: list[Callable[[AsyncConnection, int], Awaitable[None]]] = [
    adds, repeats, stores, lists,
]  # fmt: skip


async def ask_all_at_once(engine: AsyncEngine) -> int:
    """How many transactions failed; an answer that is another's fails the test."""
    failed = 0

    async def client(number: int) -> None:
        nonlocal failed
        for turn in range(ROUNDS):
            ask = STATEMENTS[(number + turn) % len(STATEMENTS)]
            try:
                async with engine.begin() as connection:
                    await ask(connection, number * ROUNDS + turn)
            except DBAPIError:
                failed += 1

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    return failed


async def test_the_apis_engine(pooled: Pooled) -> None:
    engine = db.async_engine(pooled.database)
    assert await ask_all_at_once(engine) == 0
    assert server_connections(pooled.postgres) <= SERVER_CONNECTIONS
    await engine.dispose()


async def test_an_engine_as_it_comes_fails_here(pooled: Pooled) -> None:
    """So the test above sees what it is for."""
    url = pooled.bouncer.url.replace("postgresql", "postgresql+asyncpg")
    engine = create_async_engine(url, pool_size=CLIENTS)
    assert await ask_all_at_once(engine) > 0
    await engine.dispose()


def test_the_workers_engine(pooled: Pooled) -> None:
    engine = db.sync_engine(pooled.database, connections=20)

    def client(number: int) -> None:
        for turn in range(ROUNDS):
            with engine.begin() as connection:
                query = text("SELECT CAST(:n AS integer), CAST(:t AS text)")
                expected = (number * ROUNDS + turn, f"{number}/{turn}")
                row = connection.execute(query, {"n": expected[0], "t": expected[1]}).one()
                assert tuple(row) == expected

    with ThreadPoolExecutor(20) as threads:
        list(threads.map(client, range(20)))
    assert server_connections(pooled.postgres) <= SERVER_CONNECTIONS
    engine.dispose()


# --- no statement outside of a transaction --------------------------------------------------------

# Outside of one, a pooler hands parse and bind of one statement to different servers.
TWICE = text("SELECT now(), clock_timestamp()")


def of_one_transaction(first: tuple[object, object], second: tuple[object, object]) -> bool:
    return first[0] == second[0] and first[1] != second[1]


async def test_the_apis_statements_are_in_a_transaction(pooled: Pooled) -> None:
    engine = db.async_engine(pooled.database)
    async with engine.connect() as connection:
        first = (await connection.execute(TWICE)).one()
        second = (await connection.execute(TWICE)).one()
    assert of_one_transaction((first[0], first[1]), (second[0], second[1]))
    await engine.dispose()


def test_the_workers_statements_are_in_a_transaction(pooled: Pooled) -> None:
    engine = db.sync_engine(pooled.database)
    with engine.connect() as connection:
        first, second = connection.execute(TWICE).one(), connection.execute(TWICE).one()
    assert of_one_transaction((first[0], first[1]), (second[0], second[1]))
    engine.dispose()


# --- what each process takes ----------------------------------------------------------------------


def test_each_process_takes_the_connections_that_it_says(
    pooled: Pooled, engine_to_look: Engine, tmp_path: Path
) -> None:
    """Of a PostgreSQL without a pooler in between: each is counted there while it works."""
    with scratch_folder() as folder:
        redis = EmbeddedRedis(folder / "redis")
        redis.start()
        settings = Settings.model_validate(
            {
                "database": {"url": pooled.postgres.url()},
                "redis": {"url": redis.url()},
                "storage": {"url": (folder / "files").as_uri()},
            }
        )
        view = View(engine_to_look, View(engine_to_look, uuid4()).new_owner("c@d.org"))
        # The pooler's own, and the one that looks.
        before = server_connections(pooled.postgres)
        try:
            with parts(settings, tmp_path) as running:
                port = running.api(HEAVYLIFT_DATABASE_POOL_SIZE="3")
                with ThreadPoolExecutor(20) as threads:
                    url = f"http://127.0.0.1:{port}/api/v1/users/me"
                    key = {"X-API-Key": f"hl_{'0' * 12}_{'x' * 43}"}
                    asked = threads.map(lambda _: httpx2.get(url, headers=key), range(200))
                    assert {answer.status_code for answer in asked} == {401}
                assert re.search(r"database_connections\W+4\b", running.output)
                assert server_connections(pooled.postgres) - before == 4

                running.worker(concurrency=2).ready()
                running.controller().ready()
                jobs = [view.submit(seconds=0.2) for _ in range(20)]
                until(lambda: view.succeeded(*jobs), seconds=60, what="all succeed")
                assert re.search(r"database_connections\W+3\b", running.output)
                said = sum(map(int, re.findall(r"database_connections\W+(\d+)", running.output)))
                taken = server_connections(pooled.postgres) - before
                assert said == 4 + (1 + 2) + CONNECTIONS
                assert 4 + 3 < taken <= said
        finally:
            redis.stop()


# --- all of it ------------------------------------------------------------------------------------


def test_the_whole_stack(pooled: Pooled, engine_to_look: Engine, tmp_path: Path) -> None:
    with scratch_folder() as folder:
        redis = EmbeddedRedis(folder / "redis")
        redis.start()
        settings = Settings.model_validate(
            {
                "database": {"url": pooled.bouncer.url},
                "redis": {"url": redis.url()},
                "storage": {"url": (folder / "files").as_uri()},
            }
        )
        try:
            with parts(settings, tmp_path) as running:
                port = running.api()
                running.controller().ready()
                running.worker(concurrency=2).ready()
                with httpx2.Client(base_url=f"http://127.0.0.1:{port}/api/v1") as client:
                    submit_and_follow(client)
                view = View(engine_to_look, View(engine_to_look, uuid4()).new_owner("b@c.org"))
                jobs = [view.submit() for _ in range(20)]
                until(lambda: view.succeeded(*jobs), seconds=60, what="all succeed")
                logs = running.output
        finally:
            redis.stop()
    assert "[error" not in logs
    assert "Traceback" not in logs
    assert server_connections(pooled.postgres) <= SERVER_CONNECTIONS + 1


def submit_and_follow(client: httpx2.Client) -> None:
    account = {"email": "ada@example.com", "password": "correct horse battery staple"}
    assert client.post("/users", json=account).status_code == 201
    form = {"username": account["email"], "password": account["password"]}
    token = client.post("/auth/login", data=form).json()["access_token"]
    client.headers["Authorization"] = f"Bearer {token}"
    job = client.post("/jobs/test.nap", json={"spec": {"seconds": 0.2}})
    assert job.status_code == 202
    # The stream ends with the job.
    events = client.get(f"/jobs/{job.json()['id']}/events", timeout=60).text
    assert '"state":"succeeded"' in events
    long = client.post("/jobs/test.nap", json={"spec": {"seconds": 600}}).json()
    assert client.post(f"/jobs/{long['id']}/cancel").status_code == 202
    assert {found["state"] for found in client.get("/jobs").json()["items"]} <= {
        "succeeded", "cancelled", "running",
    }  # fmt: skip
