"""Sessions: opened by a log-in, kept alive by refreshing, over once their row is gone.

A refresh token is good once. Whoever uses one again is not its only holder, so the session ends;
unless it was the last one and a moment ago, when the answer may just not have arrived.
"""

import hmac
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import structlog
from sqlalchemy import ColumnElement, Interval, delete, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.config import Auth
from app.core.tokens import RefreshToken
from app.models import LoginSession, User

log = structlog.get_logger(__name__)

# An answer that got lost is asked for again within this time.
GRACE = timedelta(seconds=10)

NOW = func.clock_timestamp()

LIVE: ColumnElement[bool] = LoginSession.expires_at > NOW
LASTS: ColumnElement[timedelta] = (LoginSession.expires_at - NOW).cast(Interval)


@dataclass(frozen=True, slots=True)
class OpenSession:
    id: UUID
    user_id: UUID
    refresh_token: RefreshToken
    lasts: timedelta


async def begin(
    session: AsyncSession, auth: Auth, user_id: UUID, password_hash: str
) -> OpenSession | None:
    """A new session; None if the user is no longer active, or has another password by now.

    The user's row is locked for share: who changes the password either came first, and is seen, or
    waits, and ends this session with the others.
    """
    kid, secret = next(iter(auth.keys.items()))
    token = RefreshToken.derive(secret, uuid4(), 1)
    ends_at = NOW + timedelta(seconds=auth.session_ttl)
    row = {
        "user_id": User.id,
        "family": literal(token.family),
        "generation": literal(1),
        "kid": literal(kid),
        "digest": literal(token.digest),
        "expires_at": func.least(NOW + timedelta(seconds=auth.refresh_token_ttl), ends_at),
        "ends_at": ends_at,
    }
    user = (
        select(*row.values())
        .where(User.id == user_id, User.is_active, User.password_hash == password_hash)
        .with_for_update(read=True)
    )
    begun = await session.execute(
        insert(LoginSession).from_select(list(row), user).returning(LoginSession.id, LASTS)
    )
    found = begun.one_or_none()
    return None if found is None else OpenSession(found[0], user_id, token, found[1])


async def refresh(session: AsyncSession, auth: Auth, token: RefreshToken) -> OpenSession | None:
    """The session with its next token; None if the token opens none.

    Ends the session if the token was used before: commit whatever this returns.
    """
    # The lock makes one of those who come at once the first; the others find what it left.
    statement = (
        select(
            LoginSession.id,
            LoginSession.user_id,
            LoginSession.generation,
            LoginSession.kid,
            LoginSession.digest,
            LoginSession.previous_digest,
            (LoginSession.refreshed_at > NOW - GRACE).label("just_now"),
            LASTS.label("lasts"),
        )
        .join(User, User.id == LoginSession.user_id)
        .where(LoginSession.family == token.family, LIVE, User.is_active)
        .with_for_update(of=LoginSession)
    )
    current = (await session.execute(statement)).one_or_none()
    if current is None:
        return None
    if hmac.compare_digest(current.digest, token.digest):
        next_token, lasts = await _advance(session, auth, token, current.generation + 1)
        return OpenSession(current.id, current.user_id, next_token, lasts)
    if current.just_now and hmac.compare_digest(current.previous_digest or b"", token.digest):
        # The answer got lost, and its token was not used yet: the same once more.
        successor = _derive(auth, current.kid, token.family, current.generation)
        if successor is None or successor.digest != current.digest:
            # Its key is gone by now: no harm done, and nothing to answer with.
            return None
        return OpenSession(current.id, current.user_id, successor, current.lasts)
    log.warning(
        "refresh token used again: session ended",
        session_id=str(current.id),
        user_id=str(current.user_id),
    )
    await end(session, token)
    return None


def _derive(auth: Auth, kid: str, family: UUID, generation: int) -> RefreshToken | None:
    secret = auth.keys.get(kid)
    return None if secret is None else RefreshToken.derive(secret, family, generation)


async def _advance(
    session: AsyncSession, auth: Auth, token: RefreshToken, generation: int
) -> tuple[RefreshToken, timedelta]:
    kid, secret = next(iter(auth.keys.items()))
    successor = RefreshToken.derive(secret, token.family, generation)
    advanced = await session.execute(
        update(LoginSession)
        .where(LoginSession.family == token.family)
        .values(
            generation=generation,
            kid=kid,
            digest=successor.digest,
            previous_digest=token.digest,
            refreshed_at=NOW,
            expires_at=func.least(
                NOW + timedelta(seconds=auth.refresh_token_ttl), LoginSession.ends_at
            ),
        )
        .returning(LASTS)
    )
    return successor, advanced.scalar_one()


async def end(session: AsyncSession, token: RefreshToken) -> None:
    """Whichever of the session's tokens it is."""
    await session.execute(delete(LoginSession).where(LoginSession.family == token.family))


async def end_all(session: AsyncSession, user_id: UUID, *, but: UUID | None = None) -> None:
    statement = delete(LoginSession).where(LoginSession.user_id == user_id)
    if but is not None:
        statement = statement.where(LoginSession.id != but)
    await session.execute(statement)
