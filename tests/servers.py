"""The real servers that tests talk to: a PostgreSQL for the whole run, a Redis for each worker."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from app.core.config import Database
from app.core.database_url import parse, render
from app.embedded import EmbeddedPostgres, EmbeddedRedis
from app.migrations import upgrade
from tests.system_postgres import SystemPostgres

POSTGRES = "HEAVYLIFT_TEST_POSTGRES"
# A folder of PostgreSQL's binaries: the run is on that version instead of the embedded one.
BINARIES = "TEST_POSTGRES_BINARIES"
TEMPLATE = "migrated"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Short, since sockets live in it, and open to the system user that PostgreSQL runs as."""
    folder = Path(tempfile.mkdtemp(prefix="hl-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres_server() -> Iterator[None]:
    """Start it, migrate the template database, and say in the environment where it is."""
    with scratch_folder() as folder:
        binaries = os.environ.get(BINARIES)
        postgres = (
            SystemPostgres(Path(binaries), folder / "pg")
            if binaries
            else EmbeddedPostgres(folder / "pg", durable=False)
        )
        try:
            postgres.start()
            with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {TEMPLATE}")
            upgrade(Database.model_validate({"url": postgres.url(TEMPLATE)}))
            os.environ[POSTGRES] = postgres.url("postgres")
            yield
        finally:
            postgres.stop()


@contextmanager
def redis_server() -> Iterator[EmbeddedRedis]:
    """What is published in one of its databases is heard in all: nobody shares it."""
    with scratch_folder() as folder:
        redis = EmbeddedRedis(folder / "redis")
        try:
            redis.start()
            yield redis
        finally:
            redis.stop()


def create_database(name: str) -> str:
    """A migrated database of that name, fresh; returns its URL."""
    with psycopg.connect(os.environ[POSTGRES], autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE {TEMPLATE}')
    return render({**parse(os.environ[POSTGRES]), "dbname": name})
