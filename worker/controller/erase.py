"""Erases users who have left: their jobs are cancelled, then what is theirs is removed.

Level-triggered, in small transactions: each turn looks at what of theirs is there, also at what a
request that was under way has added since. What a worker holds waits for the end of its lease; the
bytes of files, and in the end the user's row, are `retain`'s. Controllers may do it side by side.
"""

from collections.abc import Callable, Iterator
from uuid import UUID

from sqlalchemy import Engine, Table, TextClause, text

from app.models import Base
from app.services import ledger
from app.services.ledger import Change, Retention

# Seconds between turns: how long what is queued may yet begin.
INTERVAL = 2.0

# Users of one turn, rows of one transaction, and transactions of one turn for one purpose.
USERS = 20
BATCH = 200
BATCHES = 50

# Jobs go when they have ended, files with their bytes, the erasure with its user.
APART = {"jobs", "files", "erasures"}


def _owned() -> Iterator[tuple[Table, str]]:
    """All other tables whose rows belong to users, and the column that says to whom."""
    users = Base.metadata.tables["users"]
    for table in Base.metadata.sorted_tables:
        for key in table.foreign_keys:
            if key.column.table is users and table.name not in APART:
                yield table, key.parent.name


OWNED = tuple(_owned())

HAS_OWNED = "".join(
    f" OR (SELECT true FROM {table.name} WHERE {column} = erasures.user_id LIMIT 1)"  # noqa: S608
    for table, column in OWNED
)

# Who has nothing left is not looked at again, though their row is still there. Each look is a probe
# of an index: EXISTS under an OR may be answered by reading the whole table.
LEAVING = text(
    f"""
    SELECT user_id FROM erasures
    WHERE (SELECT true FROM jobs WHERE owner_id = erasures.user_id LIMIT 1)
       OR (SELECT true FROM files
           WHERE owner_id = erasures.user_id AND state = 'ready' AND expires_at > clock_timestamp()
           LIMIT 1)
      {HAS_OWNED}
    ORDER BY requested_at LIMIT :limit
    """  # noqa: S608
)

# No index is for this: the table is as short as the backlog, and few users leave.
UNCANCELLED = text(
    """
    SELECT job_id FROM job_runs WHERE owner_id = :user_id AND cancel_requested_at IS NULL
    LIMIT :limit
    """
)

DELETE_ENDED_JOBS = text(
    """
    DELETE FROM jobs WHERE id = ANY(ARRAY(
        SELECT id FROM jobs WHERE owner_id = :user_id AND outcome IS NOT NULL
        LIMIT :limit FOR UPDATE SKIP LOCKED
    ))
    """
)

# What an unfinished job needs does not expire before its end.
EXPIRE_FILES = text(
    """
    UPDATE files SET expires_at = clock_timestamp() WHERE id = ANY(ARRAY(
        SELECT id FROM files
        WHERE owner_id = :user_id AND state = 'ready' AND expires_at > clock_timestamp()
        LIMIT :limit FOR UPDATE SKIP LOCKED
    ))
    """
)

DELETE_OWNED = [
    text(
        f"""
        DELETE FROM {table.name} WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM {table.name} WHERE {column} = :user_id
            LIMIT :limit FOR UPDATE SKIP LOCKED
        ))
        """  # noqa: S608
    )
    for table, column in OWNED
]


class Erase:
    def __init__(self, engine: Engine, keep: Retention, announce: Callable[[Change], None]) -> None:
        self._engine = engine
        self._keep = keep
        self._announce = announce

    def turn(self) -> None:
        with self._engine.begin() as connection:
            leaving = connection.execute(LEAVING, {"limit": USERS}).scalars().all()
        for user_id in leaving:
            self._cancel_jobs(user_id)
            for statement in (DELETE_ENDED_JOBS, EXPIRE_FILES, *DELETE_OWNED):
                self._in_batches(statement, user_id)

    def _cancel_jobs(self, user_id: UUID) -> None:
        for _ in range(BATCHES):
            with self._engine.begin() as connection:
                parameters = {"user_id": user_id, "limit": BATCH}
                jobs = connection.execute(UNCANCELLED, parameters).scalars().all()
            for job_id in jobs:
                # Each in a transaction of its own: a heartbeat locks many rows, in any order.
                with self._engine.begin() as connection:
                    change = ledger.cancel(connection, job_id, keep=self._keep)
                if change is not None:
                    self._announce(change)
            if len(jobs) < BATCH:
                break

    def _in_batches(self, statement: TextClause, user_id: UUID) -> None:
        for _ in range(BATCHES):
            with self._engine.begin() as connection:
                changed = connection.execute(statement, {"user_id": user_id, "limit": BATCH})
            if changed.rowcount < BATCH:
                break
