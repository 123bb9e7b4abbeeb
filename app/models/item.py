from uuid import UUID

from sqlalchemy import BigInteger, Computed, ForeignKey, Index, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, CreatedAt, Id

# Words as they are, in whatever language: a stemmer fits one and is wrong in all others.
SEARCH_CONFIGURATION = "simple"


class Item(Base):
    __tablename__ = "items"
    __table_args__ = (
        Index("items_owner_idx", "owner_id", "id"),
        Index("items_tags_idx", "tags", postgresql_using="gin"),
        Index("items_search_idx", "search", postgresql_using="gin"),
    )

    id: Mapped[Id]
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    title: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    # Grows with every change, by whoever makes it: what its ETag says.
    version: Mapped[int] = mapped_column(BigInteger, server_default=text("1"))
    search: Mapped[str] = mapped_column(
        TSVECTOR,
        Computed(
            f"to_tsvector('{SEARCH_CONFIGURATION}'::regconfig, title || ' ' || description)",
            persisted=True,
        ),
    )
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
