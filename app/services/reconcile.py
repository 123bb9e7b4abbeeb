"""After a database was restored: what it would run, perhaps again, and the end of what must not."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from app.models.job import JobState
from app.services import ledger
from app.services.ledger import Retention


@dataclass(frozen=True, slots=True)
class Unfinished:
    id: UUID
    kind: str
    pool: str
    owner_id: UUID
    state: JobState
    attempt: int
    """The last that began: it may have had its effect. 0: none has."""
    started_at: datetime | None
    """Of that attempt."""
    submitted_at: datetime


@dataclass(frozen=True, slots=True)
class Page:
    jobs: list[Unfinished]
    last: UUID | None
    """Where the next page begins; None: there is none."""


# By key alone, and narrowed afterwards: the planner has no statistics of a database that was just
# restored, and would read and sort the whole table for each page that it thinks is all there is.
# What was asked to be cancelled while it ran ends with its lease, and runs no more.
PAGE = text(
    """
    SELECT run.job_id AS id, run.kind, run.pool, run.owner_id, run.state, run.attempt,
           run.started_at, job.created_at AS submitted_at,
           run.cancel_requested_at IS NULL
               AND (CAST(:kind AS text) IS NULL OR run.kind = CAST(:kind AS text)) AS wanted
    FROM (
        SELECT * FROM job_runs
        WHERE job_id > :after
          AND (CAST(:jobs AS uuid[]) IS NULL OR job_id = ANY(CAST(:jobs AS uuid[])))
        ORDER BY job_id LIMIT :limit
    ) AS run JOIN jobs AS job ON job.id = run.job_id
    ORDER BY run.job_id
    """
)

UNKNOWN = text(
    """
    SELECT id FROM unnest(CAST(:jobs AS uuid[])) AS wanted (id)
    WHERE NOT EXISTS (SELECT FROM jobs WHERE jobs.id = wanted.id)
    """
)

OF_KIND = text(
    "SELECT EXISTS (SELECT FROM job_runs WHERE kind = :kind AND cancel_requested_at IS NULL)"
)


def unfinished(
    connection: Connection,
    *,
    after: UUID,
    limit: int,
    jobs: Sequence[UUID] | None = None,
    kind: str | None = None,
) -> Page:
    """What would run, in order of submission: of all, of these jobs, or of one kind."""
    parameters = {"after": after, "limit": limit, "jobs": jobs and list(jobs), "kind": kind}
    rows = [dict(row._mapping) for row in connection.execute(PAGE, parameters)]
    last = rows[-1]["id"] if len(rows) == limit else None
    wanted = [row for row in rows if row.pop("wanted")]
    return Page([Unfinished(**{**row, "state": JobState(row["state"])}) for row in wanted], last)


def unknown(connection: Connection, jobs: Sequence[UUID]) -> list[UUID]:
    """Those that there never were, or that are long gone."""
    return list(connection.execute(UNKNOWN, {"jobs": list(jobs)}).scalars())


def has_kind(connection: Connection, kind: str) -> bool:
    """Whether a job of the kind would run."""
    return bool(connection.execute(OF_KIND, {"kind": kind}).scalar_one())


def cancel(
    connection: Connection, jobs: Sequence[Unfinished], *, keep: Retention
) -> list[Unfinished]:
    """Those that it changed, as they are now: one that a live worker holds still runs, and is
    asked to stop."""
    changes = ((job, ledger.cancel_lost(connection, job.id, keep=keep)) for job in jobs)
    return [replace(job, state=change.state) for job, change in changes if change is not None]
