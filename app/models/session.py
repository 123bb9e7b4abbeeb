from uuid import UUID

from sqlalchemy import ForeignKey, Index, LargeBinary, Uuid, func
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, CreatedAt, Id, Timestamp


class LoginSession(Base):
    """A log-in and all that came of it by refreshing; without its row, its tokens open nothing."""

    __tablename__ = "sessions"
    __table_args__ = (
        Index("sessions_user_idx", "user_id"),
        Index("sessions_expiry_idx", "expires_at"),
    )

    id: Mapped[Id]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    # Stands in refresh tokens only: access tokens, which carry the id, end up in more places, and
    # nobody who has merely seen one can pass for the holder of an old refresh token.
    family: Mapped[UUID] = mapped_column(Uuid, unique=True, server_default=func.gen_random_uuid())

    # The one refresh token that is good, the key that it was derived with, and the one before it.
    generation: Mapped[int]
    kid: Mapped[str]
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    previous_digest: Mapped[bytes | None] = mapped_column(LargeBinary)
    refreshed_at: Mapped[CreatedAt]

    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Timestamp]
    # However often it is refreshed.
    ends_at: Mapped[Timestamp]
