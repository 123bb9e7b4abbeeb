"""One transaction for one request, and what is to follow once it has committed."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

Sessions = async_sessionmaker[AsyncSession]

_FOLLOW_UPS = "follow_ups"


def after_commit(session: AsyncSession, call: Callable[[], None]) -> None:
    """Call it once the session's transaction has committed, and never if it was rolled back."""
    session.info.setdefault(_FOLLOW_UPS, []).append(call)


@asynccontextmanager
async def transaction(sessions: Sessions) -> AsyncIterator[AsyncSession]:
    """Commit when the block ends, roll back when it raises."""
    async with sessions.begin() as session:
        yield session
    for call in session.info.pop(_FOLLOW_UPS, ()):
        call()
