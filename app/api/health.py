"""Probes. They touch nothing: a dependency that is away must not take every pod out at once."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from app.core.errors import Unavailable

router = APIRouter(tags=["health"])


class Lifecycle:
    """Whether this very process can serve; whoever stops it says `draining` first."""

    def __init__(self) -> None:
        self.started = False
        self.draining = False


class Health(BaseModel):
    status: Literal["ok"] = "ok"


async def get_lifecycle(request: Request) -> Lifecycle:
    lifecycle: Lifecycle = request.app.state.lifecycle
    return lifecycle


LifecycleDep = Annotated[Lifecycle, Depends(get_lifecycle)]


async def require_started(lifecycle: LifecycleDep) -> None:
    if not lifecycle.started:
        raise Unavailable("starting")


async def require_serving(lifecycle: LifecycleDep) -> None:
    if not lifecycle.started or lifecycle.draining:
        raise Unavailable("draining" if lifecycle.draining else "starting")


@router.get("/livez")
async def live() -> Health:
    """The process is alive."""
    return Health()


@router.get("/readyz", dependencies=[Depends(require_serving)])
async def ready() -> Health:
    """This process may be sent requests."""
    return Health()


@router.get("/startupz", dependencies=[Depends(require_started)])
async def started() -> Health:
    """The process has started."""
    return Health()
