"""The API with one handler that stands still for 2 s at every request: `uvicorn --factory`."""

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

from app.main import create_app

STALL = 2.0


def create() -> ASGIApp:
    app = create_app()

    async def stalled(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (scope["method"], scope["path"]) == ("GET", "/api/v1/items"):
            await asyncio.sleep(STALL)
        await app(scope, receive, send)

    return stalled
