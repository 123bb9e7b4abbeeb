"""Who reads the newsletter. An address is on the list once its owner has confirmed it."""

from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from uuid import UUID

from sqlalchemy import delete, func, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.addresses import known_spelling
from app.core.config import Settings
from app.core.errors import InvalidLink
from app.core.links import sign_link, verify_link
from app.core.mail import Post, compose
from app.models import NewsletterSubscription as Subscription
from app.schemas.newsletter import (
    LinkToken,
    SubscriptionCreate,
    SubscriptionRequested,
    SubscriptionResponse,
)
from app.services.rate_limits import RateLimiter

CONFIRM = "newsletter/confirm"
UNSUBSCRIBE = "newsletter/unsubscribe"

# Lines short enough to be sent as they are (RFC 5322, 2.1.1), but for the links.
CONFIRMATION = """\
Somebody, you we hope, asked for our newsletter to be sent to this
address. To get it, confirm by {until:%d %B %Y, %H:%M} UTC:

{confirm}

If it was not you, do nothing, and no newsletter comes.

Whenever you want it no more:

{unsubscribe}
"""


async def subscribe(
    session: AsyncSession,
    limits: RateLimiter,
    settings: Settings,
    new: SubscriptionCreate,
    *,
    post: Post,
    address: str,
) -> SubscriptionRequested:
    """Mail a link to the reader, unless they have confirmed or were mailed one just now.

    One statement decides, so that of requests at once for one reader one sends a mail. `address`
    is whose request it is: nobody has us write to half the world. Raises `TooManyRequests`.
    """
    limit = settings.newsletter.subscriptions_per_address
    await limits.hit(limit, "newsletter", address)
    statement = insert(Subscription).values(email=known_spelling(Subscription.email, new.email))
    interval = timedelta(seconds=settings.newsletter.mail_interval)
    statement = statement.on_conflict_do_update(
        index_elements=[func.lower(Subscription.email)],
        # As it is written now: the confirmation comes from whom it reaches.
        set_={"email": new.email, "mailed_at": func.clock_timestamp()},
        where=Subscription.confirmed_at.is_(None)
        & (Subscription.mailed_at <= func.clock_timestamp() - interval),
    )
    mailed = (await session.execute(statement.returning(Subscription.id))).scalar_one_or_none()
    if mailed is not None:
        post(_confirmation(settings, mailed, new.email))
    return SubscriptionRequested(email=new.email, confirm_within=settings.newsletter.confirm_ttl)


def _confirmation(settings: Settings, subscription: UUID, email: str) -> EmailMessage:
    until = datetime.now(UTC) + timedelta(seconds=settings.newsletter.confirm_ttl)
    page = settings.newsletter.page_url
    text = CONFIRMATION.format(
        until=until,
        # Behind the #, which browsers keep to themselves: no server's log has the tokens.
        confirm=f"{page}#confirm={sign_link(settings.auth, CONFIRM, subscription, until=until)}",
        unsubscribe=f"{page}#unsubscribe={sign_link(settings.auth, UNSUBSCRIBE, subscription)}",
    )
    return compose(settings.mail, to=email, subject="Confirm your subscription", text=text)


async def confirm(
    session: AsyncSession, settings: Settings, link: LinkToken
) -> SubscriptionResponse:
    """Once or again. Raises `InvalidLink`, also when the address has unsubscribed since."""
    subscription = verify_link(settings.auth, CONFIRM, link.token.get_secret_value())
    statement = (
        update(Subscription)
        .where(Subscription.id == subscription)
        .values(confirmed_at=func.coalesce(Subscription.confirmed_at, func.clock_timestamp()))
        .returning(Subscription.email, Subscription.confirmed_at)
    )
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        raise InvalidLink(
            "there is no such subscription any more: subscribe again", field="body.token"
        )
    return SubscriptionResponse.model_validate(row, from_attributes=True)


async def unsubscribe(session: AsyncSession, settings: Settings, link: LinkToken) -> None:
    """Forget the address; that it is forgotten already is no error. Raises `InvalidLink`."""
    subscription = verify_link(settings.auth, UNSUBSCRIBE, link.token.get_secret_value())
    await session.execute(delete(Subscription).where(Subscription.id == subscription))
