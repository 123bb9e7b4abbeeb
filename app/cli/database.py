"""What commands that go to the database themselves say where they can't."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import ProgrammingError, SQLAlchemyError

from app.core.config import ConfigurationError


@contextmanager
def reached() -> Iterator[None]:
    """Raises `ConfigurationError`, one line, for whatever keeps a statement from its answer."""
    try:
        yield
    except ProgrammingError:
        raise ConfigurationError(
            "the database is not up to date: run `heavylift migrate` first"
        ) from None
    except (SQLAlchemyError, OSError) as error:
        reason = getattr(error, "orig", None) or error
        raise ConfigurationError(f"can't reach the database: {reason}") from None
