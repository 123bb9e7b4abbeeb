"""The job ledger: every statement that carries an invariant of a job's life, and nothing else.

`jobs` holds what was asked and how it ended, `job_runs` a row for each job that is not terminal.
Only a compare-and-set moves a state; `attempt` is the fencing token that each write of a running
attempt carries; time is PostgreSQL's. Functions take a synchronous connection (an asynchronous
caller goes through `run_sync`), never commit, and say by their result whether they held the row.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Self
from uuid import UUID

from sqlalchemy import Connection, text

from app.core.config import Settings
from app.models.job import JobState
from app.services.tallies import since, tally

# A worker that is not heard of for this long has lost its jobs; it beats three times as often.
LEASE = timedelta(seconds=30)

# One pod's fault loses the jobs of all its slots: a few losses are nobody's own.
MAX_LOSSES = 5

# A failed try waits 2, 4, 8 … seconds, at most this.
MAX_BACKOFF = timedelta(minutes=10)

# A job that a worker could not read waits for the next worker to come along.
REFUSAL_DELAY = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Submission:
    owner_id: UUID
    kind: str
    pool: str
    max_tries: int
    spec: str
    """The validated specification, as JSON."""
    wait_target: float | None = None
    """Seconds within which each attempt should start."""
    priority: int = 0
    not_before: datetime | None = None
    files: Sequence[UUID] = ()
    idempotency_key: str | None = None
    fingerprint: bytes | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    job_id: UUID
    attempt: int
    owner_id: UUID
    kind: str
    spec: str
    seq: int
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """What a transition made of a job; whoever watches it is told."""

    job_id: UUID
    state: JobState
    attempt: int
    seq: int
    error_code: str | None = None
    error_detail: str | None = None


@dataclass(frozen=True, slots=True)
class Beat:
    """The parent's report: itself, and the attempts that its live children hold."""

    worker_id: UUID
    pool: str
    hostname: str
    version: str
    build: str
    kinds: Sequence[str]
    slots: int
    draining: bool
    held: Sequence[tuple[UUID, int]] = field(default=())


