import sys
import time
from typing import Annotated

import typer
from alembic.util import CommandError
from psycopg.errors import LockNotAvailable
from sqlalchemy.exc import DBAPIError

from app.core.config import ConfigurationError, Database, load_settings
from app.core.outages import is_outage, reason
from app.core.revisions import read_revisions
from app.migrations import LOCK_TIMEOUT, WrongEncoding, current, upgrade

# Seconds between two attempts.
AGAIN_AFTER = 1.0


def migrate(
    revision: Annotated[str, typer.Option(help="Migrate up to this one.")] = "head",
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds for a database that is away, or a lock.")
    ] = 0,
) -> None:
    """Apply the migrations that are missing. Exit code 1: run it again later.

    A database that is ahead of this version, as after a rollback, is left as it is.
    """
    settings = load_settings(used=("database",))
    deadline = time.monotonic() + wait
    try:
        while (reason := try_to_migrate(settings.database, revision)) is not None:
            if time.monotonic() + AGAIN_AFTER > deadline:
                print(f"heavylift: {reason}", file=sys.stderr)  # noqa: T201
                raise typer.Exit(1)
            time.sleep(AGAIN_AFTER)
    except (CommandError, WrongEncoding) as error:
        raise ConfigurationError(str(error)) from None


def try_to_migrate(database: Database, revision: str) -> str | None:
    """Why it is to be tried again; None when it is done. Raises `CommandError`, `WrongEncoding`."""
    revisions = read_revisions()
    try:
        there = current(database)
        if there is not None and there not in revisions.known:
            typer.echo(f"the database is at {there}, ahead of {revisions.head}: nothing to do")
            return None
        upgrade(database, revision)
    except DBAPIError as error:
        if isinstance(error.orig, LockNotAvailable):
            return f"a lock was not to be had within {LOCK_TIMEOUT}, so nothing was changed"
        if not is_outage(error):
            raise
        return f"can't reach the database: {reason(error)}"
    typer.echo(f"migrated to {revision}")
    return None
