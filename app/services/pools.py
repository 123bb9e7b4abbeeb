"""How a pool treats the owners of its jobs, and which workers it has: read by index, up to a limit.

`app.services.demand` says how much the pool should have; this says whether what it has is shared
fairly, and what none of its workers can run.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from app.services import ledger
from app.services.ledger import Build, Need

# Jobs that have waited longest, among which an owner without a place is looked for.
OLDEST = 1_000

# Steps of the skip scan that counts the owners: an owner takes one for each kind.
STEPS = 1_000


@dataclass(frozen=True, slots=True)
class Shares:
    """The places of a pool are its dispatched jobs: messages and running jobs."""

    pool: str
    owners_waiting: int
    """Owners with a job that waits and has no message out; `STEPS` and more count as `STEPS`."""
    largest: float
    """The part of all places in use that one owner has: 0 to 1, 0 without any."""
    longest_wait: float
    """Seconds that the first job of an owner without a place has waited; 0 if there is none."""
    oldest_cancel: float
    """Seconds since a job that still runs was cancelled; 0 if there is none."""


SHARES = text(
    """
    WITH RECURSIVE pool AS (
        SELECT name FROM unnest(CAST(:pools AS text[])) AS name
    ), waiting AS (
        (SELECT pool.name, first.kind, first.refused_by, first.owner_id, 1 AS n
         FROM pool CROSS JOIN LATERAL (
             SELECT kind, refused_by, owner_id FROM job_runs
             WHERE job_runs.pool = pool.name AND state = 'queued' AND dispatched_at IS NULL
             ORDER BY kind, refused_by, owner_id LIMIT 1
         ) AS first)
        UNION ALL
        SELECT waiting.name, next.kind, next.refused_by, next.owner_id, n + 1
        FROM waiting CROSS JOIN LATERAL (
            SELECT kind, refused_by, owner_id FROM job_runs
            WHERE job_runs.pool = waiting.name AND state = 'queued' AND dispatched_at IS NULL
              AND (kind, refused_by, owner_id)
                  > (waiting.kind, waiting.refused_by, waiting.owner_id)
            ORDER BY kind, refused_by, owner_id LIMIT 1
        ) AS next
        WHERE n < :steps
    ), held AS MATERIALIZED (
        SELECT pool.name, run.owner_id, run.cancelled_at
        FROM pool CROSS JOIN LATERAL (
            SELECT owner_id,
                   CASE WHEN state = 'running' THEN cancel_requested_at END AS cancelled_at
            FROM job_runs WHERE job_runs.pool = pool.name AND dispatched_at IS NOT NULL
            ORDER BY job_runs.pool, owner_id LIMIT :limit
        ) AS run
    ), holder AS (
        SELECT name, owner_id, count(*) AS places, min(cancelled_at) AS cancelled_at
        FROM held GROUP BY name, owner_id
    ), share AS (
        SELECT name, max(places) / sum(places) AS largest, min(cancelled_at) AS cancelled_at
        FROM holder GROUP BY name
    )
    SELECT pool.name AS pool,
           (SELECT count(DISTINCT owner_id) FROM waiting WHERE waiting.name = pool.name)
               AS owners_waiting,
           CAST(coalesce(largest, 0) AS double precision) AS largest,
           CAST(coalesce(extract(epoch FROM clock_timestamp() - without.since), 0)
                AS double precision) AS longest_wait,
           CAST(coalesce(extract(epoch FROM clock_timestamp() - cancelled_at), 0)
                AS double precision) AS oldest_cancel
    FROM pool LEFT JOIN share USING (name)
    LEFT JOIN LATERAL (
        SELECT min(eligible_at) AS since FROM (
            SELECT owner_id, eligible_at FROM job_runs
            WHERE job_runs.pool = pool.name AND state = 'queued'
            ORDER BY job_runs.pool, eligible_at LIMIT :oldest
        ) AS oldest
        WHERE NOT EXISTS (
            SELECT FROM holder WHERE holder.name = pool.name AND holder.owner_id = oldest.owner_id
        )
    ) AS without ON true
    """
)


def shares(connection: Connection, pools: Sequence[str], *, limit: int) -> list[Shares]:
    """Shares of each pool; its places are counted up to `limit`."""
    parameters = {"pools": list(pools), "limit": limit, "steps": STEPS, "oldest": OLDEST}
    return [Shares(**row._mapping) for row in connection.execute(SHARES, parameters)]


@dataclass(frozen=True, slots=True)
class Version:
    """Live workers of one build, those that drain too."""

    pool: str
    version: str
    build: str
    workers: int


VERSIONS = text(
    """
    SELECT pool, version, build, count(*) AS workers FROM workers
    WHERE pool = ANY(CAST(:pools AS text[])) AND expires_at > clock_timestamp()
    GROUP BY pool, version, build
    """
)


def versions(connection: Connection, pools: Sequence[str]) -> list[Version]:
    rows = connection.execute(VERSIONS, {"pools": list(pools)})
    return [Version(**row._mapping) for row in rows]


@dataclass(frozen=True, slots=True)
class Unrunnable:
    """Jobs that wait and that no live worker of their pool can run."""

    pool: str
    kind: str
    reason: str
    jobs: int


# Why no worker can run a job: its pool has none, none has the kind, or all that have it could not
# read the specification.
REASONS = ("no-workers", "unknown-kind", "refused")

COUNT_NEED = text(
    f"""
    SELECT count(*) FROM (
        SELECT FROM job_runs
        WHERE {ledger.BACKLOG} AND kind = :kind AND refused_by = CAST(:refused_by AS text[])
        ORDER BY kind, refused_by, owner_id LIMIT :limit
    ) AS found
    """  # noqa: S608
)


def _reason(need: Need, builds: Sequence[Build]) -> str | None:
    if not builds:
        return "no-workers"
    if not any(need.kind in build.kinds for build in builds):
        return "unknown-kind"
    return None if any(need.met_by(build) for build in builds) else "refused"


def unrunnable(connection: Connection, pools: Sequence[str], *, limit: int) -> list[Unrunnable]:
    """Waiting jobs that no live worker of their pool can run, each need counted up to `limit`."""
    found = []
    for pool in pools:
        builds = ledger.builds(connection, pool)
        for need in ledger.needs(connection, pool):
            reason = _reason(need, builds)
            if reason is None:
                continue
            parameters = {
                "pool": pool,
                "kind": need.kind,
                "refused_by": list(need.refused_by),
                "limit": limit,
            }
            jobs = connection.execute(COUNT_NEED, parameters).scalar_one()
            found.append(Unrunnable(pool, need.kind, reason, jobs))
    return found
