"""Engines. All of them work behind PgBouncer in transaction mode.

None tells an error its statement's parameters: hashes of passwords and people's input are no log's.

A process that is frozen, or a node that vanishes, in the middle of a transaction would keep its
row locks until TCP gives the session up, hours later. PostgreSQL ends such a session once it has
been idle for `IDLE_IN_TRANSACTION`, and every transaction says so in the message that begins it:
no round trip more (measured: some 5 us of the server's time, and 40 us of a worker's for each
transaction), and nothing that outlives the transaction. A start-up parameter is what PgBouncer
refuses; a setting of the role or the database is what a dump leaves out, a managed server may not
allow, and other applications in the same database would get too.
"""

from typing import Any

import asyncpg
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.core.config import Database

# Seconds. Our transactions wait for nothing but the database: a third of a lease is long.
IDLE_IN_TRANSACTION = 10


def _url(database: Database, driver: str, *, direct: bool = False) -> URL:
    secret = (database.direct_url or database.url) if direct else database.url
    return make_url(secret.get_secret_value()).set(drivername=f"postgresql+{driver}")


def _without_options(url: URL) -> tuple[URL, str]:
    """The URL, and a DSN that has what else was in its query: `sslmode` and the like.

    SQLAlchemy hands those on as arguments. psycopg takes them all, asyncpg only in a DSN.
    """
    options = {name: value for name, value in url.query.items() if name not in ("host", "port")}
    dsn = URL.create("postgresql", query=options).render_as_string(hide_password=False)
    return url.difference_update_query(options), dsn


def _set_local(name: str, seconds: float) -> str:
    return f"SET LOCAL {name} = {round(seconds * 1000)};"


IDLE_LIMIT = _set_local("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION)


class _AsyncpgConnection(asyncpg.Connection):  # type: ignore[misc]
    """asyncpg begins a transaction by executing `BEGIN;` here: the limit goes with it."""

    async def execute(self, query: str, *args: Any, **options: Any) -> str:
        if query.startswith("BEGIN"):
            query = f"{query} {IDLE_LIMIT}"
        status: str = await super().execute(query, *args, **options)
        return status


def async_engine(database: Database) -> AsyncEngine:
    """The API's engine: `pool_size` connections, no more.

    Statements are unnamed and nothing is cached on the server, so that a pooler may hand each
    transaction to another server (measured with PgBouncer 1.18: named ones fail on most calls).
    """
    url, dsn = _without_options(_url(database, "asyncpg"))
    return create_async_engine(
        url,
        pool_size=database.pool_size,
        max_overflow=0,
        pool_timeout=database.pool_timeout,
        pool_recycle=1800,
        hide_parameters=True,
        connect_args={
            "dsn": dsn,
            "connection_class": _AsyncpgConnection,
            "statement_cache_size": 0,
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": lambda: "",
            "timeout": database.pool_timeout,
            "command_timeout": database.statement_timeout,
        },
    )


def sync_engine(
    database: Database, *, connections: int = 1, lock_timeout: float | None = None
) -> Engine:
    """A worker's or a controller's engine: exactly `connections`, for as many threads.

    With a `lock_timeout` (seconds), what waits longer for a lock fails as if the database were
    away.
    """
    engine = create_engine(
        _url(database, "psycopg"),
        pool_size=connections,
        max_overflow=0,
        pool_pre_ping=False,
        hide_parameters=True,
        connect_args={
            # psycopg's own BEGIN takes no other statement with it: `begin` below sends ours.
            "autocommit": True,
            "prepare_threshold": None,
            "connect_timeout": 5,
            # A peer that vanished without a word is noticed within some 20 s.
            "keepalives_idle": 5,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,
        },
    )
    start = f"BEGIN; {IDLE_LIMIT}"
    if lock_timeout is not None:
        start += _set_local("lock_timeout", lock_timeout)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # With parameters, even none, it would be a prepared statement, which is only one.
        connection.exec_driver_sql(start, execution_options={"no_parameters": True})

    return engine


def direct_engine(database: Database) -> Engine:
    """For migrations: past a pooler, one connection, closed when returned."""
    url = _url(database, "psycopg", direct=True)
    return create_engine(
        url, poolclass=NullPool, hide_parameters=True, connect_args={"connect_timeout": 5}
    )
