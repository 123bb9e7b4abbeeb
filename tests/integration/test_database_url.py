"""One URL for both drivers, with all that libpq lets stand in it."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import anyio.to_thread
import pytest
from sqlalchemy import Engine, text

from app.core.config import Database, Settings
from app.core.database_url import parse, render
from app.core.db import async_engine, sync_engine

pytestmark = pytest.mark.anyio

NAME = "SHOW application_name"

# Seconds, of what takes none.
LIMIT = 10

# PostgreSQL's documentation, "Message Formats".
SSL_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)


@pytest.fixture
def named(settings: Settings) -> Database:
    url = settings.database.url.get_secret_value()
    return Database.model_validate(
        {"url": f"{url}&sslmode=prefer&application_name={quote('a & b')}"}
    )


async def test_its_options_reach_the_server_from_the_api(named: Database) -> None:
    engine = async_engine(named)
    async with engine.begin() as connection:
        assert await connection.scalar(text(NAME)) == "a & b"
    await engine.dispose()


def test_its_options_reach_the_server_from_a_worker(named: Database) -> None:
    engine = sync_engine(named)
    with engine.begin() as connection:
        assert connection.execute(text(NAME)).scalar_one() == "a & b"
    engine.dispose()


async def test_without_the_tls_that_it_asks_for_nothing_is_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as thread:
        server.settimeout(LIMIT)

        def have_no_tls() -> list[bytes]:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(LIMIT)
                asked = connection.recv(100)
                connection.sendall(b"N")
                return [asked, connection.recv(100)]

        said = thread.submit(have_no_tls)
        url = f"postgresql://app:secret@127.0.0.1:{server.getsockname()[1]}/x?sslmode=require"
        engine = async_engine(Database.model_validate({"url": url}))
        with pytest.raises(ConnectionError, match="SSL"):
            async with engine.begin():
                pass
        await engine.dispose()
        assert await anyio.to_thread.run_sync(said.result) == [SSL_REQUEST, b""]


@pytest.fixture
def roles(engine: Engine) -> Iterator[tuple[str, str]]:
    """Two that may log in."""
    names = f"first_{uuid4().hex[:8]}", f"second_{uuid4().hex[:8]}"
    with engine.begin() as connection:
        for name in names:
            connection.execute(text(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'"))
    yield names
    with engine.begin() as connection:
        for name in names:
            connection.execute(text(f"DROP ROLE {name}"))


async def test_a_new_connection_is_made_with_what_the_file_has_by_now(
    settings: Settings, roles: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = parse(settings.database.url.get_secret_value())
    file = tmp_path / "url"

    def give(role: str) -> None:
        file.write_text(render({**options, "user": role, "password": role}))

    first, second = roles
    give(first)
    monkeypatch.setenv("HEAVYLIFT_DATABASE_URL_FILE", str(file))
    database = Settings().database
    api, worker = async_engine(database), sync_engine(database, connections=2)
    who = text("SELECT current_user")
    try:
        async with api.connect() as one:
            with worker.connect() as another:
                assert (await one.scalar(who), another.scalar(who)) == (first, first)
                give(second)
                # These two live on; the next are the other's.
                assert (await one.scalar(who), another.scalar(who)) == (first, first)
                async with api.connect() as new:
                    assert await new.scalar(who) == second
                with worker.connect() as new_too:
                    assert new_too.scalar(who) == second
    finally:
        await api.dispose()
        worker.dispose()
