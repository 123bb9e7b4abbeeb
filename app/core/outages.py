"""Classifies the errors of PostgreSQL and of both drivers by their meaning for the failed work.

The SQLSTATE decides if there is one. SQLAlchemy's classes do not: its `OperationalError` stands for
a server that shuts down and for a value that is too large, and most of asyncpg's errors have no
specific class.
"""

import re
from enum import Enum

import asyncpg
import psycopg
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeout


class Fault(Enum):
    UNAVAILABLE = "unavailable"
    """This connection can't do it: the server is down, read-only, full or starting. A new
    connection may reach a server that can."""
    BUSY = "busy"
    """The server works, and gave way to another transaction or to a limit: try again."""
    UNSTORABLE = "unstorable"
    """A value that no server will ever take."""
    BUG = "bug"
    """Anything else: the statement, the schema or the driver is wrong."""


# https://www.postgresql.org/docs/current/errcodes-appendix.html; the longest prefix decides.
BY_SQLSTATE = {
    "08": Fault.UNAVAILABLE,  # the connection broke, or a pooler has no server for it
    "22": Fault.UNSTORABLE,  # a value is out of range, or not valid text or JSON
    "23": Fault.UNSTORABLE,  # a constraint refuses the row
    "25006": Fault.UNAVAILABLE,  # read-only: a standby, or a primary that was fenced
    "25P03": Fault.UNAVAILABLE,  # the session idled in a transaction, and was ended
    "25P04": Fault.UNAVAILABLE,  # the transaction took too long, and its session was ended
    "28": Fault.UNAVAILABLE,  # a password that changes, a role that is not there yet
    "3D": Fault.UNAVAILABLE,  # the database is not there: it is being restored
    "40": Fault.BUSY,  # a deadlock, or a serialization failure
    "53": Fault.UNAVAILABLE,  # out of disk, memory or connections
    "54": Fault.UNSTORABLE,  # a program limit: too large, too deep
    "55000": Fault.UNAVAILABLE,  # the database accepts no connections
    "55006": Fault.BUSY,  # the object is in use
    "55P03": Fault.BUSY,  # a lock was not available in time
    "57": Fault.UNAVAILABLE,  # shutdown, crash, start, an idle session that was ended
    "57014": Fault.BUSY,  # cancelled: by a timeout, or by a person
    "58": Fault.UNAVAILABLE,  # the server's disk or operating system failed
}

# SQLSTATEs that mean an outage only with these messages.
BY_MESSAGE = {
    # A transaction begun as read write on a standby.
    "0A000": re.compile("during recovery"),
    # Supavisor without a free connection: "MaxClientsInSessionMode: max clients reached".
    "XX000": re.compile("max clients|max client connections reached", re.IGNORECASE),
}

# Without a SQLSTATE: a value that the driver can't even send.
UNSENDABLE = (psycopg.DataError, UnicodeError)

# Without a SQLSTATE: no connection, or one that can't be used any more.
DISCONNECTED = (
    OSError,
    PoolTimeout,
    asyncpg.InternalClientError,
    asyncpg.exceptions.ClientConfigurationError,
    psycopg.OperationalError,
)
# SQLAlchemy's pool, whose listeners refused a connection and then the one made in its place.
CHECKED_OUT_CLOSED = "This connection is closed"

# These are misuse of the driver, unless they say that the connection is closed.
MISUSE = (asyncpg.InterfaceError, psycopg.InterfaceError)


def _cause(error: DBAPIError) -> BaseException:
    """The driver's error: SQLAlchemy wraps asyncpg's in another one."""
    wrapped = error.orig or error
    return wrapped if isinstance(wrapped, psycopg.Error) else wrapped.__cause__ or wrapped


def sqlstate(error: BaseException) -> str | None:
    state: str | None = getattr(getattr(error, "orig", error), "sqlstate", None)
    return state


def fault(error: BaseException) -> Fault:
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return Fault.UNAVAILABLE
        error = _cause(error)
    state = sqlstate(error)
    if state is not None:
        if state in BY_MESSAGE and BY_MESSAGE[state].search(str(error)):
            return Fault.UNAVAILABLE
        prefixes = (state[:length] for length in (5, 2))
        return next((BY_SQLSTATE[p] for p in prefixes if p in BY_SQLSTATE), Fault.BUG)
    if isinstance(error, UNSENDABLE):
        return Fault.UNSTORABLE
    closed = isinstance(error, MISUSE) and "closed" in str(error)
    if type(error) is InvalidRequestError:
        closed = str(error) == CHECKED_OUT_CLOSED
    return Fault.UNAVAILABLE if closed or isinstance(error, DISCONNECTED) else Fault.BUG


def is_outage(error: BaseException) -> bool:
    """Whether the same work may succeed later, on this server or on another."""
    return fault(error) in (Fault.UNAVAILABLE, Fault.BUSY)


def reason(error: BaseException) -> str:
    """The message of the server or the driver, in one line."""
    said = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return " ".join(str(said).split()) or type(said).__name__
