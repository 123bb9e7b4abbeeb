from uuid import UUID

from sqlalchemy import ARRAY, Text, false, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, CreatedAt, Timestamp


class Pool(Base):
    """A worker pool: its row is locked by the one turn that fills its window."""

    __tablename__ = "pools"

    name: Mapped[str] = mapped_column(primary_key=True)
    # Round robin: the owner who was served last.
    cursor: Mapped[UUID] = mapped_column(
        server_default=text("'00000000-0000-0000-0000-000000000000'")
    )


class Worker(Base):
    """A live worker, as it says of itself; gone once it has not said so for a lease."""

    __tablename__ = "workers"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    pool: Mapped[str]
    hostname: Mapped[str]
    version: Mapped[str]
    # Its version and kinds in one word: workers of one build run the same jobs.
    build: Mapped[str]
    kinds: Mapped[list[str]] = mapped_column(ARRAY(Text))
    slots: Mapped[int]
    busy: Mapped[int]
    draining: Mapped[bool] = mapped_column(server_default=false())
    started_at: Mapped[CreatedAt]
    expires_at: Mapped[Timestamp]
