from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form

from app.api.bodies import BoundedRoute
from app.api.deps import (
    ClientNetwork,
    CurrentUser,
    LimitsDep,
    LoggedInUser,
    PageParams,
    PasswordsDep,
    SessionDep,
    SessionsDep,
    SettingsDep,
)
from app.api.openapi import problems
from app.core.errors import (
    Forbidden,
    InvalidCredentials,
    InvalidRefreshToken,
    NotFound,
    TooManyRequests,
)
from app.schemas.auth import (
    ApiKeyCreate,
    ApiKeyResponse,
    LoginForm,
    NewApiKeyResponse,
    RefreshRequest,
    TokenResponse,
)
from app.schemas.page import Page
from app.services import api_keys, auth

router = APIRouter(prefix="/auth", tags=["auth"], route_class=BoundedRoute)


@router.post("/login", responses=problems(InvalidCredentials, TooManyRequests))
async def login(
    form: Annotated[LoginForm, Form()],
    sessions: SessionsDep,
    passwords: PasswordsDep,
    limits: LimitsDep,
    settings: SettingsDep,
    address: ClientNetwork,
) -> TokenResponse:
    """Begin a session: exchange an e-mail address and a password for tokens."""
    return await auth.login(sessions, passwords, limits, settings.auth, form, address=address)


@router.post("/refresh", responses=problems(InvalidRefreshToken))
async def refresh(
    body: RefreshRequest, sessions: SessionsDep, settings: SettingsDep
) -> TokenResponse:
    """Go on with a session: the next tokens, for a refresh token that was not used before.

    When the answer gets lost, ask again within 10 seconds: it is the same, as long as the new
    refresh token was not used. Any other second use ends the session, with all its tokens.
    """
    return await auth.refresh(sessions, settings.auth, body.refresh_token.get_secret_value())


@router.post("/logout", status_code=204)
async def logout(body: RefreshRequest, session: SessionDep) -> None:
    """End a session, its access tokens too. What is over already, or never was, is over."""
    await auth.logout(session, body.refresh_token.get_secret_value())


@router.post("/api-keys", status_code=201, responses=problems(Forbidden))
async def create_api_key(
    new: ApiKeyCreate, user: LoggedInUser, session: SessionDep
) -> NewApiKeyResponse:
    """Make an API key, which is shown in this answer and never again. No API key can do it."""
    return await api_keys.create(session, user.id, new)


@router.get("/api-keys")
async def list_api_keys(
    user: CurrentUser, session: SessionDep, page: PageParams
) -> Page[ApiKeyResponse]:
    """Your API keys, newest first, those that have expired too."""
    return await api_keys.list_page(session, user.id, page)


@router.delete("/api-keys/{api_key_id}", status_code=204, responses=problems(NotFound))
async def delete_api_key(api_key_id: UUID, user: CurrentUser, session: SessionDep) -> None:
    """Delete one of your API keys: it opens nothing from now on."""
    await api_keys.remove(session, user.id, api_key_id)
