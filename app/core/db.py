"""Engines. All of them work behind PgBouncer in transaction mode.

No error shows its statement's parameters: hashes of passwords and users' input never reach a log.

A role or a database may have defaults of its own: another isolation level, a date style, timeouts.
No transaction depends on them: the message that begins it sets what it needs, which costs no round
trip and ends with the transaction. (PgBouncer refuses start-up parameters, and passes the effect of
a `SET` on to its next client.) Results come in PostgreSQL's binary format, without a date style.

A process that is frozen, or a node that vanishes, in the middle of a transaction would keep its
row locks until TCP gives the session up, hours later: PostgreSQL ends each session that has idled
in a transaction for `IDLE_IN_TRANSACTION`.
"""

import logging
import select
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Self

import asyncpg
import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import Format
from sqlalchemy import (
    URL,
    AsyncAdaptedQueuePool,
    Connection,
    Engine,
    NullPool,
    PoolProxiedConnection,
    create_engine,
    event,
    text,
)
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from typing_extensions import override

from app.core import database_url
from app.core.breaker import Breaker, DatabaseAway
from app.core.config import Database
from app.core.database_url import Options
from app.core.outages import Fault, fault

# Seconds. Our transactions wait for nothing but the database: a third of a lease is long.
IDLE_IN_TRANSACTION = 10

# Seconds that one statement of a worker or a controller may take. Each needs less than one second;
# a cancelled one is tried again.
STATEMENT_TIMEOUT = 60

# Seconds for a new connection of a worker or a controller, for each host.
CONNECT_TIMEOUT = 5

# A peer that vanished silently is noticed within some 20 s.
KEEPALIVES = {
    "keepalives_idle": "5",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}


# --- what a transaction needs ---------------------------------------------------------------------

# The sources of a setting that ALTER ROLE or ALTER DATABASE made.
DEFAULT_OF_A_ROLE = "source IN ('global', 'database', 'user', 'database user')"

# One row if sessions are read-only only by the default of their role or database, which a
# transaction may override. A server that is read-only as a whole is fenced or full: it stays so.
READ_ONLY_BY_DEFAULT = f"""
    SELECT true FROM pg_settings
    WHERE name = 'default_transaction_read_only' AND setting = 'on' AND {DEFAULT_OF_A_ROLE}
      AND NOT pg_is_in_recovery()
"""  # noqa: S608

# One row if the server takes no writes.
TAKES_NO_WRITES = f"""
    SELECT FROM pg_settings
    WHERE name = 'default_transaction_read_only'
      AND (pg_is_in_recovery() OR setting = 'on' AND NOT {DEFAULT_OF_A_ROLE})
"""


def takes_writes(connection: Connection) -> bool:
    """Whether the server of this transaction takes writes."""
    return bool(connection.execute(text("SHOW transaction_read_only")).scalar_one() == "off")


def _milliseconds(seconds: float) -> int:
    # 0 would be no limit.
    return max(1, round(seconds * 1000))


def _begin(
    *,
    server_version: int,
    read_write: bool,
    statement_timeout: float,
    lock_timeout: float | None = None,
) -> str:
    """The message that begins a transaction. Each `SET LOCAL` takes some 2 us of the server."""
    settings = {
        "idle_in_transaction_session_timeout": _milliseconds(IDLE_IN_TRANSACTION),
        "statement_timeout": _milliseconds(statement_timeout),
        "lock_timeout": 0 if lock_timeout is None else _milliseconds(lock_timeout),
        # It compiles a statement of a high estimated cost each time: 842 ms for one of 0.2 ms.
        "jit": "off",
    }
    if server_version >= 17:
        settings["transaction_timeout"] = 0
    mode = "ISOLATION LEVEL READ COMMITTED" + (", READ WRITE" if read_write else "")
    return " ".join(
        [f"BEGIN {mode};", *(f"SET LOCAL {name} = {value};" for name, value in settings.items())]
    )


