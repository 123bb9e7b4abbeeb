"""A session for services, without HTTP: they never commit, so nothing of a test stays."""

from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from app.core.config import Settings
from app.core.security import PasswordHashing
from app.schemas.user import UserCreate, UserResponse
from app.services import users
from app.services.dispatch_hint import DispatchHint, hint_client


@pytest.fixture
async def session(async_engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(async_engine) as session:
        yield session
        await session.rollback()


@pytest.fixture
def passwords() -> Iterator[PasswordHashing]:
    with PasswordHashing(threads=1) as passwords:
        yield passwords


@pytest.fixture
async def hint(settings: Settings) -> AsyncIterator[DispatchHint]:
    """Tells nobody: what services leave with it is told after a commit."""
    async with hint_client(settings.redis) as redis:
        yield DispatchHint(redis)


@pytest.fixture
async def ada(session: AsyncSession, passwords: PasswordHashing) -> UserResponse:
    new = UserCreate.model_validate(
        {"email": "ada@example.com", "password": "correct horse battery"}
    )
    return await users.create(session, passwords, new)
