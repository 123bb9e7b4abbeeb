"""The application behind a real HTTP server, as `heavylift api` has it, in the test's own loop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from httpx2 import AsyncClient
from uvicorn import Config, Server

from app.api.health import Lifecycle
from app.api.state import State
from app.server import WEBSOCKETS, ApiWorker


async def eventually(condition: Callable[[], object]) -> None:
    """For what another process, or a server's end, tells nobody."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Listening:
    state: State
    host: str
    port: int

    def client(self, token: str | None = None) -> AsyncClient:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        # Loading the authorities for TLS, which is not used here, takes longer than most tests.
        return AsyncClient(
            base_url=f"http://{self.host}:{self.port}/api/v1", headers=headers, verify=False
        )


def as_new(app: FastAPI) -> FastAPI:
    """An application that an earlier test had: routes and their models take a while to make."""
    app.state.lifecycle = Lifecycle()
    app.dependency_overrides.clear()
    return app


@asynccontextmanager
async def listening(app: FastAPI, **options: Any) -> AsyncIterator[Listening]:
    """`options` are uvicorn's own."""
    http = ApiWorker.CONFIG_KWARGS["http"]
    options = {"http": http, "lifespan": "on", "log_config": None, **WEBSOCKETS, **options}
    server = Server(Config(app, host="127.0.0.1", port=0, **options))
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started or serving.done())
    if serving.done():
        serving.result()
    host, port = server.servers[0].sockets[0].getsockname()
    state: State = server.lifespan.state["heavylift"]
    try:
        yield Listening(state, host, port)
    finally:
        state.events.close()
        server.should_exit = True
        await serving
