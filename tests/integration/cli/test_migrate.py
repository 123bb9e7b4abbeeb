import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import sql

from app import migrations
from tests.integration.cli.conftest import Run, is_one_line, run_process
from tests.servers import POSTGRES


@pytest.fixture
def encoding() -> str:
    return "UTF8"


@pytest.fixture
def empty_database(test_worker: int, encoding: str) -> Iterator[str]:
    """A database's URL."""
    name = f"migrate_{test_worker}"
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    create = sql.SQL(
        "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE 'C' LC_CTYPE 'C'"
    ).format(sql.Identifier(name), encoding)
    with psycopg.connect(os.environ[POSTGRES], autocommit=True) as connection:
        connection.execute(drop)
        connection.execute(create)
        yield os.environ[POSTGRES].replace("/postgres?", f"/{name}?")
        connection.execute(drop)


def tables(database: str) -> set[str]:
    with psycopg.connect(database) as connection:
        query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        return {name for (name,) in connection.execute(query)}


def test_migrates_and_does_so_twice(run: Run, empty_database: str) -> None:
    for _ in range(2):
        outcome = run("migrate", HEAVYLIFT_DATABASE_URL=empty_database)
        assert (outcome.code, outcome.out, outcome.err) == (0, "migrated to head\n", "")
        assert {"jobs", "job_runs", "users", "files"} <= tables(empty_database)


def test_migrates_past_the_pooler(run: Run, empty_database: str) -> None:
    outcome = run(
        "migrate",
        HEAVYLIFT_DATABASE_URL="postgresql://pooler.invalid/heavylift",
        HEAVYLIFT_DATABASE_DIRECT_URL=empty_database,
    )
    assert outcome.code == 0
    assert "jobs" in tables(empty_database)


def test_gives_way_to_who_holds_the_lock(
    run: Run, empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT", "50ms")
    key = 0x4845415659
    with psycopg.connect(empty_database) as another:
        another.execute("SELECT pg_advisory_xact_lock(%s)", [key])
        outcome = run("migrate", HEAVYLIFT_DATABASE_URL=empty_database)
    assert outcome.code == 1
    assert is_one_line(outcome.err)
    assert "a lock was not to be had" in outcome.err
    assert tables(empty_database) <= {"alembic_version"}


def test_an_unreachable_database_is_one_line(run: Run) -> None:
    outcome = run("migrate", HEAVYLIFT_DATABASE_URL="postgresql://nobody@127.0.0.1:1/heavylift")
    assert outcome.code == 1
    assert is_one_line(outcome.err)
    assert "can't reach the database" in outcome.err


def test_an_unknown_revision_is_one_line(run: Run, empty_database: str) -> None:
    outcome = run("migrate", "--revision", "9999", HEAVYLIFT_DATABASE_URL=empty_database)
    assert outcome.code == 2
    assert is_one_line(outcome.err)
    assert "9999" in outcome.err


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_another_encoding_is_one_line(run: Run, encoding: str, empty_database: str) -> None:
    """As a PostgreSQL without a locale makes it, in a container whose image sets none."""
    outcome = run("migrate", "--wait", "60", HEAVYLIFT_DATABASE_URL=empty_database)
    assert outcome.code == 2
    assert is_one_line(outcome.err)
    assert f"the database's encoding is {encoding}: it has to be UTF8" in outcome.err
    assert not tables(empty_database)


def test_a_database_that_is_ahead_stays_as_it_is(run: Run, empty_database: str) -> None:
    assert run("migrate", HEAVYLIFT_DATABASE_URL=empty_database).code == 0
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        outcome = run("migrate", HEAVYLIFT_DATABASE_URL=empty_database)
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out.startswith("the database is at 9999, ahead of ")
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        assert row == ("9999",)


@pytest.mark.slow
def test_waits_for_a_database_that_is_away(run: Run, empty_database: str) -> None:
    nobodys = "postgresql://127.0.0.1:1/heavylift"
    outcome = run("migrate", "--wait", "1.5", HEAVYLIFT_DATABASE_URL=nobodys)
    assert outcome.code == 1
    assert is_one_line(outcome.err)
    assert "can't reach the database" in outcome.err


@pytest.mark.slow
def test_two_at_once_both_succeed(run: Run, empty_database: str) -> None:
    def migrate(_: int) -> int:
        return run_process("migrate", HEAVYLIFT_DATABASE_URL=empty_database).code

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(migrate, range(2))) == [0, 0]