# --- connections ----------------------------------------------------------------------------------


def _options(database: Database, *, direct: bool = False) -> Options:
    """The current options: the URL may be in a file that changes."""
    secret = (database.direct_url or database.url) if direct else database.url
    return database_url.parse(secret.get_secret_value())


def _shown(database: Database, driver: str) -> URL:
    """The URL that names an engine and its spans; connections are made elsewhere."""
    return URL.create(f"postgresql+{driver}", database=_options(database).get("dbname"))


# Errors after which the next host is tried, as libpq does.
NEXT_HOST = (
    OSError,
    asyncpg.CannotConnectNowError,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.exceptions.TargetServerAttributeNotMatched,
)


def certificate(connection: asyncpg.Connection) -> Mapping[str, Any] | None:
    """The server's, as `ssl.SSLSocket.getpeercert` returns it; asyncpg has no public way to it.

    Empty where it was not verified, None without TLS.
    """
    found: Mapping[str, Any] | None = connection._transport.get_extra_info("peercert")
    return found


async def connect(database: Database, *, within: float, **arguments: Any) -> asyncpg.Connection:
    """Open a connection of the driver outside of any pool; `within` is in seconds.

    asyncpg's own search through several hosts has one timeout for all of them: a first one that
    does not answer would use it up. Raises the driver's error, or `ConnectionError` with the
    errors of several hosts.
    """
    options = _options(database)
    hosts = database_url.hosts(options)
    patience = float(options.get("connect_timeout", 0)) or within / len(hosts)
    refusals = []
    for host, port in hosts:
        try:
            return await asyncpg.connect(
                host=host,
                port=port,
                timeout=patience,
                statement_cache_size=0,
                **database_url.for_asyncpg(options),
                **arguments,
            )
        except NEXT_HOST as error:
            if len(hosts) == 1:
                raise
            refusals.append(f"{host}:{port}: {error or type(error).__name__}")
    raise ConnectionError("; ".join(refusals))


class _AsyncpgConnection(asyncpg.Connection):  # type: ignore[misc]
    """Begins a transaction with `begin` where asyncpg executes `BEGIN;`."""

    begin: str

    async def execute(self, query: str, *args: Any, **options: Any) -> str:
        begins = query.startswith("BEGIN")
        try:
            status: str = await super().execute(self.begin if begins else query, *args, **options)
        except BaseException:
            if begins:
                # asyncpg would treat the next transaction as nested in this one.
                self.terminate()
            raise
        return status


async def _open_asyncpg(database: Database) -> _AsyncpgConnection:
    connection: _AsyncpgConnection = await connect(
        database,
        within=database.pool_timeout,
        connection_class=_AsyncpgConnection,
        command_timeout=database.statement_timeout,
    )

    def begin(*, read_write: bool) -> str:
        return _begin(
            server_version=connection.get_server_version().major,
            read_write=read_write,
            statement_timeout=database.statement_timeout,
        )

    connection.begin = begin(read_write=False)
    if getattr(connection.get_settings(), "default_transaction_read_only", "off") == "on":
        async with connection.transaction():
            by_default = await connection.fetchval(READ_ONLY_BY_DEFAULT)
        connection.begin = begin(read_write=bool(by_default))
    return connection


class _BinaryCursor(psycopg.Cursor[Any]):
    """Returns results in the binary format, which no setting of the session changes.

    With `params=None` a query may be several statements: those have results in text only.
    """

    @override
    def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        self.format = Format.TEXT if params is None else Format.BINARY
        return super().execute(query, params, **options)


class _PsycopgConnection(psycopg.Connection[Any]):
    begin: str


def _conninfo(options: Options, defaults: Options = MappingProxyType({})) -> str:
    patience = {"connect_timeout": str(CONNECT_TIMEOUT)}
    # Else the database's or the role's encoding applies, and with SQL_ASCII text comes as bytes.
    return make_conninfo(**{**patience, **defaults, **options, "client_encoding": "utf8"})


