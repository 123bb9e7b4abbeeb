from uuid import UUID

from fastapi import APIRouter, WebSocket

from app.api.deps import ApiKeyUsesDep, EventsDep, SessionsDep, SettingsDep, get_caller
from app.api.gauges import counted_stream
from app.api.sockets import receive_first, send_all
from app.schemas.job import JobWatch
from app.services import jobs

router = APIRouter(prefix="/jobs")


# Any origin may connect, regardless of HEAVYLIFT_API_CORS_ORIGINS: a browser sends cookies by
# itself, but no token, so a foreign page can't act as the user. The token comes in a message, since
# addresses and headers end up in logs.
@router.websocket("/{job_id}/events")
async def job_socket(
    socket: WebSocket,
    job_id: UUID,
    sessions: SessionsDep,
    settings: SettingsDep,
    uses: ApiKeyUsesDep,
    hub: EventsDep,
) -> None:
    """As `job_events`, for clients that would rather have a WebSocket; described there."""
    asked = await receive_first(socket, JobWatch)
    token, key = asked.credentials
    caller = await get_caller(sessions, settings, uses, token, key)
    async with sessions() as session:
        await jobs.get(session, caller.id, job_id)
    with counted_stream("websocket"):
        await send_all(socket, hub.watch(job_id, caller, after=asked.after))
