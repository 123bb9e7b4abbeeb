import sys
from typing import Annotated

import typer
from alembic.util import CommandError
from psycopg.errors import LockNotAvailable
from sqlalchemy.exc import OperationalError

from app.core.config import ConfigurationError, load_settings
from app.migrations import LOCK_TIMEOUT, upgrade


def migrate(
    revision: Annotated[str, typer.Option(help="Migrate up to this one.")] = "head",
) -> None:
    """Apply the migrations that are missing. Exit code 1: run it again later."""
    settings = load_settings(used=("database",))
    try:
        upgrade(settings.database, revision)
    except CommandError as error:
        raise ConfigurationError(str(error)) from None
    except OperationalError as error:
        if isinstance(error.orig, LockNotAvailable):
            reason = f"a lock was not to be had within {LOCK_TIMEOUT}, so nothing was changed"
        else:
            reason = f"can't reach the database: {' '.join(str(error.orig).split())}"
        print(f"heavylift: {reason}", file=sys.stderr)  # noqa: T201
        raise typer.Exit(1) from None
    typer.echo(f"migrated to {revision}")
