"""What endpoints ask for, by type alone."""

from collections.abc import AsyncIterator
from typing import Annotated

import structlog
from fastapi import Depends, Query
from fastapi.security import OAuth2PasswordBearer
from obstore.store import ObjectStore
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import HTTPConnection

from app.api.state import State, state_of
from app.core.config import Settings
from app.core.pagination import DEFAULT_LIMIT, MAX_LIMIT, PageRequest
from app.core.security import PasswordHashing
from app.core.transaction import Sessions, transaction
from app.jobs import KindRegistry
from app.schemas.user import UserResponse
from app.services import auth
from app.services.auth import Caller
from app.services.dispatch_hint import DispatchHint
from app.services.events import EventHub

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


SettingsDep = Annotated[Settings, Depends(get_settings)]
# For what must not hold a connection all along: log-ins, uploads, streams.
SessionsDep = Annotated[Sessions, Depends(get_sessions)]
StoreDep = Annotated[ObjectStore, Depends(get_store)]
KindsDep = Annotated[KindRegistry, Depends(get_kinds)]
EventsDep = Annotated[EventHub, Depends(get_events)]
PasswordsDep = Annotated[PasswordHashing, Depends(get_passwords)]
HintDep = Annotated[DispatchHint, Depends(get_hint)]


# --- the request's own ----------------------------------------------------------------------------


async def get_session(state: StateDep) -> AsyncIterator[AsyncSession]:
    async with transaction(state.sessions) as session:
        yield session


# In function scope it commits before the response is sent: in request scope, FastAPI's default
# since 0.118, a failed commit would have answered 200 already.
SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]

# Never raises by itself: all problems are made in one place.
bearer = OAuth2PasswordBearer(tokenUrl="/api/v1/auth/login", auto_error=False)


async def get_current_user(
    session: SessionDep, settings: SettingsDep, token: Annotated[str | None, Depends(bearer)]
) -> UserResponse:
    user = await auth.authenticate(session, settings.auth, token)
    structlog.contextvars.bind_contextvars(user_id=str(user.id))
    return user


CurrentUser = Annotated[UserResponse, Depends(get_current_user)]
# For an operation that wants some user, whoever it is: `dependencies=[LOGGED_IN]`.
LOGGED_IN = Depends(get_current_user)


async def get_caller(
    sessions: SessionsDep, settings: SettingsDep, token: Annotated[str | None, Depends(bearer)]
) -> Caller:
    caller = await auth.identify(sessions, settings.auth, token)
    structlog.contextvars.bind_contextvars(user_id=str(caller.id))
    return caller


# The current user of an upload, a download or a stream: it holds no connection meanwhile.
StreamingUser = Annotated[Caller, Depends(get_caller)]


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
