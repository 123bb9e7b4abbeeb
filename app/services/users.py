from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, delete, exists, func, insert, not_, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.addresses import is_address, known_spelling
from app.core.config import Auth
from app.core.errors import (
    EmailTaken,
    InvalidInput,
    LastAdmin,
    NotFound,
    TooManyRequests,
    Unauthorized,
    WrongPassword,
)
from app.core.pagination import PageRequest
from app.core.security import PasswordHashing
from app.core.transaction import Sessions, transaction
from app.core.turns import QueueFull, Turns
from app.models import ApiKey, Erasure, User
from app.schemas.page import Page
from app.schemas.user import (
    PasswordChange,
    UserAdministration,
    UserCreate,
    UserDeletion,
    UserFilters,
    UserResponse,
    UserUpdate,
)
from app.services import login_sessions
from app.services.rate_limits import RateLimiter

COLUMNS = (User.id, User.email, User.full_name, User.is_active, User.is_admin, User.created_at)

# Of those who have left, a row may remain for a while.
REMAINS: ColumnElement[bool] = not_(exists().where(Erasure.user_id == User.id))


def response(row: object) -> UserResponse:
    return UserResponse.model_validate(row, from_attributes=True)


# --- registering ----------------------------------------------------------------------------------


async def register(
    session: AsyncSession,
    passwords: PasswordHashing,
    limits: RateLimiter,
    auth: Auth,
    new: UserCreate,
    *,
    address: str,
) -> UserResponse:
    """Raises `EmailTaken` and `TooManyRequests`."""
    await limits.hit(auth.registrations_per_address, "registration", address)
    return await create(session, passwords, new)


async def create(
    session: AsyncSession, passwords: PasswordHashing, new: UserCreate, *, is_admin: bool = False
) -> UserResponse:
    """Raises `EmailTaken`."""
    # Before the first statement: no connection is held while it hashes.
    password_hash = await passwords.hash(new.password.get_secret_value())
    statement = (
        postgresql.insert(User)
        .values(
            email=known_spelling(User.email, new.email),
            password_hash=password_hash,
            is_admin=is_admin,
        )
        .on_conflict_do_nothing(index_elements=[func.lower(User.email)])
        .returning(*COLUMNS)
    )
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        raise _taken()
    return response(row)


def _taken() -> EmailTaken:
    return EmailTaken("log in instead, or take another address", field="body.email")


# --- one's own ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PasswordCheck:
    """Checks the password of a user who is logged in, and hashes a new one.

    Every check counts, right or wrong: each costs a hash. A user's hashes are computed one at a
    time, by threads that no log-in waits for. No connection is held meanwhile.
    """

    sessions: Sessions
    passwords: PasswordHashing
    turns: Turns
    limits: RateLimiter
    auth: Auth
    network: str

    async def confirm(self, user_id: UUID, password: str, *, field: str) -> str:
        """The hash that the password was found to have.

        Raises `WrongPassword`, `TooManyRequests` and `Unavailable`.
        """
        key = ("password", str(user_id))
        # By network first: the use of a stolen token elsewhere leaves tries to its owner.
        await self.limits.hit(self.auth.logins_per_account, *key, self.network)
        await self.limits.hit(self.auth.logins_per_account_anywhere, *key)
        async with self._turn(user_id):
            async with self.sessions() as session:
                statement = select(User.password_hash).where(User.id == user_id, User.is_active)
                password_hash = (await session.execute(statement)).scalar_one_or_none()
            if password_hash is None or not await self.passwords.verify(password, password_hash):
                raise WrongPassword("the account stays as it is", field=field)
        return password_hash

    async def hash(self, user_id: UUID, password: str) -> str:
        """Hash a new password. Raises `TooManyRequests` and `Unavailable`."""
        async with self._turn(user_id):
            return await self.passwords.hash(password)

    @asynccontextmanager
    async def _turn(self, user_id: UUID) -> AsyncIterator[None]:
        try:
            async with self.turns.take(user_id):
                yield
        except QueueFull:
            raise TooManyRequests(retry_after=1) from None


async def update_own(check: PasswordCheck, user_id: UUID, change: UserUpdate) -> UserResponse:
    """Raises `WrongPassword`, `InvalidInput`, `EmailTaken` and `TooManyRequests`."""
    values: dict[str, object] = {}
    confirmed: str | None = None
    field = "body.current_password"
    if "full_name" in change.model_fields_set:
        values["full_name"] = change.full_name
    if change.email is not None:
        # Who has the address can have the account: a token alone is not enough.
        if change.current_password is None:
            raise InvalidInput("another address needs the password", field=field)
        confirmed = await check.confirm(
            user_id, change.current_password.get_secret_value(), field=field
        )
        values["email"] = change.email
    async with transaction(check.sessions) as session:
        if confirmed is not None and not await _still_has(session, user_id, confirmed):
            raise WrongPassword("it has just been changed", field=field)
        if change.email is not None and await _is_anothers(session, user_id, change.email):
            raise _taken()
        updated = await _update(session, user_id, values)
    if updated is None:
        raise Unauthorized("the user has left meanwhile")
    return updated