class Lease(Enum):
    """What a heartbeat found of an attempt."""

    RENEWED = "renewed"
    CANCELLED = "cancelled"
    """Renewed, and to be cancelled."""
    UNKNOWN = "unknown"
    """Another transaction holds the row: neither renewed nor lost, ask again soon."""
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ends. `result` is JSON; `failed` says that its last attempt counts as a try."""

    state: JobState
    result: str | None = None
    error_code: str | None = None
    error_detail: str | None = None
    failed: bool = False
    dead: bool = False


@dataclass(frozen=True, slots=True)
class Retention:
    """For how long a finished job, and its output files, are kept."""

    result: timedelta
    files: timedelta

    @classmethod
    def configured(cls, settings: Settings) -> Self:
        return cls(
            result=timedelta(seconds=settings.jobs.result_ttl),
            files=timedelta(seconds=settings.files.ttl),
        )


# --- accept -----------------------------------------------------------------------------------

# Invariant 1: one statement writes the job, its run and its hold on the files, or nothing. The
# files are locked, so that a delete that came first is seen and one that comes later waits.
ACCEPT = text(
    f"""
    WITH wanted AS MATERIALIZED (
        SELECT id FROM files
        WHERE id = ANY(CAST(:files AS uuid[])) AND owner_id = CAST(:owner_id AS uuid)
          AND state = 'ready' AND expires_at > clock_timestamp()
        FOR SHARE
    ), job AS (
        INSERT INTO jobs (owner_id, kind, spec, priority, idempotency_key, fingerprint, traceparent)
        SELECT CAST(:owner_id AS uuid), CAST(:kind AS text), CAST(:spec AS jsonb),
               CAST(:priority AS integer), CAST(:idempotency_key AS text),
               CAST(:fingerprint AS bytea), CAST(:traceparent AS text)
        WHERE (SELECT count(*) FROM wanted) = cardinality(CAST(:files AS uuid[]))
        ON CONFLICT (owner_id, kind, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
        RETURNING id
    ), run AS (
        INSERT INTO job_runs (job_id, owner_id, kind, pool, priority, max_tries, wait_target, state,
                              due_at, first_eligible_at)
        SELECT id, CAST(:owner_id AS uuid), CAST(:kind AS text), CAST(:pool AS text),
               CAST(:priority AS integer), CAST(:max_tries AS integer),
               CAST(:wait_target AS double precision),
               CASE WHEN later THEN 'scheduled' ELSE 'queued' END,
               CASE WHEN later THEN CAST(:not_before AS timestamptz) END,
               CASE WHEN later THEN CAST(:not_before AS timestamptz) ELSE clock_timestamp() END
        FROM job,
             (SELECT coalesce(CAST(:not_before AS timestamptz) > clock_timestamp(), false) AS later)
                 AS schedule
        RETURNING job_id, pool, kind, state
    ), held AS (
        INSERT INTO job_files (job_id, file_id) SELECT run.job_id, wanted.id FROM run, wanted
    ), {tally("run", "'accepted'", after="state")}
    SELECT job_id FROM run
    """  # noqa: S608
)


def accept(connection: Connection, job: Submission) -> UUID | None:
    """Accept a job; None if its idempotency key is taken or one of its files is not there."""
    return connection.execute(
        ACCEPT,
        {
            "owner_id": job.owner_id,
            "kind": job.kind,
            "pool": job.pool,
            "spec": job.spec,
            "priority": job.priority,
            "max_tries": job.max_tries,
            "wait_target": job.wait_target,
            "not_before": job.not_before,
            "files": list(dict.fromkeys(job.files)),
            "idempotency_key": job.idempotency_key,
            "fingerprint": job.fingerprint,
            "traceparent": job.traceparent,
        },
    ).scalar_one_or_none()


# --- run --------------------------------------------------------------------------------------

# Invariant 3: queued -> running, once, whatever the number of messages.
WAITED = since("eligible_at")
CLAIM = text(
    f"""
    WITH run AS (
        UPDATE job_runs AS run
        SET state = 'running', attempt = run.attempt + 1, worker_id = :worker_id,
            started_at = clock_timestamp(), lease_expires_at = clock_timestamp() + :lease,
            dispatched_at = coalesce(run.dispatched_at, clock_timestamp()),
            progress = 0, message = '', seq = run.seq + 1
        FROM jobs AS job
        WHERE run.job_id = :job_id AND job.id = run.job_id AND run.state = 'queued'
          AND run.kind = ANY(CAST(:kinds AS text[])) AND NOT :version = ANY(run.refused_by)
        RETURNING run.job_id, run.attempt, run.owner_id, run.kind, CAST(job.spec AS text) AS spec,
                  run.seq, job.traceparent, run.pool, run.eligible_at, run.wait_target
    ), {
        tally(
            "run",
            "'claimed'",
            before="'queued'",
            after="'running'",
            seconds=WAITED,
            within_target=f"{WAITED} <= wait_target",
        )
    }
    SELECT job_id, attempt, owner_id, kind, spec, seq, traceparent FROM run
    """  # noqa: S608
)

# A worker that can't run the kind gives its message back: no attempt begins, no try is spent.
DECLINE = text(
    f"""
    WITH run AS (
        UPDATE job_runs
        SET state = 'scheduled', due_at = clock_timestamp() + :delay, dispatched_at = NULL,
            seq = seq + 1
        WHERE job_id = :job_id AND state = 'queued'
          AND NOT (kind = ANY(CAST(:kinds AS text[])) AND NOT :version = ANY(refused_by))
        RETURNING job_id, pool, kind
    ), {tally("run", "'declined'", before="'queued'", after="'scheduled'")}
    SELECT job_id FROM run
    """  # noqa: S608
)


def claim(
    connection: Connection, job_id: UUID, *, worker_id: UUID, kinds: Sequence[str], version: str
) -> Claim | None:
    """Begin an attempt; None if there is none to begin, or not here."""
    parameters = {"job_id": job_id, "kinds": list(kinds), "version": version}
    row = connection.execute(
        CLAIM, {**parameters, "worker_id": worker_id, "lease": LEASE}
    ).one_or_none()
    if row is not None:
        return Claim(**row._mapping)
    connection.execute(DECLINE, {**parameters, "delay": REFUSAL_DELAY})
    return None


# An expired lease that nobody took is renewed as well: after an outage of the database every
# lease has expired and no worker has died. A row that is not in the snapshot is lost, since its
# claim had committed before anybody held it. One that is there and was not renewed is another
# transaction's just now, a frozen process's perhaps: waiting for it could cost all others their
# leases.
HEARTBEAT = text(
    """
    WITH worker AS (
        INSERT INTO workers (id, pool, hostname, version, build, kinds, slots, busy, draining,
                             expires_at)
        VALUES (:worker_id, :pool, :hostname, :version, :build, CAST(:kinds AS text[]), :slots,
                cardinality(CAST(:jobs AS uuid[])), :draining, clock_timestamp() + :lease)
        ON CONFLICT (id) DO UPDATE
        SET busy = excluded.busy, draining = excluded.draining, expires_at = excluded.expires_at
    ), held AS MATERIALIZED (
        SELECT * FROM unnest(CAST(:jobs AS uuid[]), CAST(:attempts AS integer[]))
            AS held (job_id, attempt)
    ), free AS MATERIALIZED (
        SELECT run.job_id FROM held JOIN job_runs AS run USING (job_id, attempt)
        WHERE run.state = 'running'
        FOR NO KEY UPDATE OF run SKIP LOCKED
    ), renewed AS (
        UPDATE job_runs AS run SET lease_expires_at = clock_timestamp() + :lease
        FROM free WHERE run.job_id = free.job_id
        RETURNING run.job_id, run.attempt, run.cancel_requested_at IS NOT NULL AS cancelled
    )
    SELECT job_id, attempt,
           CASE WHEN cancelled THEN 'cancelled' WHEN NOT cancelled THEN 'renewed'
                WHEN run.state = 'running' THEN 'unknown' ELSE 'lost' END AS lease
    FROM held LEFT JOIN renewed USING (job_id, attempt)
              LEFT JOIN job_runs AS run USING (job_id, attempt)
    """
)


def heartbeat(connection: Connection, beat: Beat) -> dict[tuple[UUID, int], Lease]:
    """Renew the worker and its leases; says of each attempt in `beat.held` what became of it."""
    rows = connection.execute(
        HEARTBEAT,
        {
            "worker_id": beat.worker_id,
            "pool": beat.pool,
            "hostname": beat.hostname,
            "version": beat.version,
            "build": beat.build,
            "kinds": list(beat.kinds),
            "slots": beat.slots,
            "draining": beat.draining,
            "jobs": [job_id for job_id, _ in beat.held],
            "attempts": [attempt for _, attempt in beat.held],
            "lease": LEASE,
        },
    )
    return {(row.job_id, row.attempt): Lease(row.lease) for row in rows}


def deregister(connection: Connection, worker_id: UUID) -> None:
    connection.execute(text("DELETE FROM workers WHERE id = :id"), {"id": worker_id})


PROGRESS = text(
    """
    UPDATE job_runs SET progress = :progress, message = :message, seq = seq + 1
    WHERE job_id = :job_id AND attempt = :attempt AND state = 'running'
    RETURNING seq, cancel_requested_at IS NOT NULL AS cancelled
    """
)


def progress(
    connection: Connection, job_id: UUID, attempt: int, *, fraction: float, message: str
) -> tuple[int, bool] | None:
    """The new `seq` and whether to cancel; None if the lease is lost."""
    row = connection.execute(
        PROGRESS,
        {"job_id": job_id, "attempt": attempt, "progress": fraction, "message": message},
    ).one_or_none()
    return None if row is None else (row.seq, row.cancelled)


# The row comes before the bytes, so that a crash leaves nothing that is not swept.
RESERVE_OUTPUT = text(
    """
    INSERT INTO files (owner_id, key, name, content_type, size, sha256, job_id, attempt, expires_at)
    SELECT owner_id, :key, :name, :content_type, :size, :sha256, job_id, attempt,
           clock_timestamp() + :pending_ttl
    FROM job_runs WHERE job_id = :job_id AND attempt = :attempt AND state = 'running'
    -- Repeated when the answer to its commit was lost.
    ON CONFLICT (key) DO UPDATE SET key = excluded.key
    RETURNING id
    """
)


def reserve_output(
    connection: Connection,
    job_id: UUID,
    attempt: int,
    *,
    key: str,
    name: str,
    content_type: str,
    size: int,
    sha256: bytes,
    pending_ttl: timedelta,
) -> UUID | None:
    """A pending file for an output of this attempt; None if the lease is lost."""
    return connection.execute(
        RESERVE_OUTPUT,
        {
            "job_id": job_id,
            "attempt": attempt,
            "key": key,
            "name": name,
            "content_type": content_type,
            "size": size,
            "sha256": sha256,
            "pending_ttl": pending_ttl,
        },
    ).scalar_one_or_none()


# --- end --------------------------------------------------------------------------------------

# Invariant 4: the only statement that writes a terminal state, and all that follows from it: the
# run goes (and with it the hold on the input files), the outputs of this attempt become the
# owner's, those of any other attempt are left to the sweep. `from_states` and `attempt` are the
# compare of the compare-and-set; `attempt` is NULL only where no attempt is running. `ending` is
# why the attempt ended, where the outcome does not say it.
RAN = f"CASE WHEN state = 'running' THEN {since('started_at')} END"
# Not known of a job that an older version accepted; a job that was never due has none.
TURNAROUND = (
    f"CASE WHEN first_eligible_at <= clock_timestamp() THEN {since('first_eligible_at')} END"
)
FINISH = text(
    f"""
    WITH run AS (
        DELETE FROM job_runs
        WHERE job_id = :job_id AND state = ANY(CAST(:from_states AS text[]))
          AND (CAST(:attempt AS integer) IS NULL OR attempt = CAST(:attempt AS integer))
        RETURNING job_id, pool, kind, state, attempt, tries, seq, started_at, first_eligible_at,
                  cancel_requested_at IS NOT NULL AS cancelled
    ), ending AS (
        SELECT run.*,
               CASE WHEN run.cancelled AND CAST(:outcome AS text) <> 'succeeded' THEN 'cancelled'
                    ELSE CAST(:outcome AS text) END AS outcome
        FROM run
    ), done AS (
        UPDATE jobs
        SET outcome = ending.outcome,
            result = CAST(:result AS jsonb),
            error_code = CASE WHEN ending.outcome = 'failed' THEN CAST(:error_code AS text) END,
            error_detail = CASE WHEN ending.outcome = 'failed' THEN CAST(:error_detail AS text) END,
            dead = ending.outcome = 'failed' AND :dead,
            attempt = ending.attempt,
            tries = ending.tries + CAST(ending.outcome = 'failed' AND :failed AS integer),
            seq = ending.seq + 1,
            started_at = ending.started_at,
            finished_at = clock_timestamp(), expires_at = clock_timestamp() + :result_ttl
        FROM ending WHERE jobs.id = ending.job_id
        RETURNING jobs.id AS job_id, jobs.outcome AS state, jobs.attempt, jobs.seq, jobs.error_code,
                  jobs.error_detail
    ), outputs AS (
        UPDATE files
        SET (state, expires_at) = (
            SELECT CASE WHEN kept THEN 'ready' ELSE 'pending' END,
                   clock_timestamp() + CASE WHEN kept THEN CAST(:files_ttl AS interval)
                                            ELSE interval '0' END
            FROM (SELECT ending.outcome = 'succeeded' AND files.attempt = ending.attempt AS kept)
                AS verdict
        )
        FROM ending
        WHERE files.job_id = ending.job_id AND files.state = 'pending'
    ), {
        tally(
            "ending",
            "coalesce(CAST(:ending AS text), outcome)",
            before="state",
            after="outcome",
            dead="outcome = 'failed' AND :dead",
            seconds=RAN,
            turnaround=TURNAROUND,
        )
    }
    SELECT * FROM done
    """  # noqa: S608
)


def finish(
    connection: Connection,
    job_id: UUID,
    outcome: Outcome,
    *,
    attempt: int | None,
    from_states: Sequence[JobState],
    keep: Retention,
    ending: str | None = None,
) -> Change | None:
    """End a job, if it is in one of `from_states` and, where one is given, in that attempt.

    A job that did not succeed and for which cancelling was asked ends as cancelled.
    """
    row = connection.execute(
        FINISH,
        {
            "job_id": job_id,
            "attempt": attempt,
            "from_states": [str(state) for state in from_states],
            "outcome": str(outcome.state),
            "result": outcome.result,
            "error_code": outcome.error_code,
            "error_detail": outcome.error_detail,
            "failed": outcome.failed,
            "dead": outcome.dead,
            "ending": ending,
            "result_ttl": keep.result,
            "files_ttl": keep.files,
        },
    ).one_or_none()
    return None if row is None else _change(row._mapping)


def _change(row: Mapping[Any, Any]) -> Change:
    return Change(**{**row, "state": JobState(row["state"])})


def succeed(
    connection: Connection, job_id: UUID, attempt: int, *, result: str, keep: Retention
) -> Change | None:
    return finish(
        connection,
        job_id,
        Outcome(JobState.SUCCEEDED, result=result),
        attempt=attempt,
        from_states=[JobState.RUNNING],
        keep=keep,
    )


# Invariant 9: only what nobody wants cancelled goes back.
TOOK = since("started_at")
RETRY = text(
    f"""
    WITH run AS (
        UPDATE job_runs
        SET state = 'scheduled', tries = tries + 1, seq = seq + 1, dispatched_at = NULL,
            lease_expires_at = NULL, worker_id = NULL,
            due_at = clock_timestamp()
                     + least(make_interval(secs => power(2, least(tries + 1, 20))), :max_backoff)
        WHERE job_id = :job_id AND attempt = :attempt AND state = 'running'
          AND cancel_requested_at IS NULL AND tries + 1 < max_tries
        RETURNING job_id, state, attempt, seq, pool, kind, started_at
    ), {tally("run", "'retried'", before="'running'", after="state", seconds=TOOK)}
    SELECT job_id, state, attempt, seq FROM run
    """  # noqa: S608
)


def fail(
    connection: Connection,
    job_id: UUID,
    attempt: int,
    *,
    code: str,
    detail: str,
    retryable: bool,
    keep: Retention,
) -> Change | None:
    """End an attempt in failure: a further try where one is left, else the job's end."""
    if retryable:
        row = connection.execute(
            RETRY, {"job_id": job_id, "attempt": attempt, "max_backoff": MAX_BACKOFF}
        ).one_or_none()
        if row is not None:
            return _change(row._mapping)
    return finish(
        connection,
        job_id,
        Outcome(JobState.FAILED, error_code=code, error_detail=detail, failed=True, dead=retryable),
        attempt=attempt,
        from_states=[JobState.RUNNING],
        keep=keep,
    )


PUT_BACK = "CASE WHEN state = 'queued' THEN 'released' ELSE 'refused' END"
RELEASE = text(
    f"""
    WITH run AS (
        UPDATE job_runs
        SET state = CASE WHEN CAST(:refused AS text) IS NULL THEN 'queued' ELSE 'scheduled' END,
            due_at = CASE WHEN CAST(:refused AS text) IS NULL THEN NULL
                          ELSE clock_timestamp() + :delay END,
            refused_by = CASE WHEN CAST(:refused AS text) IS NULL THEN refused_by
                              ELSE array_append(refused_by, CAST(:refused AS text)) END,
            releases = releases + 1, seq = seq + 1, dispatched_at = NULL, lease_expires_at = NULL,
            worker_id = NULL, progress = 0, message = '', eligible_at = clock_timestamp()
        WHERE job_id = :job_id AND attempt = :attempt AND state = 'running'
          AND cancel_requested_at IS NULL
        RETURNING job_id, state, attempt, seq, pool, kind, started_at
    ), {tally("run", PUT_BACK, before="'running'", after="state", seconds=TOOK)}
    SELECT job_id, state, attempt, seq FROM run
    """  # noqa: S608
)


def release(
    connection: Connection,
    job_id: UUID,
    attempt: int,
    *,
    keep: Retention,
    refused_by: str | None = None,
) -> Change | None:
    """Put an attempt back, nothing counted; with `refused_by`, never again to that version."""
    row = connection.execute(
        RELEASE,
        {"job_id": job_id, "attempt": attempt, "refused": refused_by, "delay": REFUSAL_DELAY},
    ).one_or_none()
    if row is not None:
        return _change(row._mapping)
    return finish(
        connection,
        job_id,
        Outcome(JobState.CANCELLED),
        attempt=attempt,
        from_states=[JobState.RUNNING],
        keep=keep,
    )


# A child died under its parent's eyes: nothing is to be waited for.
FORFEIT = text(
    """
    UPDATE job_runs SET lease_expires_at = clock_timestamp()
    WHERE job_id = :job_id AND attempt = :attempt AND state = 'running'
    RETURNING job_id
    """
)


def forfeit(connection: Connection, job_id: UUID, attempt: int) -> bool:
    """Let an attempt's lease expire now; rescue does the rest."""
    parameters = {"job_id": job_id, "attempt": attempt}
    return connection.execute(FORFEIT, parameters).one_or_none() is not None


REQUEST_CANCEL = text(
    """
    UPDATE job_runs
    SET cancel_requested_at = clock_timestamp(), seq = seq + 1
    WHERE job_id = :job_id AND state = 'running' AND cancel_requested_at IS NULL
    RETURNING job_id, state, attempt, seq
    """
)


def cancel(connection: Connection, job_id: UUID, *, keep: Retention) -> Change | None:
    """Cancel at once what waits, ask for it what runs; None if there is nothing left to change.

    The owner is checked by who calls. The row is locked first, so that no claim or release
    between the two statements makes both miss it.
    """
    locked = text("SELECT state FROM job_runs WHERE job_id = :job_id FOR UPDATE")
    state = connection.execute(locked, {"job_id": job_id}).scalar_one_or_none()
    if state is None:
        return None
    if state == JobState.RUNNING:
        row = connection.execute(REQUEST_CANCEL, {"job_id": job_id}).one_or_none()
        return None if row is None else _change(row._mapping)
    return finish(
        connection,
        job_id,
        Outcome(JobState.CANCELLED),
        attempt=None,
        from_states=[JobState.SCHEDULED, JobState.QUEUED],
        keep=keep,
    )


LEASE_OF = text(
    """
    SELECT attempt, lease_expires_at < clock_timestamp() AS expired FROM job_runs
    WHERE job_id = :job_id FOR UPDATE
    """
)


def cancel_lost(connection: Connection, job_id: UUID, *, keep: Retention) -> Change | None:
    """Cancel as `cancel` does, and at once also what runs under a lease that has expired.

    In a database that was restored nobody holds those of the dump any more. A worker that does,
    after an outage, loses its lease by it, and what it still writes is refused.
    """
    run = connection.execute(LEASE_OF, {"job_id": job_id}).one_or_none()
    if run is None or not run.expired:
        return cancel(connection, job_id, keep=keep)
    return finish(
        connection,
        job_id,
        Outcome(JobState.CANCELLED),
        attempt=run.attempt,
        from_states=[JobState.RUNNING],
        keep=keep,
        ending="lost",
    )


# --- the controller's ---------------------------------------------------------------------------

PROMOTE = text(
    f"""
    WITH run AS (
        UPDATE job_runs SET state = 'queued', eligible_at = due_at, due_at = NULL, seq = seq + 1
        WHERE job_id = ANY(ARRAY(
            SELECT job_id FROM job_runs WHERE state = 'scheduled' AND due_at <= clock_timestamp()
            ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED
        ))
        RETURNING job_id, state, attempt, seq, pool, kind
    ), {tally("run", "'promoted'", before="'scheduled'", after="'queued'")}
    SELECT job_id, state, attempt, seq FROM run
    """  # noqa: S608
)


def promote(connection: Connection, *, limit: int) -> list[Change]:
    """Queue what has become due."""
    return [_change(row._mapping) for row in connection.execute(PROMOTE, {"limit": limit})]


@dataclass(frozen=True, slots=True)
class Build:
    """Live workers that run the same jobs, and the slots that they have together."""

    name: str
    version: str
    kinds: frozenset[str]
    slots: int


@dataclass(frozen=True, slots=True)
class Need:
    """What a job asks of a worker: that it runs the kind, and is none of those that refused."""

    kind: str
    refused_by: tuple[str, ...] = ()

    def met_by(self, build: Build) -> bool:
        return self.kind in build.kinds and build.version not in self.refused_by


@dataclass(frozen=True, slots=True)
class Room:
    """What a turn has to know of a pool: `held` jobs by owner, unclaimed messages by queue."""

    cursor: UUID
    builds: Sequence[Build]
    held: Mapping[UUID, int]
    unclaimed: Mapping[str | None, int]


# The turn's lock is the pool's own row; whoever finds it taken skips the pool.
LOCK_POOL = text("SELECT cursor FROM pools WHERE name = :pool FOR UPDATE SKIP LOCKED")

BUILDS = text(
    """
    SELECT build AS name, version, kinds, CAST(sum(slots) AS integer) AS slots FROM workers
    WHERE pool = :pool AND NOT draining AND expires_at > clock_timestamp()
    GROUP BY build, version, kinds
    """
)

HELD = text(
    """
    SELECT owner_id, build, count(*) AS held, count(*) FILTER (WHERE state = 'queued') AS unclaimed
    FROM job_runs WHERE pool = :pool AND dispatched_at IS NOT NULL GROUP BY owner_id, build
    """
)


def builds(connection: Connection, pool: str) -> list[Build]:
    """Of the pool's live workers: whose queues somebody reads."""
    rows = connection.execute(BUILDS, {"pool": pool})
    return [Build(row.name, row.version, frozenset(row.kinds), row.slots) for row in rows]


def room(connection: Connection, pool: str) -> Room | None:
    """Lock the pool for this transaction and count; None if another controller has it."""
    parameters = {"pool": pool}
    cursor = connection.execute(LOCK_POOL, parameters).scalar_one_or_none()
    if cursor is None:
        return None
    held: Counter[UUID] = Counter()
    unclaimed: Counter[str | None] = Counter()
    for row in connection.execute(HELD, parameters):
        held[row.owner_id] += row.held
        unclaimed[row.build] += row.unclaimed
    return Room(cursor, builds(connection, pool), held, unclaimed)


# The backlog is never read as a whole. Its index leads by need, then by owner, so that each of
# these statements is a skip scan: one probe for each need, then for each owner, then for each
# owner's first rows, however many lie behind them. What no worker has room for is not even
# probed: it costs nothing, and hides nobody else's jobs.
BACKLOG = "pool = :pool AND state = 'queued' AND dispatched_at IS NULL"

NEEDS = text(
    f"""
    WITH RECURSIVE need AS (
        (SELECT kind, refused_by FROM job_runs
         WHERE {BACKLOG} ORDER BY kind, refused_by LIMIT 1)
        UNION ALL
        SELECT next.kind, next.refused_by FROM need CROSS JOIN LATERAL (
            SELECT kind, refused_by FROM job_runs
            WHERE {BACKLOG} AND (kind, refused_by) > (need.kind, need.refused_by)
            ORDER BY kind, refused_by LIMIT 1
        ) AS next
    )
    SELECT kind, refused_by FROM need
    """  # noqa: S608
)

NEED = """
    SELECT kind, refused_by
    FROM jsonb_to_recordset(CAST(:needs AS jsonb)) AS need (kind text, refused_by text[])
"""
NEEDED = f"{BACKLOG} AND kind = need.kind AND refused_by = need.refused_by"

# A second scan from the start goes round.
WAITING_OWNERS = text(
    f"""
    WITH RECURSIVE need AS ({NEED}), after AS (
        SELECT need.kind, need.refused_by, first.owner_id, 1 AS n
        FROM need CROSS JOIN LATERAL (
            SELECT owner_id FROM job_runs WHERE {NEEDED} AND owner_id > :cursor
            ORDER BY owner_id LIMIT 1
        ) AS first
        UNION ALL
        SELECT need.kind, need.refused_by, next.owner_id, n + 1
        FROM after AS need CROSS JOIN LATERAL (
            SELECT owner_id FROM job_runs WHERE {NEEDED} AND owner_id > need.owner_id
            ORDER BY owner_id LIMIT 1
        ) AS next WHERE n < :limit
    ), wrapped AS (
        SELECT need.kind, need.refused_by, first.owner_id, 1 AS n
        FROM need CROSS JOIN LATERAL (
            SELECT owner_id FROM job_runs WHERE {NEEDED} AND owner_id <= :cursor
            ORDER BY owner_id LIMIT 1
        ) AS first
        UNION ALL
        SELECT need.kind, need.refused_by, next.owner_id, n + 1
        FROM wrapped AS need CROSS JOIN LATERAL (
            SELECT owner_id FROM job_runs
            WHERE {NEEDED} AND owner_id > need.owner_id AND owner_id <= :cursor
            ORDER BY owner_id LIMIT 1
        ) AS next WHERE n < :limit
    )
    SELECT owner_id FROM (
        SELECT 1 AS part, owner_id FROM after UNION SELECT 2, owner_id FROM wrapped
    ) AS owners ORDER BY part, owner_id LIMIT :limit
    """  # noqa: S608
)


def needs(connection: Connection, pool: str) -> list[Need]:
    """What the pool's backlog asks for."""
    rows = connection.execute(NEEDS, {"pool": pool})
    return [Need(row.kind, tuple(row.refused_by)) for row in rows]


def _json(needs: Sequence[Need]) -> str:
    return json.dumps([asdict(need) for need in needs])


def waiting_owners(
    connection: Connection, pool: str, needs: Sequence[Need], *, cursor: UUID, limit: int
) -> list[UUID]:
    """Owners with such a backlog, in round-robin order after the one served last."""
    parameters = {"pool": pool, "needs": _json(needs), "cursor": cursor, "limit": limit}
    return list(connection.execute(WAITING_OWNERS, parameters).scalars())


# Each owner's first rows by their own priorities, then by age, over all the needs at once.
PICK = text(
    f"""
    WITH need AS ({NEED}), candidate AS (
        SELECT first.job_id, share.quota, row_number() OVER (
            PARTITION BY share.owner_id ORDER BY first.priority DESC, first.job_id
        ) AS nth
        FROM unnest(CAST(:owners AS uuid[]), CAST(:quotas AS integer[])) AS share (owner_id, quota)
        CROSS JOIN need
        CROSS JOIN LATERAL (
            SELECT job_id, priority FROM job_runs WHERE {NEEDED} AND owner_id = share.owner_id
            ORDER BY priority DESC, job_id LIMIT share.quota
        ) AS first
    )
    SELECT job_id, owner_id, kind, refused_by FROM job_runs
    WHERE job_id = ANY(ARRAY(SELECT job_id FROM candidate WHERE nth <= quota)) AND {BACKLOG}
    ORDER BY priority DESC, job_id
    FOR UPDATE SKIP LOCKED
    """  # noqa: S608
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row of the backlog that this turn has locked."""

    job_id: UUID
    owner_id: UUID
    need: Need


def pick(
    connection: Connection, pool: str, needs: Sequence[Need], quotas: Mapping[UUID, int]
) -> list[Waiting]:
    """Lock each owner's first rows, as many as its quota; each owner's in the order to be sent."""
    shares = {"owners": list(quotas), "quotas": list(quotas.values())}
    rows = connection.execute(PICK, {"pool": pool, "needs": _json(needs), **shares})
    return [
        Waiting(row.job_id, row.owner_id, Need(row.kind, tuple(row.refused_by))) for row in rows
    ]


DISPATCH = text(
    f"""
    WITH run AS (
        UPDATE job_runs
        SET dispatched_at = clock_timestamp(), build = sent.build, publishes = publishes + 1
        FROM unnest(CAST(:jobs AS uuid[]), CAST(:builds AS text[])) AS sent (job_id, build)
        WHERE job_runs.job_id = sent.job_id
        RETURNING job_runs.job_id, attempt, publishes, pool, kind
    ), {tally("run", "'dispatched'")}
    SELECT job_id, attempt, publishes FROM run
    """  # noqa: S608
)

MOVE_CURSOR = text("UPDATE pools SET cursor = :cursor WHERE name = :pool")


@dataclass(frozen=True, slots=True)
class Message:
    """One message for one row: its id tells it from what was sent for the row before.

    With a `build`, it is for workers of that build alone.
    """

    job_id: UUID
    attempt: int
    publishes: int
    pool: str
    build: str | None = None

    @property
    def task_id(self) -> str:
        return f"{self.job_id}.{self.attempt}.{self.publishes}"


def dispatch(
    connection: Connection, pool: str, placed: Mapping[UUID, str | None], *, cursor: UUID
) -> list[Message]:
    """Mark what `pick` has locked as dispatched: what to publish after the commit, in order.

    `placed` has each job's build, None for the queue that all the pool's workers read.
    """
    rows = connection.execute(DISPATCH, {"jobs": list(placed), "builds": list(placed.values())})
    sent = {row.job_id: row for row in rows}
    connection.execute(MOVE_CURSOR, {"pool": pool, "cursor": cursor})
    return [
        Message(job_id, sent[job_id].attempt, sent[job_id].publishes, pool, build)
        for job_id, build in placed.items()
    ]


# As many as the window has, at most.
UNCLAIMED = text(
    """
    SELECT job_id, attempt, publishes, pool, build FROM job_runs
    WHERE pool = :pool AND dispatched_at < clock_timestamp() - :after AND state = 'queued'
    """
)

# Back into the backlog: dispatch decides anew, and there is a place for it in the window.
REDISPATCH = text(
    f"""
    WITH run AS (
        UPDATE job_runs SET dispatched_at = NULL
        FROM unnest(CAST(:jobs AS uuid[]), CAST(:publishes AS integer[]))
            AS missing (job_id, publishes)
        WHERE job_runs.job_id = missing.job_id AND job_runs.publishes = missing.publishes
          AND state = 'queued' AND dispatched_at IS NOT NULL
        RETURNING job_runs.job_id, pool, kind
    ), {tally("run", "'redispatched'")}
    SELECT job_id FROM run
    """  # noqa: S608
)


def unclaimed(connection: Connection, pool: str, *, after: timedelta) -> list[Message]:
    """Rows whose message went out a while ago and which nobody has claimed."""
    rows = connection.execute(UNCLAIMED, {"pool": pool, "after": after})
    return [Message(**row._mapping) for row in rows]


def redispatch(connection: Connection, lost: Sequence[Message]) -> int:
    """Let what the queues do not hold be sent again: once, whichever controllers found it."""
    return len(
        connection.execute(
            REDISPATCH,
            {
                "jobs": [message.job_id for message in lost],
                "publishes": [message.publishes for message in lost],
            },
        ).all()
    )


@dataclass(frozen=True, slots=True)
class Origin:
    """What a job's spans say, and whose trace they are in: its submission's."""

    job_id: UUID
    kind: str
    traceparent: str | None
    started_at: datetime | None
    """Of its last attempt."""


ORIGINS = text(
    """
    SELECT job.id AS job_id, job.kind, job.traceparent,
           coalesce(run.started_at, job.started_at) AS started_at
    FROM jobs AS job LEFT JOIN job_runs AS run ON run.job_id = job.id
    WHERE job.id = ANY(CAST(:jobs AS uuid[]))
    """
)


def origins(connection: Connection, jobs: Iterable[UUID]) -> dict[UUID, Origin]:
    rows = connection.execute(ORIGINS, {"jobs": list(jobs)})
    return {row.job_id: Origin(**row._mapping) for row in rows}


NOW = text("SELECT clock_timestamp()")


def now(connection: Connection) -> datetime:
    moment: datetime = connection.execute(NOW).scalar_one()
    return moment


# `asked_at` is the database's own time a moment ago: if this statement was held up (a frozen
# server, a stalled network), leases ran out meanwhile and it must take nothing.
EXPIRED = text(
    """
    SELECT job_id, attempt, losses FROM job_runs
    WHERE dispatched_at IS NOT NULL AND state = 'running' AND lease_expires_at < clock_timestamp()
      AND clock_timestamp() < :asked_at + interval '2 seconds'
    LIMIT :limit FOR UPDATE SKIP LOCKED
    """
)

RESCUE = text(
    f"""
    WITH run AS (
        UPDATE job_runs
        SET state = 'queued', losses = losses + 1, seq = seq + 1, dispatched_at = NULL,
            lease_expires_at = NULL, worker_id = NULL, progress = 0, message = '',
            eligible_at = clock_timestamp()
        WHERE job_id = :job_id AND attempt = :attempt AND state = 'running'
          AND lease_expires_at < clock_timestamp() AND cancel_requested_at IS NULL
          AND losses + 1 < :max_losses
        RETURNING job_id, state, attempt, seq, pool, kind, started_at
    ), {tally("run", "'lost'", before="'running'", after="state", seconds=TOOK)}
    SELECT job_id, state, attempt, seq FROM run
    """  # noqa: S608
)


def rescue(
    connection: Connection, *, asked_at: datetime, limit: int, keep: Retention
) -> list[Change]:
    """Take the jobs of the lost: back to the queue, or to their end.

    The caller has been in unbroken contact with the database for a whole `LEASE`.
    """
    changes = []
    expired = connection.execute(EXPIRED, {"asked_at": asked_at, "limit": limit}).all()
    for job_id, attempt, losses in expired:
        row = connection.execute(
            RESCUE, {"job_id": job_id, "attempt": attempt, "max_losses": MAX_LOSSES}
        ).one_or_none()
        change = (
            _change(row._mapping)
            if row is not None
            else finish(
                connection,
                job_id,
                Outcome(
                    JobState.FAILED,
                    error_code="worker-lost",
                    error_detail=f"its worker was lost {losses + 1} times while it ran",
                    dead=True,
                ),
                attempt=attempt,
                from_states=[JobState.RUNNING],
                keep=keep,
                ending="lost",
            )
        )
        if change is not None:
            changes.append(change)
    return changes


def canonical_json(body: bytes) -> bytes:
    """The body with its keys sorted and white space off, for fingerprints."""
    return json.dumps(
        json.loads(body), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    ).encode()
