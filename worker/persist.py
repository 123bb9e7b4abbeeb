"""Writes that must get through, however long the database is away."""

import time
from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

log = structlog.get_logger()

Answer = TypeVar("Answer")

# Seconds between tries.
DELAYS = (0.1, 0.2, 0.5, 1.0, 2.0)


def is_outage(error: DBAPIError) -> bool:
    """Whether the database is away, rather than the statement wrong."""
    return isinstance(error, (OperationalError, InterfaceError)) or error.connection_invalidated


def persist(engine: Engine, statement: Callable[[Connection], Answer]) -> Answer:
    """Run a statement in a transaction until the database takes it, however long it is away."""
    failures = 0
    while True:
        try:
            with engine.begin() as connection:
                return statement(connection)
        except DBAPIError as error:
            if not is_outage(error):
                raise
            problem = str(error.orig)
        except PoolTimeout as error:
            problem = str(error)
        if failures % 10 == 0:
            log.warning("the ledger is away, waiting for it", error=problem)
        time.sleep(DELAYS[min(failures, len(DELAYS) - 1)])
        failures += 1
