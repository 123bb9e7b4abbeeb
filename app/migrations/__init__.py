"""Alembic migrations, run by `heavylift migrate`."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Engine

from app.core.config import Database
from app.core.db import direct_engine

# A migration waits this long for a lock, then gives way: a queue behind it would stop everyone.
LOCK_TIMEOUT = "5s"

# No statement holds the locks it got for longer; what needs more is done in batches.
STATEMENT_TIMEOUT = "60s"


class WrongEncoding(Exception):
    """One line: what the database has."""


def configuration(engine: Engine) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["engine"] = engine
    return config


def upgrade(database: Database, revision: str = "head") -> None:
    """Migrate. Raises `sqlalchemy.exc.DBAPIError` if a lock was not available; run it again."""
    command.upgrade(configuration(direct_engine(database)), revision)


def current(database: Database) -> str | None:
    """The schema's revision. Raises `sqlalchemy.exc.DBAPIError` and `WrongEncoding`."""
    with direct_engine(database).connect() as connection:
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
        if encoding != "UTF8":
            raise WrongEncoding(f"the database's encoding is {encoding}: it has to be UTF8")
        revision: str | None = MigrationContext.configure(connection).get_current_revision()
        return revision


def downgrade(database: Database, revision: str) -> None:
    command.downgrade(configuration(direct_engine(database)), revision)
