"""Engines. All of them work behind PgBouncer in transaction mode."""

from sqlalchemy import URL, Engine, NullPool, create_engine, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.core.config import Database


def _url(database: Database, driver: str, *, direct: bool = False) -> URL:
    secret = (database.direct_url or database.url) if direct else database.url
    return make_url(secret.get_secret_value()).set(drivername=f"postgresql+{driver}")


def async_engine(database: Database) -> AsyncEngine:
    """The API's engine: `pool_size` connections, no more.

    Statements are unnamed and nothing is cached on the server, so that a pooler may hand each
    transaction to another server (measured with PgBouncer 1.18: named ones fail on most calls).
    """
    return create_async_engine(
        _url(database, "asyncpg"),
        pool_size=database.pool_size,
        max_overflow=0,
        pool_timeout=database.pool_timeout,
        pool_recycle=1800,
        connect_args={
            "statement_cache_size": 0,
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": lambda: "",
            "timeout": database.pool_timeout,
            "command_timeout": database.statement_timeout,
        },
    )


def sync_engine(database: Database, *, connections: int = 1) -> Engine:
    """A worker's or a controller's engine: exactly `connections`, for as many threads."""
    return create_engine(
        _url(database, "psycopg"),
        pool_size=connections,
        max_overflow=0,
        pool_pre_ping=False,
        connect_args={
            "prepare_threshold": None,
            "connect_timeout": 5,
            # A peer that vanished without a word is noticed within some 20 s.
            "keepalives_idle": 5,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,
        },
    )


def direct_engine(database: Database) -> Engine:
    """For migrations: past a pooler, one connection, closed when returned."""
    url = _url(database, "psycopg", direct=True)
    return create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": 5})
