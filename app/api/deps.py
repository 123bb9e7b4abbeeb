"""What endpoints ask for, by type alone."""

from collections.abc import AsyncIterator
from email.message import EmailMessage
from typing import Annotated

import structlog
from fastapi import BackgroundTasks, Depends, Query, Request, Response
from fastapi.security import APIKeyHeader, OAuth2PasswordBearer
from obstore.store import ObjectStore
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import HTTPConnection

from app.api.state import State, state_of
from app.core.config import Settings
from app.core.errors import Forbidden, MailNotConfigured
from app.core.mail import Mailer, Post
from app.core.pagination import DEFAULT_LIMIT, MAX_LIMIT, PageRequest
from app.core.security import PasswordHashing
from app.core.transaction import Sessions, transaction
from app.jobs import KindRegistry
from app.schemas.user import UserResponse
from app.services import api_keys, auth
from app.services.api_keys import ApiKeyUses
from app.services.auth import Caller
from app.services.dispatch_hint import DispatchHint
from app.services.events import EventHub
from app.services.rate_limits import RateLimiter, network
from app.services.users import PasswordCheck

# --- what the process owns ------------------------------------------------------------------------


async def get_state(connection: HTTPConnection) -> State:
    return state_of(connection)


StateDep = Annotated[State, Depends(get_state)]


async def get_settings(state: StateDep) -> Settings:
    return state.settings


async def get_sessions(state: StateDep) -> Sessions:
    return state.sessions


async def get_store(state: StateDep) -> ObjectStore:
    return state.store


async def get_kinds(state: StateDep) -> KindRegistry:
    return state.kinds


async def get_events(state: StateDep) -> EventHub:
    return state.events


async def get_passwords(state: StateDep) -> PasswordHashing:
    return state.passwords


async def get_hint(state: StateDep) -> DispatchHint:
    return state.hint


async def get_limits(state: StateDep) -> RateLimiter:
    return state.limits


async def get_api_key_uses(state: StateDep) -> ApiKeyUses:
    return state.api_key_uses


async def get_mailer(state: StateDep) -> Mailer:
    if state.mailer is None:
        raise MailNotConfigured("its operator has to set HEAVYLIFT_MAIL_URL")
    return state.mailer


SettingsDep = Annotated[Settings, Depends(get_settings)]
# For what must not hold a connection all along: log-ins, uploads, streams.
SessionsDep = Annotated[Sessions, Depends(get_sessions)]
StoreDep = Annotated[ObjectStore, Depends(get_store)]
KindsDep = Annotated[KindRegistry, Depends(get_kinds)]
EventsDep = Annotated[EventHub, Depends(get_events)]
PasswordsDep = Annotated[PasswordHashing, Depends(get_passwords)]
HintDep = Annotated[DispatchHint, Depends(get_hint)]
LimitsDep = Annotated[RateLimiter, Depends(get_limits)]
ApiKeyUsesDep = Annotated[ApiKeyUses, Depends(get_api_key_uses)]
MailerDep = Annotated[Mailer, Depends(get_mailer)]


# --- the request's own ----------------------------------------------------------------------------


async def get_session(state: StateDep) -> AsyncIterator[AsyncSession]:
    async with transaction(state.sessions) as session:
        yield session


# In function scope it commits before the response is sent: in request scope, FastAPI's default
# since 0.118, a failed commit would have answered 200 already.
SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]


async def get_client_network(request: Request) -> str:
    """What limits count: whoever it is, they send from there."""
    return network(request.client.host if request.client else "")


ClientNetwork = Annotated[str, Depends(get_client_network)]


async def keep_nowhere(response: Response) -> None:
    response.headers["Cache-Control"] = "private, no-store"


# The default of all responses, stated because the framework has another one for streams.
NOT_STORED = Depends(keep_nowhere)

# Neither raises by itself: all problems are made in one place.
bearer = OAuth2PasswordBearer(tokenUrl="/api/v1/auth/login", auto_error=False)
api_key = APIKeyHeader(
    name="X-API-Key",
    auto_error=False,
    description="As good as a log-in, but for what is about the account itself.",
)

AccessToken = Annotated[str | None, Depends(bearer)]
ApiKey = Annotated[str | None, Depends(api_key)]


async def get_current_user(
    session: SessionDep, settings: SettingsDep, uses: ApiKeyUsesDep, token: AccessToken, key: ApiKey
) -> UserResponse:
    if token is None and key is not None:
        user = await api_keys.authenticate(session, uses, key)
    else:
        user = await auth.authenticate(session, settings.auth, token)
    structlog.contextvars.bind_contextvars(user_id=str(user.id))
    return user


CurrentUser = Annotated[UserResponse, Depends(get_current_user)]
# For an operation that wants some user, whoever it is: `dependencies=[LOGGED_IN]`.
LOGGED_IN = Depends(get_current_user)


async def get_admin(user: CurrentUser) -> UserResponse:
    if not user.is_admin:
        raise Forbidden("this is for admins")
    return user


AdminUser = Annotated[UserResponse, Depends(get_admin)]
# For an operation that any admin may do: `dependencies=[FOR_ADMINS]`.
FOR_ADMINS = Depends(get_admin)


async def get_caller(
    sessions: SessionsDep,
    settings: SettingsDep,
    uses: ApiKeyUsesDep,
    token: AccessToken,
    key: ApiKey,
) -> Caller:
    if token is None and key is not None:
        caller = await api_keys.identify(sessions, uses, key)
    else:
        caller = await auth.identify(sessions, settings.auth, token)
    structlog.contextvars.bind_contextvars(user_id=str(caller.id))
    return caller


# The current user of an upload, a download or a stream: it holds no connection meanwhile.
StreamingUser = Annotated[Caller, Depends(get_caller)]


async def get_person(caller: StreamingUser) -> Caller:
    if caller.by_api_key:
        raise Forbidden("an API key can't do this: log in")
    return caller


# For what is about the account itself: a key that got away must not become the account.
LoggedInUser = Annotated[Caller, Depends(get_person)]
# And for an operation that changes what others may do: `dependencies=[FOR_ADMINS, BY_LOG_IN]`.
BY_LOG_IN = Depends(get_person)


async def get_password_check(state: StateDep, network: ClientNetwork) -> PasswordCheck:
    return PasswordCheck(
        state.sessions, state.checks, state.check_turns, state.limits, state.settings.auth, network
    )


PasswordCheckDep = Annotated[PasswordCheck, Depends(get_password_check)]


async def get_post(background: BackgroundTasks, mailer: MailerDep) -> Post:
    """Mails that go out once the response has, and never if there is an error instead.

    A background task of this process and not a job: nobody waits for the mail server, and what a
    crash or a shutdown loses, its reader asks for again. A job would be kept, retried and listed
    for what is worth nothing a few minutes later. What must arrive is a job.
    """

    def post(message: EmailMessage) -> None:
        background.add_task(mailer.send, message)

    return post


PostDep = Annotated[Post, Depends(get_post)]


async def get_page(
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Items on a page.")] = (
        DEFAULT_LIMIT
    ),
    cursor: Annotated[
        str | None, Query(max_length=2000, description="The last page's `next_cursor`.")
    ] = None,
) -> PageRequest:
    return PageRequest(limit, cursor)


PageParams = Annotated[PageRequest, Depends(get_page)]
