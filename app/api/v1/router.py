from fastapi import APIRouter

from app.api.v1.endpoints import (
    auth,
    files,
    items,
    job_events,
    job_socket,
    jobs,
    newsletter,
    users,
)
from app.jobs import KindRegistry


def api_router(kinds: KindRegistry) -> APIRouter:
    """Version 1, with an operation for each of the kinds."""
    router = APIRouter(prefix="/api/v1")
    router.include_router(auth.router)
    router.include_router(users.router)
    router.include_router(items.router)
    router.include_router(files.router)
    router.include_router(job_events.router)
    router.include_router(job_socket.router)
    router.include_router(jobs.router(kinds))
    router.include_router(newsletter.router)
    return router
