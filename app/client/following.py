"""A job's events, over streams that break off; by asking, where none can be had."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from uuid import UUID

import anyio
import httpx2

from app.client.answers import Event, Job
from app.client.connection import Connection
from app.client.errors import Refused, Unreachable

# The server says something every 15 s, if only that it is there.
QUIET = httpx2.Timeout(60, connect=10, read=45)

# Streams in a row that told nothing new, before the job is asked after instead: a proxy between
# may hold events back for ever.
SILENT_STREAMS = 3

POLL = 1.0

# None says that there was an answer, with nothing in it yet.
Moments = AsyncGenerator[Event | None, None]

# Seconds without any answer before it is given up: a restart of the server takes fewer.
PATIENCE = 60


async def follow(
    connection: Connection, job_id: UUID, *, streamed: bool = False
) -> AsyncGenerator[Event, None]:
    """Every state that the server tells of, until the job has ended.

    By streams alone where it is to be `streamed`, however silent they are. Raises `ClientError`.
    """
    seen = 0
    silent = 0
    away_since: float | None = None
    while True:
        streaming = streamed or silent < SILENT_STREAMS
        source = _streamed(connection, job_id, seen) if streaming else _asked(connection, job_id)
        silent += 1
        try:
            async with aclosing(source) as events:
                async for event in events:
                    away_since = None
                    if event is None or event.seq <= seen:
                        continue
                    seen = event.seq
                    silent = 0 if streaming else silent
                    yield event
                    if event.ended:
                        return
        except (Unreachable, Refused) as error:
            now = anyio.current_time()
            away_since = away_since or now
            passing = isinstance(error, Unreachable) or error.status >= 500
            if not passing or now - away_since > PATIENCE:
                raise
        await anyio.sleep(POLL)


async def _streamed(connection: Connection, job_id: UUID, seen: int) -> Moments:
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(seen)}
    path = f"/jobs/{job_id}/events"
    async with connection.stream(path, headers=headers, patience=QUIET) as opened:
        yield None
        try:
            async for sent in httpx2.EventSource(opened):
                if sent.event == "job":
                    yield connection.read(Event, sent.data)
        except httpx2.TransportError:  # SSEError too: it is no stream of events
            return


async def _asked(connection: Connection, job_id: UUID) -> Moments:
    response = await connection.ask("GET", f"/jobs/{job_id}")
    yield connection.read(Job, response.content).event()
