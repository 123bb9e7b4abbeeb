"""Dead letters, the ledger's size, and what PostgreSQL says of its sessions."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import Connection, Engine, text

from app.core.config import Settings
from app.services import ledger, survey
from app.services.ledger import Submission
from app.services.survey import TABLES
from tests.ledger_view import KEEP


@pytest.fixture
def owner(make_owner: Callable[..., UUID]) -> UUID:
    return make_owner()


def fail(connection: Connection, owner: UUID, kind: str, *, retryable: bool) -> UUID:
    job = ledger.accept(connection, Submission(owner, kind, "cpu", 1, "{}"))
    assert job is not None
    claimed = ledger.claim(connection, job, worker_id=uuid4(), kinds=[kind], version="1")
    assert claimed is not None
    ledger.fail(connection, job, 1, code="c", detail="d", retryable=retryable, keep=KEEP)
    return job


def test_dead_letters_are_counted_by_kind_with_the_oldest(
    connection: Connection, owner: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert survey.dead_letters(connection) == []
    old, *_ = [fail(connection, owner, "a.b", retryable=True) for _ in range(3)]
    fail(connection, owner, "c.d", retryable=True)
    # Refused for its input: nobody has to look after it.
    fail(connection, owner, "e.f", retryable=False)
    connection.execute(
        text(
            "UPDATE jobs SET finished_at = finished_at - interval '1 hour',"
            " expires_at = clock_timestamp() + interval '10 minutes' WHERE id = :job"
        ),
        {"job": old},
    )
    found = {one.kind: one for one in survey.dead_letters(connection)}
    assert {kind: one.count for kind, one in found.items()} == {"a.b": 3, "c.d": 1}
    assert 3600 <= found["a.b"].oldest < 3660
    assert 540 < found["a.b"].expires <= 600
    assert found["c.d"].oldest < 60
    assert found["c.d"].expires > timedelta(hours=23).total_seconds()
    # One that should be gone already expires now, not before.
    connection.execute(text("UPDATE jobs SET expires_at = clock_timestamp() - interval '1 hour'"))
    assert {one.expires for one in survey.dead_letters(connection)} == {0.0}
    # The oldest, as many as are read.
    monkeypatch.setattr(survey, "LETTERS", 2)
    assert [(one.kind, one.count) for one in survey.dead_letters(connection)] == [("a.b", 2)]


def test_tables_and_indexes_have_their_sizes(connection: Connection) -> None:
    found = survey.relations(connection)
    assert {one.table for one in found if not one.index} == set(TABLES)
    assert {one.table for one in found if one.index} == set(TABLES)
    indexes = {one.index for one in found}
    assert {"jobs_pkey", "jobs_dead_idx", "job_runs_backlog_idx"} <= indexes
    assert all(one.bytes >= 0 for one in found)
    assert all(one.bytes >= 8192 for one in found if one.index)


def test_the_oldest_transaction_is_not_ones_own(engine: Engine, settings: Settings) -> None:
    def look() -> survey.Server:
        # PostgreSQL reads its statistics once in a transaction.
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_sleep(0.2)"))
            return survey.server(connection)

    with psycopg.connect(settings.database.url.get_secret_value()) as other:
        before = look()
        other.execute("SELECT 1")
        during = look()
        other.rollback()
        after = look()
    assert before.oldest_transaction == 0
    assert 0.2 <= during.oldest_transaction < 30
    assert after.oldest_transaction < during.oldest_transaction
    assert during.connections >= 2
    assert before.connections_max == during.connections_max > during.connections
