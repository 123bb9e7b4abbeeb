from sqlalchemy import Index, func
from sqlalchemy.orm import Mapped

from app.models.base import Base, CreatedAt, Id, Timestamp


class NewsletterSubscription(Base):
    """An address that asked for the newsletter; gone when it unsubscribes, or never confirms."""

    __tablename__ = "newsletter_subscriptions"
    __table_args__ = (
        Index(
            "newsletter_subscriptions_pending_idx",
            "mailed_at",
            postgresql_where="confirmed_at IS NULL",
        ),
    )

    id: Mapped[Id]
    email: Mapped[str]
    created_at: Mapped[CreatedAt]
    # When its latest confirmation mail was handed on.
    mailed_at: Mapped[CreatedAt]
    confirmed_at: Mapped[Timestamp | None]


# Addresses differ by more than case only on paper (RFC 5321, 2.4).
Index("newsletter_subscriptions_email_key", func.lower(NewsletterSubscription.email), unique=True)
