"""What each pool is asked for, and what it has: read by index, and no further than a limit."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class PoolLoad:
    """Workers are those that live and take more: not those that drain."""

    pool: str
    waiting: int
    """Queued, and no message out."""
    unclaimed: int
    """Queued, with a message out."""
    running: int
    workers: int
    slots: int
    busy: int
    """Slots of these workers that have a job."""
    engaged: int
    """Slots of those workers that have at least one job."""
    oldest: float
    """For how many seconds the one that has been eligible longest waits; 0 if none does."""

    def demand(self, limit: int) -> int:
        """Slots that the pool should have: one for each job, and those beside it on its worker.

        Counting what runs, and the whole of whatever is busy, leaves no busy worker to spare.
        """
        return max(min(self.waiting + self.unclaimed + self.running, limit), self.engaged)


# Ordered as their index is, or a backlog that is most of the table would be read from its start
# through all that is in the way.
LOAD = text(
    """
    WITH pool AS (
        SELECT name FROM unnest(CAST(:pools AS text[])) AS name
    ), held AS MATERIALIZED (
        SELECT pool.name, run.state, run.worker_id FROM pool CROSS JOIN LATERAL (
            SELECT state, worker_id FROM job_runs
            WHERE job_runs.pool = pool.name AND dispatched_at IS NOT NULL
            ORDER BY job_runs.pool, owner_id LIMIT :limit
        ) AS run
    ), sent AS (
        SELECT name, count(*) FILTER (WHERE state = 'queued') AS unclaimed,
               count(*) FILTER (WHERE state = 'running') AS running
        FROM held GROUP BY name
    ), holding AS (
        SELECT worker_id, count(*) AS busy FROM held WHERE state = 'running' GROUP BY worker_id
    ), serving AS (
        SELECT pool AS name, count(*) AS workers, sum(slots) AS slots,
               CAST(coalesce(sum(holding.busy), 0) AS bigint) AS busy,
               coalesce(sum(slots) FILTER (WHERE holding.busy > 0), 0) AS engaged
        FROM workers LEFT JOIN holding ON holding.worker_id = workers.id
        WHERE NOT draining AND expires_at > clock_timestamp()
        GROUP BY pool
    )
    SELECT name AS pool, backlog.waiting, coalesce(unclaimed, 0) AS unclaimed,
           coalesce(running, 0) AS running, coalesce(workers, 0) AS workers,
           coalesce(slots, 0) AS slots, coalesce(busy, 0) AS busy, coalesce(engaged, 0) AS engaged,
           CAST(coalesce(oldest.seconds, 0) AS double precision) AS oldest
    FROM pool LEFT JOIN sent USING (name) LEFT JOIN serving USING (name)
    CROSS JOIN LATERAL (
        SELECT count(*) AS waiting FROM (
            SELECT FROM job_runs
            WHERE job_runs.pool = pool.name AND state = 'queued' AND dispatched_at IS NULL
            ORDER BY job_runs.pool, kind LIMIT :limit
        ) AS backlog
    ) AS backlog
    LEFT JOIN LATERAL (
        SELECT greatest(0, extract(epoch FROM clock_timestamp() - eligible_at)) AS seconds
        FROM job_runs WHERE job_runs.pool = pool.name AND state = 'queued'
        ORDER BY job_runs.pool, eligible_at LIMIT 1
    ) AS oldest ON true
    """
)


def load(connection: Connection, pools: Sequence[str], *, limit: int) -> list[PoolLoad]:
    """Of each pool, its jobs counted no further than `limit`."""
    rows = connection.execute(LOAD, {"pools": list(pools), "limit": limit})
    return [PoolLoad(**row._mapping) for row in rows]


# Not what workers say of themselves, which is as old as their last beat.
BUSY_HOSTS = text(
    """
    WITH holding AS (
        SELECT worker_id, count(*) AS busy FROM job_runs
        WHERE pool = ANY(CAST(:pools AS text[])) AND dispatched_at IS NOT NULL
          AND state = 'running'
        GROUP BY worker_id
    )
    SELECT hostname, CAST(coalesce(sum(holding.busy), 0) AS bigint) AS busy
    FROM workers LEFT JOIN holding ON holding.worker_id = workers.id
    WHERE expires_at > clock_timestamp()
    GROUP BY hostname
    """
)


def busy_hosts(connection: Connection, pools: Sequence[str]) -> dict[str, int]:
    """Of each live worker's host, draining ones too, the slots that have a job."""
    rows = connection.execute(BUSY_HOSTS, {"pools": list(pools)})
    return {row.hostname: row.busy for row in rows}
