"""Probes. `/readyz` waits for the database once; then a dependency that is away, which is away for
every process, takes none of them out of service: what needs it says so, and what does not works."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from app.api.deps import StateDep
from app.core.errors import Unavailable
from app.schemas.health import Health, Readiness

router = APIRouter(tags=["health"])


class Lifecycle:
    """Whether this very process can serve; whoever stops it says `draining` first."""

    def __init__(self) -> None:
        self.started = False
        self.draining = False


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


async def require_reached(state: StateDep) -> None:
    """The database, and its schema, once since the start."""
    if not state.database.reached:
        # The detail never quotes a server: probes are public.
        why = state.database.dependency.health.detail or "it has not answered"
        raise Unavailable(f"postgresql was not reached yet: {why}")


# Load balancers probe with HEAD. It has its own route, so that the document has each probe once.
@router.get("/livez")
@router.head("/livez", include_in_schema=False)
async def live() -> Health:
    """The process is alive."""
    return Health()


READY = [Depends(require_serving), Depends(require_reached)]


@router.get("/readyz", dependencies=READY)
@router.head("/readyz", dependencies=READY, include_in_schema=False)
async def ready(state: StateDep) -> Readiness:
    """This process may be sent requests."""
    return Readiness(dependencies=state.dependencies.health())


@router.get("/startupz", dependencies=[Depends(require_started)])
@router.head("/startupz", dependencies=[Depends(require_started)], include_in_schema=False)
async def started() -> Health:
    """The process has started."""
    return Health()