async def _still_has(session: AsyncSession, user_id: UUID, password_hash: str) -> bool:
    """Who changes the password meanwhile either came first, and is seen, or waits."""
    statement = (
        select(User.id)
        .where(User.id == user_id, User.is_active, User.password_hash == password_hash)
        .with_for_update()
    )
    return (await session.execute(statement)).one_or_none() is not None


async def _is_anothers(session: AsyncSession, user_id: UUID, email: str) -> bool:
    """Whether another user has the address, even in a spelling that the index can't match."""
    others = exists().where(is_address(User.email, email), User.id != user_id)
    return bool((await session.execute(select(others))).scalar_one())


async def _update(
    session: AsyncSession, user_id: UUID, values: dict[str, object]
) -> UserResponse | None:
    """None if there is no such user. Raises `EmailTaken`."""
    statement = (
        update(User)
        .where(User.id == user_id, REMAINS)
        .values(**values, updated_at=func.clock_timestamp())
        .returning(*COLUMNS)
    )
    try:
        row = (await session.execute(statement)).one_or_none()
    except IntegrityError:
        # The address is all that is unique.
        raise _taken() from None
    return None if row is None else response(row)


async def change_password(
    check: PasswordCheck, user_id: UUID, session_id: UUID, change: PasswordChange
) -> None:
    """All other sessions end. Raises `WrongPassword` and `TooManyRequests`."""
    field = "body.current_password"
    confirmed = await check.confirm(
        user_id, change.current_password.get_secret_value(), field=field
    )
    password_hash = await check.hash(user_id, change.new_password.get_secret_value())
    statement = (
        update(User)
        .where(User.id == user_id, User.is_active, User.password_hash == confirmed)
        .values(password_hash=password_hash, updated_at=func.clock_timestamp())
        .returning(User.id)
    )
    async with transaction(check.sessions) as session:
        if (await session.execute(statement)).one_or_none() is None:
            raise WrongPassword("it has just been changed", field=field)
        await login_sessions.end_all(session, user_id, but=session_id)


async def remove_own(check: PasswordCheck, user_id: UUID, asked: UserDeletion) -> None:
    """At once nobody logs in or is let in as this user, and the address is free again.

    The controller cancels their jobs, and removes what is theirs when no worker has any of it.
    Raises `WrongPassword`, `LastAdmin` and `TooManyRequests`.
    """
    field = "body.password"
    confirmed = await check.confirm(user_id, asked.password.get_secret_value(), field=field)
    async with transaction(check.sessions) as session:
        await _keep_an_admin(session, user_id)
        left = {
            # No address that anybody could register or log in with.
            "email": f"erased:{user_id}",
            "password_hash": "!",
            "full_name": None,
            "is_active": False,
            "is_admin": False,
            "updated_at": func.clock_timestamp(),
        }
        statement = (
            update(User)
            .where(User.id == user_id, User.is_active, User.password_hash == confirmed)
            .values(left)
            .returning(User.id)
        )
        if (await session.execute(statement)).one_or_none() is None:
            raise WrongPassword("it has just been changed", field=field)
        await login_sessions.end_all(session, user_id)
        await session.execute(delete(ApiKey).where(ApiKey.user_id == user_id))
        await session.execute(insert(Erasure).values(user_id=user_id))


# --- the admin's ----------------------------------------------------------------------------------


async def list_page(
    session: AsyncSession, filters: UserFilters, page: PageRequest
) -> Page[UserResponse]:
    statement = select(*COLUMNS).where(REMAINS)
    if filters.email is not None:
        statement = statement.where(is_address(User.email, filters.email))
    if filters.is_active is not None:
        statement = statement.where(User.is_active == filters.is_active)
    if (after := page.after(filters)) is not None:
        statement = statement.where(User.id < after)
    rows = await session.execute(statement.order_by(User.id.desc()).limit(page.limit + 1))
    items, next_cursor = page.cut([response(row) for row in rows], filters)
    return Page[UserResponse](items=list(items), next_cursor=next_cursor)


async def get(session: AsyncSession, user_id: UUID) -> UserResponse:
    """Raises `NotFound`."""
    statement = select(*COLUMNS).where(User.id == user_id, REMAINS)
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        raise _unknown(user_id)
    return response(row)


def _unknown(user_id: UUID) -> NotFound:
    return NotFound(f"there is no user {user_id}")


async def administrate(
    session: AsyncSession, user_id: UUID, change: UserAdministration
) -> UserResponse:
    """Raises `NotFound` and `LastAdmin`."""
    if change.is_active is False or change.is_admin is False:
        await _keep_an_admin(session, user_id)
    user = await _update(session, user_id, change.model_dump(exclude_none=True))
    if user is None:
        raise _unknown(user_id)
    if not user.is_active:
        await login_sessions.end_all(session, user_id)
    return user


async def _keep_an_admin(session: AsyncSession, user_id: UUID) -> None:
    """Locks all admins, so that two can't take each other's place away at once.

    Raises `LastAdmin` if there is none but this user.
    """
    statement = (
        select(User.id)
        .where(User.is_admin, User.is_active)
        .order_by(User.id)
        .with_for_update(key_share=True)
    )
    if list(await session.scalars(statement)) == [user_id]:
        raise LastAdmin("make somebody else an admin first")
