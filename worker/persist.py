"""Writes that must get through, however long the database is unavailable."""

import time
from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from app.core.outages import is_outage, reason

log = structlog.get_logger()

Answer = TypeVar("Answer")

# Seconds between tries.
DELAYS = (0.1, 0.2, 0.5, 1.0, 2.0)


def persist(engine: Engine, statement: Callable[[Connection], Answer]) -> Answer:
    """Run a statement in a transaction, and retry it through outages of any length.

    Raises errors that are not outages: a value that can't be stored, or a wrong statement.
    """
    failures = 0
    while True:
        try:
            with engine.begin() as connection:
                return statement(connection)
        except SQLAlchemyError as error:
            if not is_outage(error):
                raise
            if failures % 10 == 0:
                log.warning("the ledger is unavailable, waiting for it", error=reason(error))
        time.sleep(DELAYS[min(failures, len(DELAYS) - 1)])
        failures += 1
