from enum import StrEnum
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    Text,
    false,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, CreatedAt, Id, Timestamp


class JobState(StrEnum):
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


class Job(Base):
    """What was asked for, and how it ended: written twice, read ever after."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint("outcome IN ('succeeded', 'failed', 'cancelled')", name="outcome"),
        CheckConstraint("(outcome IS NULL) = (finished_at IS NULL)", name="finished_has_outcome"),
        Index("jobs_owner_idx", "owner_id", "id"),
        Index(
            "jobs_idempotency_key",
            "owner_id",
            "kind",
            "idempotency_key",
            unique=True,
            postgresql_where="idempotency_key IS NOT NULL",
        ),
        Index("jobs_expiry_idx", "expires_at", postgresql_where="expires_at IS NOT NULL"),
        Index(
            "jobs_idempotency_age_idx",
            "created_at",
            postgresql_where="idempotency_key IS NOT NULL",
        ),
        Index("jobs_dead_idx", "id", postgresql_where="dead"),
    )

    id: Mapped[Id]
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    kind: Mapped[str]
    spec: Mapped[object] = mapped_column(JSONB)
    priority: Mapped[int]
    idempotency_key: Mapped[str | None]
    # SHA-256 of the body as sent, in canonical JSON (RFC 8785's order of keys).
    fingerprint: Mapped[bytes | None] = mapped_column(LargeBinary)
    traceparent: Mapped[str | None]
    created_at: Mapped[CreatedAt]

    # Written once, by the transaction that deletes the run.
    outcome: Mapped[str | None]
    result: Mapped[object | None] = mapped_column(JSONB)
    error_code: Mapped[str | None]
    error_detail: Mapped[str | None]
    # A dead letter: given up after too many tries or losses, not refused for its input.
    dead: Mapped[bool] = mapped_column(server_default=false())
    attempt: Mapped[int] = mapped_column(server_default=text("0"))
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    seq: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    started_at: Mapped[Timestamp | None]
    finished_at: Mapped[Timestamp | None]
    expires_at: Mapped[Timestamp | None]


class JobRun(Base):
    """The hot half of a job, there only while the job is not terminal.

    Heartbeats and progress touch no indexed column and no index's predicate, and the pages keep
    room for them, so that those updates are heap-only (HOT).
    """

    __tablename__ = "job_runs"
    __table_args__ = (
        CheckConstraint("state IN ('scheduled', 'queued', 'running')", name="state"),
        CheckConstraint(
            "(state = 'running') = (lease_expires_at IS NOT NULL)", name="running_has_lease"
        ),
        CheckConstraint("(state = 'scheduled') = (due_at IS NOT NULL)", name="scheduled_is_due"),
        Index(
            "job_runs_backlog_idx",
            "pool",
            "kind",
            "refused_by",
            "owner_id",
            text("priority DESC"),
            "job_id",
            postgresql_where="state = 'queued' AND dispatched_at IS NULL",
        ),
        Index(
            "job_runs_held_idx", "pool", "owner_id", postgresql_where="dispatched_at IS NOT NULL"
        ),
        Index("job_runs_due_idx", "due_at", postgresql_where="state = 'scheduled'"),
        Index("job_runs_oldest_idx", "pool", "eligible_at", postgresql_where="state = 'queued'"),
        {
            "postgresql_with": {
                "fillfactor": 60,
                # The table is small and churns: clean it by the thousand, not by the fifth.
                "autovacuum_vacuum_scale_factor": 0.02,
                "autovacuum_vacuum_cost_delay": 0,
            }
        },
    )

    job_id: Mapped[UUID] = mapped_column(
        ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True
    )
    owner_id: Mapped[UUID]
    kind: Mapped[str]
    pool: Mapped[str]
    priority: Mapped[int]
    state: Mapped[str]
    due_at: Mapped[Timestamp | None]
    # Since when a worker may have it; of one that is scheduled it says nothing.
    eligible_at: Mapped[CreatedAt]
    # The same of its first attempt; NULL for a job that an older version accepted.
    first_eligible_at: Mapped[Timestamp | None]
    # Seconds within which each attempt should start.
    wait_target: Mapped[float | None]

    # Set while a message, a claim or both stand for the row: what its owner holds of the pool.
    dispatched_at: Mapped[Timestamp | None]
    publishes: Mapped[int] = mapped_column(server_default=text("0"))
    # Whose queue its message went to; NULL is the queue that all of the pool's workers read.
    build: Mapped[str | None]
    # Versions of workers that could not read its specification.
    refused_by: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))

    attempt: Mapped[int] = mapped_column(server_default=text("0"))
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    max_tries: Mapped[int]
    losses: Mapped[int] = mapped_column(server_default=text("0"))
    releases: Mapped[int] = mapped_column(server_default=text("0"))
    worker_id: Mapped[UUID | None]
    lease_expires_at: Mapped[Timestamp | None]
    started_at: Mapped[Timestamp | None]
    cancel_requested_at: Mapped[Timestamp | None]

    progress: Mapped[float] = mapped_column(server_default=text("0"))
    message: Mapped[str] = mapped_column(server_default="")
    seq: Mapped[int] = mapped_column(BigInteger, server_default=text("1"))


class JobFile(Base):
    """An input file that an unfinished job needs: it goes with the run, and keeps the file."""

    __tablename__ = "job_files"
    __table_args__ = (Index("job_files_file_idx", "file_id"),)

    job_id: Mapped[UUID] = mapped_column(
        ForeignKey("job_runs.job_id", ondelete="CASCADE"), primary_key=True
    )
    file_id: Mapped[UUID] = mapped_column(ForeignKey("files.id"), primary_key=True)
