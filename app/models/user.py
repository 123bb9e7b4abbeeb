from uuid import UUID

from sqlalchemy import ForeignKey, Index, false, func, true
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, CreatedAt, Id


class User(Base):
    __tablename__ = "users"

    id: Mapped[Id]
    email: Mapped[str]
    password_hash: Mapped[str]
    full_name: Mapped[str | None]
    is_active: Mapped[bool] = mapped_column(server_default=true())
    is_admin: Mapped[bool] = mapped_column(server_default=false())
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]


# Addresses differ by more than case only on paper (RFC 5321, 2.4).
Index("users_email_key", func.lower(User.email), unique=True)


class Erasure(Base):
    """A user who has left: what is theirs is being removed, and in the end their row."""

    __tablename__ = "erasures"

    user_id: Mapped[UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    requested_at: Mapped[CreatedAt]
