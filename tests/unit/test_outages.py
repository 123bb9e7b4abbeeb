"""What an error of either driver means, with a SQLSTATE and without."""

import asyncpg
import psycopg
import pytest
from psycopg.errors import lookup
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import DBAPIError, InvalidRequestError, ResourceClosedError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.core.breaker import DatabaseAway
from app.core.outages import Fault, fault

STATES = {
    Fault.UNAVAILABLE: [
        "08000", "08003", "08006", "08P01", "25006", "25P03", "25P04", "28000", "28P01", "3D000",
        "53000", "53100", "53200", "53300", "53400", "57000", "57P01", "57P02", "57P03", "57P04",
        "57P05", "58000", "58030",
    ],
    Fault.BUSY: ["40001", "40003", "40P01", "55006", "55P03", "57014"],
    Fault.UNSTORABLE: [
        "22001", "22003", "22021", "22P02", "22P05", "23502", "23514", "54000", "54001",
    ],
    Fault.BUG: ["0A000", "25001", "25P02", "26000", "42601", "42703", "42P01", "XX000", "P0001"],
}  # fmt: skip


def by_psycopg(state: str, message: str = "said so") -> DBAPIError:
    error = lookup(state)(message)
    wrapped = DBAPIError.instance("SELECT", {}, error, psycopg.Error)
    assert isinstance(wrapped, DBAPIError)
    return wrapped


def by_asyncpg(error: BaseException) -> DBAPIError:
    """As SQLAlchemy hands it on: behind an error of its own."""
    dbapi = AsyncAdapt_asyncpg_dbapi(asyncpg)  # type: ignore[no-untyped-call]
    kinds = dbapi._asyncpg_error_translate
    kind = next(kinds[base] for base in type(error).__mro__ if base in kinds)
    translated = kind(str(error), error)
    translated.__cause__ = error
    wrapped = DBAPIError.instance("SELECT", {}, translated, dbapi.Error)
    assert isinstance(wrapped, DBAPIError)
    return wrapped


@pytest.mark.parametrize(
    ("state", "expected"), [(state, kind) for kind, states in STATES.items() for state in states]
)
def test_a_sqlstate_means_the_same_to_both_drivers(state: str, expected: Fault) -> None:
    assert fault(by_psycopg(state)) is expected
    raw = asyncpg.PostgresError.new({"C": state, "M": "said so"})
    assert fault(raw) is expected
    assert fault(by_asyncpg(raw)) is expected


def test_a_sqlstate_that_no_driver_knows_is_judged_by_its_class() -> None:
    assert fault(asyncpg.PostgresError.new({"C": "57P99", "M": "new"})) is Fault.UNAVAILABLE
    assert fault(asyncpg.PostgresError.new({"C": "22099", "M": "new"})) is Fault.UNSTORABLE
    assert fault(asyncpg.PostgresError.new({"C": "F0000", "M": "new"})) is Fault.BUG


@pytest.mark.parametrize(
    ("state", "message", "expected"),
    [
        ("0A000", "cannot set transaction read-write mode during recovery", Fault.UNAVAILABLE),
        ("0A000", "cannot use RETURNING type XMLSERIALIZE in recovery mode", Fault.BUG),
        (
            "XX000",
            "MaxClientsInSessionMode: max clients reached - in Session mode",
            Fault.UNAVAILABLE,
        ),
        ("XX000", "Max client connections reached", Fault.UNAVAILABLE),
        ("XX000", "cache lookup failed for type 1", Fault.BUG),
        ("42601", "max clients", Fault.BUG),
    ],
)
def test_a_sqlstate_of_several_meanings_is_an_outage_by_its_message(
    state: str, message: str, expected: Fault
) -> None:
    assert fault(by_psycopg(state, message)) is expected
    raw = asyncpg.PostgresError.new({"C": state, "M": message})
    assert fault(raw) is expected
    assert fault(by_asyncpg(raw)) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (psycopg.OperationalError("the connection is closed"), Fault.UNAVAILABLE),
        (psycopg.errors.ConnectionTimeout("connection timeout expired"), Fault.UNAVAILABLE),
        (psycopg.InterfaceError("the connection is closed"), Fault.UNAVAILABLE),
        (psycopg.InterfaceError("can't do that here"), Fault.BUG),
        (psycopg.ProgrammingError("no result available"), Fault.BUG),
        (psycopg.DataError("text fields cannot contain NUL (0x00) bytes"), Fault.UNSTORABLE),
        (asyncpg.InterfaceError("connection is closed"), Fault.UNAVAILABLE),
        (
            asyncpg.InterfaceError("cannot perform operation: another operation is in progress"),
            Fault.BUG,
        ),
        (asyncpg.InterfaceError("the server expects 1 argument, 2 were passed"), Fault.BUG),
        (
            asyncpg.exceptions.TargetServerAttributeNotMatched("None of the hosts match"),
            Fault.UNAVAILABLE,
        ),
        (asyncpg.InternalClientError("got result for unknown protocol state"), Fault.UNAVAILABLE),
    ],
)
def test_a_driver_that_gives_no_sqlstate_is_understood(error: Exception, expected: Fault) -> None:
    assert fault(error) is expected
    if isinstance(error, psycopg.Error):
        wrapped = DBAPIError.instance("SELECT", {}, error, psycopg.Error)
        assert fault(wrapped) is expected
    else:
        assert fault(by_asyncpg(error)) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionRefusedError(), Fault.UNAVAILABLE),
        (TimeoutError(), Fault.UNAVAILABLE),
        (PoolTimeout(), Fault.UNAVAILABLE),
        (DatabaseAway("unavailable"), Fault.UNAVAILABLE),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), Fault.UNSTORABLE),
        (InvalidRequestError("This connection is closed"), Fault.UNAVAILABLE),
        (InvalidRequestError("A transaction is already begun"), Fault.BUG),
        (ResourceClosedError("This Connection is closed"), Fault.BUG),
        (KeyError("x"), Fault.BUG),
        (ValueError("x"), Fault.BUG),
    ],
)
def test_errors_of_no_driver_are_judged_too(error: Exception, expected: Fault) -> None:
    assert fault(error) is expected


def test_a_connection_that_was_lost_is_an_outage_whatever_else_is_said() -> None:
    error = by_asyncpg(asyncpg.InterfaceError("cannot call Cursor.fetch()"))
    assert fault(error) is Fault.BUG
    error.connection_invalidated = True
    assert fault(error) is Fault.UNAVAILABLE
