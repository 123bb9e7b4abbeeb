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

import logging
from collections.abc import Callable
from typing import Any

import asyncpg
from sqlalchemy import (
    URL,
    AsyncAdaptedQueuePool,
    Connection,
    Dialect,
    Engine,
    NullPool,
    PoolProxiedConnection,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from typing_extensions import override

from app.core.breaker import Breaker, DatabaseAway
from app.core.config import Database

# Seconds. Our transactions wait for nothing but the database: a third of a lease is long.
IDLE_IN_TRANSACTION = 10


def _url(database: Database, driver: str, *, direct: bool = False) -> URL:
    secret = (database.direct_url or database.url) if direct else database.url
    return make_url(secret.get_secret_value()).set(drivername=f"postgresql+{driver}")


def _follow(engine: Engine, url: Callable[[], tuple[URL, dict[str, Any]]]) -> None:
    """Each connection of the engine is made with the URL of that moment."""

    @event.listens_for(engine, "do_connect")
    def as_it_is_now(dialect: Dialect, _: object, __: object, parameters: dict[str, Any]) -> None:
        now, others = url()
        _, arguments = dialect.create_connect_args(now)
        for name in ("host", "port", "user", "password", "database", "dbname"):
            parameters.pop(name, None)
        parameters.update(arguments, **others)


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


# As SQLAlchemy's own pools, whose loggers are below its own: they tell of each connection.
logging.getLogger(f"{__name__}.GuardedPool").setLevel(logging.WARNING)


class GuardedPool(AsyncAdaptedQueuePool):
    """A pool that counts who waits, and asks the breaker first, where it has one."""

    breaker: Breaker | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pending = 0
        """Requests that want a connection and have none yet."""
        self.timeouts = 0

    @override
    def connect(self) -> PoolProxiedConnection:
        if self.breaker is not None:
            self.breaker.check()
        self.pending += 1
        try:
            return super().connect()
        except DatabaseAway:
            raise
        except PoolTimeout:
            self.timeouts += 1
            raise
        except Exception:
            if self.breaker is not None:
                self.breaker.suspected = True
            raise
        finally:
            self.pending -= 1


def pool_of(engine: AsyncEngine) -> GuardedPool:
    pool = engine.pool
    assert isinstance(pool, GuardedPool)  # noqa: S101
    return pool


def _guard(engine: AsyncEngine, breaker: Breaker) -> None:
    pool = pool_of(engine)
    pool.breaker = breaker

    @event.listens_for(engine.sync_engine, "do_connect")
    def before_connect(*_: object) -> None:
        # Who waited for another's connection, and finds that it has to make one.
        breaker.check()

    @event.listens_for(pool, "connect")
    def connected(_: object, record: Any) -> None:
        record.info["epoch"] = breaker.epoch

    @event.listens_for(pool, "checkout")
    def taken(connection: Any, record: Any, _: object) -> None:
        driver = connection.driver_connection
        # A server that restarted has closed it, and a network that was down may have lost it: no
        # round trip says so (`pool_pre_ping` takes 190 us of each request).
        if driver.is_closed() or record.info.get("epoch") != breaker.epoch:
            raise DisconnectionError
        breaker.taken(record, driver)

    @event.listens_for(pool, "checkin")
    def given_back(connection: Any, record: Any) -> None:
        breaker.given_back(record, unharmed=connection is not None)


def async_engine(database: Database, breaker: Breaker | None = None) -> AsyncEngine:
    """The API's engine: `pool_size` connections, no more.

    Statements are unnamed and nothing is cached on the server, so that a pooler may hand each
    transaction to another server (measured with PgBouncer 1.18: named ones fail on most calls).
    """
    url, dsn = _without_options(_url(database, "asyncpg"))
    engine = create_async_engine(
        url,
        poolclass=GuardedPool,
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

    def now() -> tuple[URL, dict[str, Any]]:
        url, dsn = _without_options(_url(database, "asyncpg"))
        return url, {"dsn": dsn}

    _follow(engine.sync_engine, now)
    if breaker is not None:
        _guard(engine, breaker)
    return engine


async def connect(database: Database, *, within: float) -> asyncpg.Connection:
    """One connection of the driver's own, outside of any pool; `within` is in seconds."""
    url, dsn = _without_options(_url(database, "asyncpg"))
    _, options = url.get_dialect()().create_connect_args(url)
    return await asyncpg.connect(dsn=dsn, timeout=within, statement_cache_size=0, **options)


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
    _follow(engine, lambda: (_url(database, "psycopg"), {}))
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
    return create_engine(
        _url(database, "psycopg", direct=True),
        poolclass=NullPool,
        hide_parameters=True,
        # By default the database's own: of one that has none, every text would be bytes.
        connect_args={"connect_timeout": 5, "client_encoding": "utf8"},
    )
