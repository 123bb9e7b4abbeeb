from uuid import UUID

import structlog
from fastapi import APIRouter, WebSocket

from app.api.deps import EventsDep, SessionsDep, SettingsDep
from app.api.sockets import receive_first, send_all
from app.schemas.job import JobWatch
from app.services import auth, jobs

router = APIRouter(prefix="/jobs")


# Of any origin: a browser sends no token by itself, as it does cookies, so a foreign page has
# nothing to ride on. The token comes in a message, since addresses and headers end up in logs.
@router.websocket("/{job_id}/events")
async def job_socket(
    socket: WebSocket,
    job_id: UUID,
    sessions: SessionsDep,
    settings: SettingsDep,
    hub: EventsDep,
) -> None:
    """As `job_events`, for clients that would rather have a WebSocket; described there."""
    asked = await receive_first(socket, JobWatch)
    caller = await auth.identify(sessions, settings.auth, asked.access_token.get_secret_value())
    structlog.contextvars.bind_contextvars(user_id=str(caller.id))
    async with sessions() as session:
        await jobs.get(session, caller.id, job_id)
    events = hub.watch(job_id, user_id=caller.id, until=caller.until, after=asked.after)
    await send_all(socket, events)
