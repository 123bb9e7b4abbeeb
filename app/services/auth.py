from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.config import Auth
from app.core.errors import InvalidCredentials, Unauthorized
from app.core.security import AccessToken, PasswordHashing, sign_access_token, verify_access_token
from app.core.transaction import Sessions
from app.models import User
from app.schemas.auth import LoginForm, TokenResponse
from app.schemas.user import UserResponse
from app.services import users


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and until when their token lets them."""

    id: UUID
    until: datetime


async def login(
    sessions: Sessions, passwords: PasswordHashing, auth: Auth, form: LoginForm
) -> TokenResponse:
    """Raises `InvalidCredentials`, which does not say whether the address is registered."""
    statement = select(User.id, User.password_hash).where(
        func.lower(User.email) == func.lower(form.username), User.is_active
    )
    # The connection goes back before the hash is computed: a queue of log-ins holds none.
    async with sessions() as session:
        user = (await session.execute(statement)).one_or_none()
    password_hash = None if user is None else user.password_hash
    matches = await passwords.verify(form.password.get_secret_value(), password_hash)
    if user is None or not matches:
        raise InvalidCredentials("no active user has this address and this password")
    return TokenResponse(
        access_token=sign_access_token(auth, user.id), expires_in=auth.access_token_ttl
    )


async def authenticate(session: AsyncSession, auth: Auth, token: str | None) -> UserResponse:
    """Raises `Unauthorized`."""
    return await _active_user(session, _access_token(auth, token))


def _access_token(auth: Auth, token: str | None) -> AccessToken:
    if token is None:
        raise Unauthorized("send an access token: Authorization: Bearer …")
    return verify_access_token(auth, token)


async def _active_user(session: AsyncSession, token: AccessToken) -> UserResponse:
    user = await users.find_active(session, token.user_id)
    if user is None:
        raise Unauthorized("the token's user is no longer active")
    return user


async def identify(sessions: Sessions, auth: Auth, token: str | None) -> Caller:
    """As `authenticate`, for what streams: no connection is held afterwards.

    Raises `Unauthorized`.
    """
    access = _access_token(auth, token)
    async with sessions() as session:
        user = await _active_user(session, access)
    return Caller(user.id, access.expires_at)
