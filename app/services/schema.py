"""Workers and controllers begin when the schema that they need is there."""

import time
from collections.abc import Callable

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from app.core.config import Database
from app.core.db import sync_engine
from app.core.outages import is_outage, reason
from app.core.revisions import read_revisions

log = structlog.get_logger(__name__)

# Seconds between two looks.
EVERY = 1.0


def wait_for_schema(
    database: Database, *, waiting: Callable[[str], None], stopped: Callable[[], bool]
) -> bool:
    """Return when it is there; False when `stopped` before. `waiting` is told why, again and again.

    Once it is there nobody asks any more: what a database that comes back lacks is no schema.
    """
    revisions = read_revisions()
    engine = sync_engine(database)
    said = None
    try:
        while not stopped():
            try:
                with engine.begin() as connection:
                    version = text("SELECT version_num FROM alembic_version")
                    why = revisions.fault(connection.execute(version).scalar())
            except ProgrammingError:
                why = revisions.fault(None)
            except DBAPIError as error:
                unreached = "can't reach the database: " if is_outage(error) else ""
                why = f"{unreached}{reason(error)}"
            if why is None:
                return True
            if why != said:
                log.warning("waiting for the schema", reason=why)
                said = why
            waiting(why)
            time.sleep(EVERY)
        return False
    finally:
        engine.dispose()
