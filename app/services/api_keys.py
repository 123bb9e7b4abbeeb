"""API keys: for programs, as good as their user's log-in for all but the account itself."""

import asyncio
import hmac
from datetime import timedelta
from typing import NoReturn
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, delete, func, insert, or_, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import tokens
from app.core.errors import InvalidInput, NotFound, Unauthorized
from app.core.pagination import PageRequest
from app.core.tasks import Background, Loops
from app.core.transaction import Sessions, transaction
from app.models import ApiKey, User
from app.schemas.auth import ApiKeyCreate, ApiKeyResponse, NewApiKeyResponse
from app.schemas.page import Page
from app.schemas.user import UserResponse
from app.services import users
from app.services.auth import Caller

log = structlog.get_logger(__name__)

# How exact `last_used_at` is: a key in use costs a write in this time, not one a request.
EXACT = timedelta(minutes=1)

NOW = func.clock_timestamp()

UNUSED_LATELY: ColumnElement[bool] = or_(
    ApiKey.last_used_at.is_(None), ApiKey.last_used_at < NOW - EXACT
)

# Another process that writes the same ones is not waited for.
WRITE_USES = text(
    """
    UPDATE api_keys SET last_used_at = clock_timestamp() WHERE id = ANY(ARRAY(
        SELECT id FROM api_keys
        WHERE id = ANY(CAST(:ids AS uuid[]))
          AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - CAST(:exact AS interval))
        FOR UPDATE SKIP LOCKED
    ))
    """
)

COLUMNS = (
    ApiKey.id,
    ApiKey.name,
    ApiKey.prefix,
    ApiKey.created_at,
    ApiKey.expires_at,
    ApiKey.last_used_at,
)


# --- the owner's ----------------------------------------------------------------------------------


async def create(session: AsyncSession, user_id: UUID, new: ApiKeyCreate) -> NewApiKeyResponse:
    """Raises `InvalidInput` for an expiry that is past."""
    key = tokens.ApiKey.generate()
    lasts = None if new.expires_in is None else timedelta(seconds=new.expires_in)
    expires_at = new.expires_at if lasts is None else NOW + lasts
    statement = (
        insert(ApiKey)
        .values(
            user_id=user_id,
            name=new.name,
            prefix=key.prefix,
            digest=key.digest,
            expires_at=expires_at,
        )
        .returning(*COLUMNS)
    )
    row = (await session.execute(statement)).one()
    if row.expires_at is not None and row.expires_at <= row.created_at:
        raise InvalidInput("it is past", field="body.expires_at")
    return NewApiKeyResponse(**row._mapping, key=key.text)


async def list_page(
    session: AsyncSession, user_id: UUID, page: PageRequest
) -> Page[ApiKeyResponse]:
    statement = select(*COLUMNS).where(ApiKey.user_id == user_id)
    if (after := page.after()) is not None:
        statement = statement.where(ApiKey.id < after)
    rows = await session.execute(statement.order_by(ApiKey.id.desc()).limit(page.limit + 1))
    items, next_cursor = page.cut([ApiKeyResponse(**row._mapping) for row in rows])
    return Page[ApiKeyResponse](items=list(items), next_cursor=next_cursor)


async def remove(session: AsyncSession, user_id: UUID, api_key_id: UUID) -> None:
    """Raises `NotFound`."""
    statement = (
        delete(ApiKey)
        .where(ApiKey.id == api_key_id, ApiKey.user_id == user_id)
        .returning(ApiKey.id)
    )
    if (await session.execute(statement)).one_or_none() is None:
        raise NotFound(f"you have no API key {api_key_id}")


# --- who uses one ---------------------------------------------------------------------------------


class ApiKeyUses(Background):
    """Writes down which keys are in use, in a task of its own: no request waits for it.

    What could not be written is not kept: the next use is as good.
    """

    def __init__(self, sessions: Sessions) -> None:
        super().__init__()
        self._sessions = sessions
        self._used: set[UUID] = set()
        self._something = asyncio.Event()

    def _loops(self) -> Loops:
        return {"uses of API keys": self._write_for_ever}

    def note(self, api_key_id: UUID) -> None:
        self._used.add(api_key_id)
        self._something.set()

    async def _write_for_ever(self) -> NoReturn:
        while True:
            await self._something.wait()
            self._something.clear()
            used, self._used = self._used, set()
            try:
                async with transaction(self._sessions) as session:
                    await session.execute(WRITE_USES, {"ids": list(used), "exact": EXACT})
            except (SQLAlchemyError, OSError) as error:
                log.warning("uses of API keys not written", keys=len(used), error=str(error))


async def authenticate(session: AsyncSession, uses: ApiKeyUses, key: str) -> UserResponse:
    """The user of an API key. Raises `Unauthorized`."""
    user, _ = await _find(session, uses, key)
    return user


async def identify(sessions: Sessions, uses: ApiKeyUses, key: str) -> Caller:
    """As `authenticate`, for what streams: no connection is held afterwards.

    Raises `Unauthorized`.
    """
    async with sessions() as session:
        _, caller = await _find(session, uses, key)
    return caller


async def _find(session: AsyncSession, uses: ApiKeyUses, sent: str) -> tuple[UserResponse, Caller]:
    key = tokens.ApiKey.parse(sent)
    if key is None:
        raise Unauthorized("this is no API key of ours")
    statement = (
        select(
            *users.COLUMNS,
            ApiKey.id.label("api_key_id"),
            ApiKey.digest,
            ApiKey.expires_at.label("until"),
            UNUSED_LATELY.label("to_be_noted"),
        )
        .join(ApiKey, ApiKey.user_id == User.id)
        .where(
            User.is_active,
            ApiKey.prefix == key.prefix,
            or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > NOW),
        )
    )
    row = (await session.execute(statement)).one_or_none()
    if row is None or not hmac.compare_digest(row.digest, key.digest):
        raise Unauthorized("the API key has expired, was deleted or was never ours")
    if row.to_be_noted:
        uses.note(row.api_key_id)
    return users.response(row), Caller(row.id, row.api_key_id, row.until, by_api_key=True)
