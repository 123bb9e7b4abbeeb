"""Counting jobs: each statement of the ledger says in the same statement what it did.

A tally is a row that only its own transaction writes, so counting makes nobody wait; controllers
add the tallies up into totals, of which there are few. What is read of those is exact, only grows,
and costs the same however many jobs there are or were, since nothing is ever counted twice: a
state's number of jobs is that of those that entered it, less those that left it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from app.core.metrics import JOB_BUCKETS
from app.models.job import TERMINAL, JobState

# Why an attempt ended. `lost` went with its worker, whatever then became of the job; `refused` is
# what a worker could not read and `released` what one put back: neither is anybody's failure.
ENDINGS = ("succeeded", "failed", "cancelled", "retried", "released", "refused", "lost")


def tally(
    rows: str,
    event: str,
    *,
    before: str = "''",
    after: str = "''",
    dead: str = "false",
    seconds: str = "NULL",
    within_target: str = "NULL",
    turnaround: str = "NULL",
) -> str:
    """The CTE that counts `rows`, another one, which has their `pool` and `kind`; SQL throughout.

    What is one row stays one, with its seconds; of many without, one is written for each kind.
    """
    columns = f"pool, kind, {event}, {before}, {after}, {dead}"
    if seconds == "NULL":
        return f"""tallied AS (
            INSERT INTO job_tallies (pool, kind, event, from_state, to_state, dead, n)
            SELECT {columns}, count(*) FROM {rows} GROUP BY 1, 2, 3, 4, 5, 6
        )"""  # noqa: S608
    return f"""tallied AS (
        INSERT INTO job_tallies
            (pool, kind, event, from_state, to_state, dead, seconds, within_target, turnaround)
        SELECT {columns}, {seconds}, {within_target}, {turnaround} FROM {rows}
    )"""  # noqa: S608


def since(moment: str) -> str:
    """Seconds from then to now; a clock that was set back makes none negative."""
    return f"greatest(0, extract(epoch FROM clock_timestamp() - {moment}))"


# Kinds of totals without tallies of their own: a tally of a claim also counts under one of the
# first two, and a tally of a job's end under the third with its outcome.
WITHIN_TARGET, BEYOND_TARGET, TURNAROUND = "within-target", "beyond-target", "turnaround-"

# Any number, as long as nobody else takes it for an advisory lock in this database.
LOCK = 4_115_101_105

# One controller at a time: the tallies of a job are then added in the order of its life. The next
# statement sees what the one before it has committed; nobody waits.
TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(:lock)")

COUNT = text(
    f"""
    WITH taken AS (
        DELETE FROM job_tallies
        WHERE id = ANY(ARRAY(SELECT id FROM job_tallies ORDER BY id LIMIT :limit))
        RETURNING pool, kind, event, from_state, to_state, dead, seconds, within_target, turnaround,
                  n
    ), told AS (
        SELECT pool, kind, event, from_state, to_state, dead, seconds, n FROM taken
        UNION ALL
        SELECT pool, kind,
               CASE WHEN within_target THEN '{WITHIN_TARGET}' ELSE '{BEYOND_TARGET}' END,
               '', '', false, NULL, n
        FROM taken WHERE within_target IS NOT NULL
        UNION ALL
        SELECT pool, kind, '{TURNAROUND}' || to_state, '', '', false, turnaround, n
        FROM taken WHERE turnaround IS NOT NULL
    ), bucketed AS (
        SELECT told.*,
               coalesce((SELECT min(bound) FROM unnest(CAST(:buckets AS float8[])) AS bound
                         WHERE bound >= seconds), 'infinity') AS le
        FROM told
    ), added AS (
        INSERT INTO job_totals AS total
            (pool, kind, event, from_state, to_state, dead, le, n, seconds)
        SELECT pool, kind, event, from_state, to_state, dead, le, sum(n), coalesce(sum(seconds), 0)
        FROM bucketed GROUP BY pool, kind, event, from_state, to_state, dead, le
        ON CONFLICT (pool, kind, event, from_state, to_state, dead, le) DO UPDATE
        SET n = total.n + excluded.n, seconds = total.seconds + excluded.seconds
    )
    SELECT count(*) FROM taken
    """  # noqa: S608
)


def count(connection: Connection, *, limit: int) -> int:
    """Add up to `limit` tallies to the totals; how many there were, 0 where another does it now."""
    if not connection.execute(TRY_LOCK, {"lock": LOCK}).scalar_one():
        return 0
    parameters = {"limit": limit, "buckets": list(JOB_BUCKETS)}
    counted: int = connection.execute(COUNT, parameters).scalar_one()
    return counted


@dataclass(frozen=True, slots=True)
class Total:
    pool: str
    kind: str
    event: str
    from_state: str
    to_state: str
    dead: bool
    le: float
    n: int
    seconds: float

    @property
    def outcome(self) -> str | None:
        """The job's, if this was its end."""
        return self.to_state if self.to_state in TERMINAL else None

    @property
    def ending(self) -> str | None:
        """The attempt's, if this was its end."""
        return self.event if self.from_state == JobState.RUNNING else None

    @property
    def turnaround_of(self) -> str | None:
        """The outcome of the jobs whose turnaround this is."""
        return self.event.removeprefix(TURNAROUND) if self.event.startswith(TURNAROUND) else None


TOTALS = text(
    """
    SELECT pool, kind, event, from_state, to_state, dead, le, n, seconds FROM job_totals
    """
)


def totals(connection: Connection) -> Sequence[Total]:
    return [Total(**row._mapping) for row in connection.execute(TOTALS)]
