"""Servers of both ends of what is supported: the embedded PostgreSQL, and Debian's 15."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from fastapi import FastAPI

from app.core.config import Database, Settings
from app.core.database_url import parse, render
from app.jobs import KindRegistry
from app.main import create_app
from tests.integration.listening import as_new
from tests.servers import POSTGRES, scratch_folder
from tests.system_postgres import POSTGRES_15, SystemPostgres


@pytest.fixture(scope="session")
def postgres_15() -> Path:
    """The folder of its binaries. Where tests must not be skipped (CI), it has to be there."""
    if not (POSTGRES_15 / "postgres").exists():
        message = f"no PostgreSQL 15 in {POSTGRES_15}: apt-get install postgresql-15"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return POSTGRES_15


@pytest.fixture(
    scope="module",
    params=["embedded", pytest.param("15", marks=[pytest.mark.slow, pytest.mark.postgres15])],
)
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a server's maintenance database."""
    if request.param == "embedded":
        yield os.environ[POSTGRES]
        return
    binaries = request.getfixturevalue("postgres_15")
    with scratch_folder() as folder:
        postgres = SystemPostgres(binaries, folder / "pg")
        try:
            postgres.start()
            yield postgres.url()
        finally:
            postgres.stop()


@pytest.fixture
def make_database(server: str, test_worker: int) -> Iterator[Callable[[str], Database]]:
    """Create an empty database on `server`; dropped after the test."""
    names = []

    with closing(psycopg.connect(server, autocommit=True)) as connection:

        def make(role: str) -> Database:
            name = f"{role}_{test_worker}"
            names.append(name)
            connection.execute(f'CREATE DATABASE "{name}"')
            return Database.model_validate({"url": render({**parse(server), "dbname": name})})

        yield make
        for name in names:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def _without_kinds(settings: Settings) -> FastAPI:
    return create_app(settings, KindRegistry([]))


@pytest.fixture
def app_without_kinds(_without_kinds: FastAPI, clean: None) -> FastAPI:
    return as_new(_without_kinds)
