from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, CreatedAt, Id, Timestamp


class FileState(StrEnum):
    PENDING = "pending"
    """Its bytes are on their way; swept at `expires_at` if they never arrive."""
    READY = "ready"
    DELETING = "deleting"
    """Nobody sees it any more; the controller removes its bytes, then its row."""


class File(Base):
    """A file's row exists before its first byte and until its last byte is gone."""

    __tablename__ = "files"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'ready', 'deleting')", name="state"),
        CheckConstraint(
            "state <> 'ready' OR (size IS NOT NULL AND sha256 IS NOT NULL)", name="ready_is_whole"
        ),
        Index("files_owner_idx", "owner_id", "id", postgresql_where="state = 'ready'"),
        Index("files_expiry_idx", "expires_at"),
        Index("files_job_idx", "job_id", postgresql_where="job_id IS NOT NULL"),
    )

    id: Mapped[Id]
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    state: Mapped[str] = mapped_column(server_default=FileState.PENDING)
    key: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    content_type: Mapped[str]
    size: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    # Of an output: the job and the attempt that wrote it.
    job_id: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    attempt: Mapped[int | None]
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Timestamp]