def _open_psycopg(database: Database, lock_timeout: float | None) -> _PsycopgConnection:
    connection = _PsycopgConnection.connect(
        _conninfo(_options(database), KEEPALIVES),
        # psycopg's own BEGIN can't carry other statements: `sync_engine` sends `begin` instead.
        autocommit=True,
        prepare_threshold=None,
        cursor_factory=_BinaryCursor,
    )
    read_write = False
    if connection.info.parameter_status("default_transaction_read_only") == "on":
        read_write = connection.execute(READ_ONLY_BY_DEFAULT).fetchone() is not None
    connection.begin = _begin(
        server_version=connection.info.server_version // 10000,
        read_write=read_write,
        statement_timeout=STATEMENT_TIMEOUT,
        lock_timeout=lock_timeout,
    )
    return connection


def _drop_after_outages(engine: Engine) -> None:
    """Drop a connection after an outage: a new one may reach another server."""

    @event.listens_for(engine, "handle_error")
    def failed(context: ExceptionContext) -> None:
        if not context.is_disconnect and fault(context.original_exception) is Fault.UNAVAILABLE:
            context.is_disconnect = True
            # Other connections find out by themselves; they can still read on a read-only server.
            context.invalidate_pool_on_disconnect = False


# --- pools ----------------------------------------------------------------------------------------

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
            # A few may wait: a node on which pods start brings such a moment.
            full = self.checkedout() >= self.size()
            self.breaker.check(waits=full and self.pending >= self.size() // 3)
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

    @event.listens_for(engine.sync_engine, "handle_error")
    def failed(context: ExceptionContext) -> None:
        if context.is_disconnect:
            breaker.suspected = True

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
    engine = create_async_engine(
        _shown(database, "asyncpg"),
        poolclass=GuardedPool,
        pool_size=database.pool_size,
        max_overflow=0,
        pool_timeout=database.pool_timeout,
        pool_recycle=1800,
        hide_parameters=True,
        connect_args={
            "async_creator_fn": lambda **_: _open_asyncpg(database),
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": lambda: "",
        },
    )
    _drop_after_outages(engine.sync_engine)
    if breaker is not None:
        _guard(engine, breaker)
    return engine


def sync_engine(
    database: Database, *, connections: int = 1, lock_timeout: float | None = None
) -> Engine:
    """A worker's or a controller's engine: exactly `connections`, for as many threads.

    With a `lock_timeout` (seconds), a statement that waits longer for a lock fails as if the
    database were unavailable.
    """
    engine = create_engine(
        _shown(database, "psycopg"),
        creator=partial(_open_psycopg, database, lock_timeout),
        pool_size=connections,
        max_overflow=0,
        pool_pre_ping=False,
        hide_parameters=True,
    )
    _drop_after_outages(engine)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        driver = connection.connection.driver_connection
        assert isinstance(driver, _PsycopgConnection)  # noqa: S101
        # With parameters it would be prepared, and a prepared statement can't be several.
        connection.exec_driver_sql(driver.begin, execution_options={"no_parameters": True})

    @event.listens_for(engine, "checkout")
    def taken(connection: Any, _: object, __: object) -> None:
        # Unread bytes in an idle session mostly mean that the server has ended it (a restart, an
        # idle timeout). This check needs no round trip.
        if connection.closed or _has_news(connection):
            raise DisconnectionError

    return engine


def _has_news(connection: psycopg.Connection[Any]) -> bool:
    poller = select.poll()
    poller.register(connection.fileno(), select.POLLIN)
    return bool(poller.poll(0))


def direct_engine(database: Database) -> Engine:
    """For migrations: past a pooler, one connection, closed when returned."""

    def open_psycopg() -> psycopg.Connection[Any]:
        return psycopg.connect(_conninfo(_options(database, direct=True)))

    return create_engine(
        _shown(database, "psycopg"),
        creator=open_psycopg,
        poolclass=NullPool,
        hide_parameters=True,
    )
