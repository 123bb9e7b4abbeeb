from fastapi import APIRouter

from app.api.bodies import BoundedRoute
from app.api.deps import ClientNetwork, LimitsDep, PostDep, SessionDep, SettingsDep
from app.api.openapi import problems
from app.core.errors import InvalidLink, MailNotConfigured, TooManyRequests
from app.schemas.newsletter import (
    LinkToken,
    SubscriptionCreate,
    SubscriptionRequested,
    SubscriptionResponse,
)
from app.services import newsletter

router = APIRouter(prefix="/newsletter", tags=["newsletter"], route_class=BoundedRoute)


@router.post(
    "/subscriptions", status_code=202, responses=problems(MailNotConfigured, TooManyRequests)
)
async def subscribe(
    new: SubscriptionCreate,
    session: SessionDep,
    limits: LimitsDep,
    settings: SettingsDep,
    post: PostDep,
    address: ClientNetwork,
) -> SubscriptionRequested:
    """Ask for the newsletter: a mail with a link to confirm follows, at most one in a while.

    The answer is the same for every address, and does not say who subscribes already.
    """
    return await newsletter.subscribe(session, limits, settings, new, post=post, address=address)


@router.post("/confirm", responses=problems(InvalidLink))
async def confirm(
    link: LinkToken, session: SessionDep, settings: SettingsDep
) -> SubscriptionResponse:
    """Confirm a subscription with the token of the mail's link, once or again.

    Only by POST: mail programs and virus scanners open links by themselves.
    """
    return await newsletter.confirm(session, settings, link)


@router.post("/unsubscribe", status_code=204, responses=problems(InvalidLink))
async def unsubscribe(link: LinkToken, session: SessionDep, settings: SettingsDep) -> None:
    """End a subscription with the token of a mail's link, once or again."""
    await newsletter.unsubscribe(session, settings, link)
