from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.addresses import folded, is_address, nearest
from app.core.config import Auth
from app.core.errors import InvalidCredentials, InvalidRefreshToken, Unauthorized
from app.core.security import AccessToken, PasswordHashing, sign_access_token, verify_access_token
from app.core.tokens import RefreshToken
from app.core.transaction import Sessions, transaction
from app.models import LoginSession, User
from app.schemas.auth import LoginForm, TokenResponse
from app.schemas.user import UserResponse
from app.services import login_sessions, users
from app.services.login_sessions import OpenSession
from app.services.rate_limits import RateLimiter


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, by which session or API key, and until when that lets them."""

    id: UUID
    credential: UUID
    until: datetime | None
    by_api_key: bool = False


async def login(
    sessions: Sessions,
    passwords: PasswordHashing,
    limits: RateLimiter,
    auth: Auth,
    form: LoginForm,
    *,
    address: str,
) -> TokenResponse:
    """Begin a session.

    Raises `InvalidCredentials`, which does not say whether the address is registered, and
    `TooManyRequests`.
    """
    await limits.hit(auth.logins_per_address, "login", "address", address)
    statement = (
        select(User.id, User.email, User.password_hash)
        .where(is_address(User.email, form.username), User.is_active)
        .order_by(nearest(User.email, form.username))
        .limit(1)
    )
    # The connection goes back before the hash is computed: a queue of log-ins holds none.
    async with sessions() as session:
        user = (await session.execute(statement)).one_or_none()
    # As it was registered: PostgreSQL finds it in more spellings than Python's `lower` knows
    # ("I" with a dot), and each would have tries of its own. Registered or not, and in Redis, too,
    # nobody is to read who tried.
    email = form.username if user is None else user.email
    account = sha256(folded(email).encode()).hexdigest()
    key = ("login", "account", account)
    # By network first: a stranger's wrong passwords use up the tries of the stranger's network.
    await limits.hit(auth.logins_per_account, *key, address)
    await limits.hit(auth.logins_per_account_anywhere, *key)
    password_hash = None if user is None else user.password_hash
    begun: OpenSession | None = None
    if await passwords.verify(form.password.get_secret_value(), password_hash) and user:
        async with transaction(sessions) as session:
            begun = await login_sessions.begin(session, auth, user.id, user.password_hash)
    if begun is None:
        raise InvalidCredentials("no active user has this address and this password")
    await limits.forget(auth.logins_per_account, *key, address)
    await limits.forget(auth.logins_per_account_anywhere, *key)
    return _tokens(auth, begun)


async def refresh(sessions: Sessions, auth: Auth, text: str) -> TokenResponse:
    """Raises `InvalidRefreshToken`."""
    renewed: OpenSession | None = None
    if (token := RefreshToken.parse(text)) is not None:
        # Of its own, and over before anything is raised: the end of a session whose token was used
        # twice would be rolled back with it.
        async with transaction(sessions) as session:
            renewed = await login_sessions.refresh(session, auth, token)
    if renewed is None:
        raise InvalidRefreshToken("it was used before, has expired or was never ours: log in again")
    return _tokens(auth, renewed)


async def logout(session: AsyncSession, text: str) -> None:
    """Whatever it is that the client has: afterwards it opens nothing."""
    if (token := RefreshToken.parse(text)) is not None:
        await login_sessions.end(session, token)


def _tokens(auth: Auth, session: OpenSession) -> TokenResponse:
    lasts = int(session.lasts.total_seconds())
    ttl = min(auth.access_token_ttl, lasts)
    return TokenResponse(
        access_token=sign_access_token(auth, session.user_id, session.id, ttl=ttl),
        expires_in=ttl,
        refresh_token=session.refresh_token.text,
        refresh_expires_in=lasts,
    )


async def authenticate(session: AsyncSession, auth: Auth, token: str | None) -> UserResponse:
    """The user of an access token. Raises `Unauthorized`."""
    return await _active_user(session, _access_token(auth, token))


def _access_token(auth: Auth, token: str | None) -> AccessToken:
    if token is None:
        raise Unauthorized("send an access token, Authorization: Bearer …, or an X-API-Key")
    return verify_access_token(auth, token)


async def _active_user(session: AsyncSession, token: AccessToken) -> UserResponse:
    """In one statement: that the user is active, and that the session goes on."""
    statement = (
        select(*users.COLUMNS)
        .join(LoginSession, LoginSession.user_id == User.id)
        .where(
            User.id == token.user_id,
            User.is_active,
            LoginSession.id == token.session_id,
            login_sessions.LIVE,
        )
    )
    user = (await session.execute(statement)).one_or_none()
    if user is None:
        raise Unauthorized("the token's session is over: log in again")
    return users.response(user)


async def identify(sessions: Sessions, auth: Auth, token: str | None) -> Caller:
    """As `authenticate`, for what streams: no connection is held afterwards.

    Raises `Unauthorized`.
    """
    access = _access_token(auth, token)
    async with sessions() as session:
        user = await _active_user(session, access)
    return Caller(user.id, access.session_id, access.expires_at)
