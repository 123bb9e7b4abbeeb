"""Workers and controllers that come before the schema wait for it."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psycopg
import pytest
from psycopg import sql

from app.core.config import Settings
from app.migrations import upgrade
from tests.processes import Part, Parts, parts, until
from tests.servers import POSTGRES

pytestmark = pytest.mark.slow


@pytest.fixture
def running(settings: Settings, test_worker: int, tmp_path: Path) -> Iterator[Parts]:
    """Of a database with nothing in it."""
    name = f"schema_{test_worker}"
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    create = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    with psycopg.connect(os.environ[POSTGRES], autocommit=True) as connection:
        connection.execute(drop)
        connection.execute(create)
        url = os.environ[POSTGRES].replace("/postgres?", f"/{name}?")
        empty = settings.model_copy(
            update={"database": type(settings.database).model_validate({"url": url})}
        )
        with parts(empty, tmp_path) as running:
            yield running
        connection.execute(drop)


def ask(part: Part, path: str) -> tuple[int, str]:
    answer = httpx2.get(f"{part.signals()}{path}")
    return answer.status_code, answer.text


def start(running: Parts, name: str) -> Part:
    if name == "worker":
        return running.worker(HEAVYLIFT_SIGNALS_PORT="0")
    return running.controller(HEAVYLIFT_SIGNALS_PORT="0")


@pytest.mark.parametrize("name", ["worker", "controller"])
def test_it_waits_alive_and_unready_and_goes_on(running: Parts, name: str) -> None:
    part = start(running, name)
    until(lambda: "waiting for the schema" in part.output, seconds=30, what=part.output)
    why = "the database has no schema yet: run `heavylift migrate`\n"
    until(lambda: ask(part, "/readyz") == (503, why), seconds=10, what="it says why")
    assert ask(part, "/livez")[0] == 200
    time.sleep(2.5)
    upgrade(running.settings.database)
    until(lambda: ask(part, "/readyz")[0] == 200, seconds=20, what=part.output)
    assert part.output.count("waiting for the schema") == 1
    assert "Traceback" not in part.output
    part.terminate()
    assert part.process.wait(20) == 0


@pytest.mark.parametrize("name", ["worker", "controller"])
def test_it_stops_while_it_waits(running: Parts, name: str) -> None:
    part = start(running, name)
    until(lambda: "waiting for the schema" in part.output, seconds=30, what=part.output)
    part.terminate()
    assert part.process.wait(10) == 0


@pytest.mark.parametrize("name", ["worker", "controller"])
def test_a_schema_that_is_ahead_is_good(running: Parts, name: str) -> None:
    upgrade(running.settings.database)
    url = running.settings.database.url.get_secret_value()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    part = start(running, name).ready()
    until(lambda: ask(part, "/readyz")[0] == 200, seconds=20, what=part.output)
