"""Passwords and access tokens."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from types import TracebackType
from typing import Self, TypeVar
from uuid import UUID

import jwt
from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher

from app.core.config import Auth
from app.core.errors import Unauthorized, Unavailable

# OWASP's Password Storage Cheat Sheet: Argon2id with 19 MiB, two iterations, one thread.
ARGON2ID = PasswordHash((Argon2Hasher(time_cost=2, memory_cost=19 * 1024, parallelism=1),))

# Hashes that wait for each thread, some 30 ms each: what comes on top would wait for seconds, and
# is told to come again instead.
BACKLOG_PER_THREAD = 32

ALGORITHM = "HS256"

T = TypeVar("T")


@cache
def nobody() -> str:
    """Verified for whoever does not exist, so that they take as long as who does."""
    return ARGON2ID.hash("nobody")


class PasswordHashing:
    """Argon2id in threads of its own: it releases the GIL, and a login storm takes no more cores.

    Raises `Unavailable` when too many hashes wait already.
    """

    def __init__(self, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._room = threads * (1 + BACKLOG_PER_THREAD)
        nobody()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._room == 0:
            raise Unavailable("too many passwords to check at once: try again in a moment")
        self._room -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        finally:
            self._room += 1

    async def hash(self, password: str) -> str:
        return await self._run(lambda: ARGON2ID.hash(password))

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Whether the password is the one that was hashed; without a hash, never, at equal cost."""
        return await self._run(lambda: self._matches(password, password_hash))

    def _matches(self, password: str, password_hash: str | None) -> bool:
        try:
            matches = ARGON2ID.verify(password, password_hash or nobody())
        except UnknownHashError:
            # Of a user who has no password.
            return self._matches(password, None)
        return matches and password_hash is not None


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What a token says, verified."""

    user_id: UUID
    session_id: UUID
    expires_at: datetime


def sign_access_token(auth: Auth, user_id: UUID, session_id: UUID, *, ttl: int) -> str:
    """`ttl` is in seconds."""
    kid, secret = next(iter(auth.keys.items()))
    now = datetime.now(UTC)
    claims = {
        "sub": str(user_id),
        # As OpenID Connect names a session (Front-Channel Logout, 3).
        "sid": str(session_id),
        "iat": now,
        "exp": now + timedelta(seconds=ttl),
    }
    return jwt.encode(claims, secret, algorithm=ALGORITHM, headers={"kid": kid})


def verify_access_token(auth: Auth, token: str) -> AccessToken:
    """Raises `Unauthorized`."""
    try:
        # The header says which of our own keys to try; nothing else of it is believed.
        key = auth.keys[jwt.get_unverified_header(token)["kid"]]
        claims = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            # When it was issued is no reason: by another process's clock, that may be to come.
            options={"require": ["exp", "iat", "sub", "sid"], "verify_iat": False},
        )
        return AccessToken(
            UUID(claims["sub"]),
            UUID(claims["sid"]),
            datetime.fromtimestamp(claims["exp"], UTC),
        )
    except jwt.ExpiredSignatureError:
        raise Unauthorized("the access token has expired: refresh it, or log in again") from None
    except (jwt.InvalidTokenError, KeyError, ValueError, TypeError):
        raise Unauthorized("this is no access token of ours: log in") from None
