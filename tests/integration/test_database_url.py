"""One URL for both drivers, with all that libpq lets stand in it."""

import os
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import anyio.to_thread
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import ValidationError
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import DBAPIError

from app.core.config import ConfigurationError, Database, Settings, load_settings
from app.core.database_url import for_asyncpg, parse, render
from app.core.db import async_engine, sync_engine
from app.core.outages import Fault, fault

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


# --- what stands in it ----------------------------------------------------------------------------

ODD = "p@ss:w/rd?#+ %25&=é\\'"


@pytest.mark.parametrize(
    ("url", "options"),
    [
        (
            "postgresql://u:p@one:5433,two/db?target_session_attrs=read-write",
            {
                "user": "u",
                "password": "p",
                "host": "one,two",
                "port": "5433,",
                "dbname": "db",
                "target_session_attrs": "read-write",
            },
        ),
        ("postgres:///db?host=%2Ftmp%2Fa%20b", {"dbname": "db", "host": "/tmp/a b"}),
        ("postgresql://%2Frun%2Fpg/db", {"dbname": "db", "host": "/run/pg"}),
        (
            "postgresql://[::1]:5433/a+b?application_name=a+b",
            {"host": "::1", "port": "5433", "dbname": "a+b", "application_name": "a+b"},
        ),
        (
            f"postgresql://{quote(ODD, safe='')}:{quote(ODD, safe='')}@h/{quote(ODD, safe='')}",
            {"user": ODD, "password": ODD, "host": "h", "dbname": ODD},
        ),
        # As SQLAlchemy's URLs take them.
        (
            "postgresql://u:100%/x%2Fy?#@h/db",
            {"user": "u", "password": "100%/x/y?#", "host": "h", "dbname": "db"},
        ),
        ("postgresql+asyncpg://u@h/db", {"user": "u", "host": "h", "dbname": "db"}),
    ],
)
def test_it_is_read_as_libpq_reads_it(url: str, options: dict[str, str]) -> None:
    assert parse(url) == options
    assert parse(render(options)) == options
    # Ours mean the same to SQLAlchemy, should somebody give one to a tool of theirs.
    if "host" in options and "," not in options["host"]:
        assert make_url(render(options)).query.get("host") == options["host"]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://u@h/db?sslmod=require", "unknown option sslmod; there are "),
        ("postgresql://u@h/db?load_balance_hosts=random", "unknown option load_balance_hosts"),
        ("postgresql://u@h/db?a=b@c&replication=true", "unknown option"),
        ("postgresql://u@h/db?options=a@b&replication=true", "unknown option replication"),
        ("postgresql://u@h/db?sslmode=on", "sslmode must be one of disable, "),
        ("postgresql://u@h/db?channel_binding=require", "channel_binding must be one of prefer"),
        ("postgresql://u@h/db?target_session_attrs=standby", "must be one of any, read-write"),
        ("postgresql://u@h/db?client_encoding=latin1", "client_encoding must be one of utf8"),
        ("postgresql://u@h/db?connect_timeout=soon", "connect_timeout must be a whole number"),
        ("postgresql://u@h/db?connect_timeout=\u0663", "connect_timeout must be a whole number"),
        ("postgresql://u@h/db?keepalives_idle=2147483648", "keepalives_idle must be a whole"),
        ("postgresql://u@h/db?gssencmode=require", "gssencmode must be one of prefer, disable"),
        ("postgresql://u@h/db?sslmode=", "sslmode must be one of disable, "),
        ("postgresql://u@h/db?ssl_min_protocol_version=bogus", "version must be one of TLSv1, "),
        ("postgresql://u@h/db?ssl_max_protocol_version=SSLv3", "version must be one of TLSv1, "),
        ("postgresql://u@h/db?ssl_max_protocol_version=TLSv1.1", "TLSv1.1 is below ssl_min"),
        (
            "postgresql://u@h/db?ssl_min_protocol_version=tlsv1.3&ssl_max_protocol_version=tlsv1.2",
            "ssl_max_protocol_version=TLSv1.2 is below ssl_min_protocol_version=TLSv1.3",
        ),
        ("postgresql://u@h/db?sslnegotiation=direct", "sslnegotiation=direct needs sslmode=req"),
        ("postgresql://u@h/db?sslnegotiation=direct&sslmode=ALLOW", "needs sslmode=require, ver"),
        ("postgresql://u@h/db?sslrootcert=system&sslmode=require", "needs sslmode=verify-full"),
        ("postgresql://u@one,two,three/db?port=1,2", "2 ports for 3 hosts"),
        ("postgresql://u@h:70000/db", "write it as postgresql://"),
        ("mysql://u:SECRET@h/db", "write it as postgresql://"),
        ("host=h password=SECRET", "write it as postgresql://"),
    ],
)
def test_an_error_in_it_is_named_at_the_start_without_the_password(url: str, why: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Database.model_validate({"url": url})
    (error,) = refused.value.errors(include_url=False, include_input=False)
    assert why in error["msg"]
    assert "SECRET" not in error["msg"]


ANY_CASE = [
    ("target_session_attrs=READ-WRITE", {"target_session_attrs": "read-write"}),
    ("sslmode=REQUIRE", {"sslmode": "require"}),
    ("sslmode=Verify-Full&sslnegotiation=DIRECT&sslrootcert=system", {"sslnegotiation": "direct"}),
    ("gssencmode=Disable", {"gssencmode": "disable"}),
    ("channel_binding=PREFER", {"channel_binding": "prefer"}),
    ("client_encoding=UTF8", {"client_encoding": "utf8"}),
    ("ssl_min_protocol_version=tlsv1.2", {"ssl_min_protocol_version": "TLSv1.2"}),
    (
        "sslrootcert=system&ssl_max_protocol_version=TLSV1.3",
        {"ssl_max_protocol_version": "TLSv1.3"},
    ),
]


@pytest.mark.parametrize(("query", "options"), ANY_CASE)
async def test_a_value_in_any_case_is_passed_on_as_both_drivers_accept_it(
    query: str, options: dict[str, str]
) -> None:
    with socket.socket() as refusing:
        # Bound without a listener: a driver that accepts its options is refused here.
        refusing.bind(("127.0.0.1", 0))
        url = f"postgresql://u@127.0.0.1:{refusing.getsockname()[1]}/db?{query}"
        assert options.items() <= parse(url).items()
        database = Database.model_validate({"url": url})
        worker, api = sync_engine(database), async_engine(database)
        with pytest.raises(DBAPIError, match="Connection refused"), worker.begin():
            pass
        with pytest.raises(ConnectionRefusedError):
            async with api.begin():
                pass
        await api.dispose()


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("sslmode=verify-full&sslrootcert=/nonexistent", "sslrootcert"),
        ("sslmode=verify-ca&sslcrl=/nonexistent", "sslcrl"),
        ("sslcert=/nonexistent", "sslcert"),
        ("sslmode=require&sslcert=/dev/null&sslkey=/nonexistent", "sslkey"),
    ],
)
def test_a_file_that_a_driver_can_not_read_is_named_at_the_start(
    query: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in [name for name in os.environ if name.startswith("HEAVYLIFT_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HEAVYLIFT_DATABASE_URL", f"postgresql://u@h/db?{query}")
    load_settings.cache_clear()
    with pytest.raises(ConfigurationError, match=f"_DATABASE_URL: can't read {name}, /nonexist"):
        load_settings(("database",))


@pytest.mark.parametrize(
    "query",
    ["sslrootcert=system", "sslmode=disable&sslcert=/nonexistent", "sslrootcert=/nonexistent"],
)
def test_a_file_that_no_driver_reads_is_not_required(query: str) -> None:
    Database.model_validate({"url": f"postgresql://u@h/db?{query}"}).require_files()


def test_the_systems_authorities_leave_the_other_tls_options_in_force() -> None:
    query = "sslrootcert=system&sslnegotiation=direct&ssl_min_protocol_version=TLSv1.3"
    arguments = for_asyncpg(parse(f"postgresql://u@h/db?{query}"))
    assert arguments["dsn"] == "postgresql://?sslnegotiation=direct"
    assert arguments["ssl"].minimum_version is ssl.TLSVersion.TLSv1_3
    assert arguments["ssl"].check_hostname


@pytest.fixture
def odd(settings: Settings) -> Iterator[Database]:
    """As a role and in a database whose names hold what URLs and SQL have a meaning for."""
    options = parse(settings.database.url.get_secret_value())
    name = f"{ODD} {uuid4().hex[:8]}"
    quoted = '"' + name + '"'
    with psycopg.connect(make_conninfo(**options), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {quoted} LOGIN")
        connection.execute(f"CREATE DATABASE {quoted} OWNER {quoted}")
        url = render({**options, "user": name, "password": ODD, "dbname": name})
        yield Database.model_validate({"url": url})
        connection.execute(f"DROP DATABASE {quoted} WITH (FORCE)")
        connection.execute(f"DROP ROLE {quoted}")


WHO_AND_WHERE = text("SELECT current_user || '|' || current_database()")


async def test_odd_names_reach_the_server_from_both_drivers(odd: Database) -> None:
    options = parse(odd.url.get_secret_value())
    expected = f"{options['user']}|{options['dbname']}"
    worker, api = sync_engine(odd), async_engine(odd)
    with worker.begin() as connection:
        assert connection.execute(WHO_AND_WHERE).scalar_one() == expected
    async with api.begin() as async_connection:
        assert await async_connection.scalar(WHO_AND_WHERE) == expected
    worker.dispose()
    await api.dispose()


# --- several hosts --------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_host_that_refuses_or_says_nothing_is_passed_by(settings: Settings) -> None:
    options = parse(settings.database.url.get_secret_value())
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as refusing:
        # Bound, and nobody listens.
        refusing.bind(("127.0.0.1", 0))
        hosts = ",".join(["127.0.0.1", "127.0.0.1", options["host"]])
        ports = f"{refusing.getsockname()[1]},{silent.getsockname()[1]},5432"
        url = render(
            {
                **options,
                "host": hosts,
                "port": ports,
                "target_session_attrs": "read-write",
                "connect_timeout": "2",
            }
        )
        database = Database.model_validate({"url": url})
        worker, api = sync_engine(database), async_engine(database)
        with worker.begin() as connection:
            assert connection.execute(text("SELECT 1")).scalar_one() == 1
        async with api.begin() as async_connection:
            assert await async_connection.scalar(text("SELECT 1")) == 1
        worker.dispose()
        await api.dispose()


async def test_without_a_host_that_takes_writes_both_drivers_say_so(
    settings: Settings, engine: Engine
) -> None:
    options = parse(settings.database.url.get_secret_value())
    role = f"reader_{uuid4().hex[:8]}"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))
        connection.execute(text(f"ALTER ROLE {role} SET default_transaction_read_only = on"))
    two = {"user": role, "host": f"{options['host']},{options['host']}"}
    url = render({**options, **two, "target_session_attrs": "read-write"})
    database = Database.model_validate({"url": url})
    worker, api = sync_engine(database), async_engine(database)
    with pytest.raises(DBAPIError) as refused, worker.begin():
        pass
    assert fault(refused.value) is Fault.UNAVAILABLE
    with pytest.raises(ConnectionError, match="target attribute requirement"):
        async with api.begin():
            pass
    await api.dispose()
    with engine.begin() as connection:
        connection.execute(text(f"DROP ROLE {role}"))
