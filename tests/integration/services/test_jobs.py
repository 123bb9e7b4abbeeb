"""Business rules called as they are: a session, their own arguments, their own errors."""

from uuid import uuid4

import pytest
from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from app.core.config import Settings
from app.core.errors import IdempotencyConflict, InvalidInput, NotFound
from app.core.pagination import PageRequest
from app.jobs import FileId
from app.models import Job, User
from app.models.job import JobState
from app.schemas.job import JobFilters, JobSubmission
from app.schemas.user import UserResponse
from app.services import jobs
from app.services.dispatch_hint import DispatchHint
from app.services.jobs import Idempotency
from tests.integration.api.kinds import Count, Draw, count, draw

pytestmark = pytest.mark.anyio


def submission(spec: BaseModel) -> JobSubmission:
    return JobSubmission(spec=spec)


async def test_a_job_is_accepted_once_for_a_key(
    session: AsyncSession, hint: DispatchHint, ada: UserResponse
) -> None:
    words = submission(Count(words="one two"))
    key = Idempotency("monday", b'{"spec": {"words": "one two"}}')
    first = await jobs.submit(session, hint, ada.id, count, words, wait_target=60, idempotency=key)
    again = await jobs.submit(session, hint, ada.id, count, words, wait_target=60, idempotency=key)
    assert (first.job.state, first.replayed) == (JobState.QUEUED, False)
    assert (again.job.id, again.replayed) == (first.job.id, True)
    other = Idempotency("monday", b'{"spec": {"words": "three"}}')
    with pytest.raises(IdempotencyConflict, match=str(first.job.id)):
        await jobs.submit(session, hint, ada.id, count, words, wait_target=60, idempotency=other)


async def test_another_owners_job_is_not_there(
    session: AsyncSession, hint: DispatchHint, settings: Settings, ada: UserResponse
) -> None:
    accepted = await jobs.submit(
        session, hint, ada.id, count, submission(Count(words="a")), wait_target=60
    )
    for stranger in uuid4(), uuid4():
        with pytest.raises(NotFound):
            await jobs.get(session, stranger, accepted.job.id)
        with pytest.raises(NotFound):
            await jobs.cancel(session, hint, settings, stranger, accepted.job.id)
        page = await jobs.list_page(session, stranger, JobFilters(), PageRequest())
        assert page.items == []
    cancelled = await jobs.cancel(session, hint, settings, ada.id, accepted.job.id)
    assert cancelled.state == JobState.CANCELLED


async def test_the_field_at_fault_is_named(
    session: AsyncSession, hint: DispatchHint, ada: UserResponse
) -> None:
    missing = submission(Draw(source=FileId(int=uuid4().int)))
    with pytest.raises(InvalidInput) as refused:
        await jobs.submit(session, hint, ada.id, draw, missing, wait_target=60)
    assert refused.value.field == "body.spec.source"


async def test_a_service_commits_nothing(
    session: AsyncSession, hint: DispatchHint, ada: UserResponse, async_engine: AsyncEngine
) -> None:
    await jobs.submit(session, hint, ada.id, count, submission(Count(words="a")), wait_target=60)
    assert await session.scalar(select(func.count()).select_from(Job)) == 1
    async with AsyncSession(async_engine) as elsewhere:
        for model in User, Job:
            assert await elsewhere.scalar(select(func.count()).select_from(model)) == 0
    # Nor is anybody told of a job that is not there.
    assert hint._pools == set()
