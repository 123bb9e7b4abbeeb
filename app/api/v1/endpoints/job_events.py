import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app.api.deps import NOT_STORED, EventsDep, SessionsDep, StreamingUser
from app.api.gauges import counted_stream
from app.api.openapi import Responses, problems
from app.core.errors import DomainError, NotFound, Unavailable
from app.schemas.job import MAX_SEQ, JobEvent
from app.services import jobs

router = APIRouter(prefix="/jobs", tags=["jobs"])

# Milliseconds that a client waits before it connects again: this process is about to leave.
COME_AGAIN = (500, 1500)

STREAM: Responses = {
    200: {
        "description": "Events named `job` until the job has ended: the `id` of each is its `seq`, "
        "its `data` a `JobEvent` as JSON.",
    }
}


async def watch_job(
    job_id: UUID,
    user: StreamingUser,
    sessions: SessionsDep,
    hub: EventsDep,
    last_event_id: Annotated[
        int, Header(ge=0, le=MAX_SEQ, description="The last event that the client has seen.")
    ] = 0,
) -> AsyncGenerator[JobEvent, None]:
    """The owner's only; the check is over, and its connection given back, before the stream."""
    async with sessions() as session:
        await jobs.get(session, user.id, job_id)
    return hub.watch(job_id, user, after=last_event_id)


@router.get(
    "/{job_id}/events",
    response_class=EventSourceResponse,
    responses=STREAM | problems(NotFound),
    dependencies=[NOT_STORED],
)
async def job_events(
    watched: Annotated[AsyncGenerator[JobEvent, None], Depends(watch_job)],
) -> AsyncIterator[ServerSentEvent]:
    """Follow a job: its state now, then as it changes. The newest is never missed.

    The same address takes a WebSocket. Its first message is the client's only one,
    `{"access_token": "…", "after": 0}`; all others are `JobEvent`s. It is closed with 1000 when the
    job has ended, 1012 when the server is about to leave (come again), else with 4000 and the
    status that a problem would have had: 4401, 4404, 4408 (no first message within 5 s), 4422.
    """
    # A stream has no way to say why it ends early: who comes again is told.
    async with aclosing(watched):
        with counted_stream("sse"), suppress(DomainError):
            try:
                async for event in watched:
                    yield ServerSentEvent(data=event, event="job", id=str(event.seq))
            except Unavailable:
                # All of this process's clients come again, and not all at once.
                yield ServerSentEvent(retry=random.randint(*COME_AGAIN))  # noqa: S311
