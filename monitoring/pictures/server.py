"""Serves the page, the dashboards and Prometheus' API at one loopback address, as Grafana does."""

import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from monitoring.pictures.bundle import FONTS, ICONS

PAGE = """<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <link rel="icon" href="data:,">
    <link rel="stylesheet" href="/bundle/main.css">
    <style>body { margin: 0 }</style>
    <script type="module" src="/bundle/main.js"></script>
  </head>
  <body></body>
</html>
"""


def application(prometheus: str, bundle: Path, dashboards: Path) -> Starlette:
    client = httpx2.AsyncClient(base_url=f"{prometheus}/api/v1/", timeout=60)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with client:
            yield

    async def page(_: Request) -> Response:
        return HTMLResponse(PAGE)

    async def font(request: Request) -> Response:
        return FileResponse(FONTS[request.path_params["name"]])

    async def api(request: Request) -> Response:
        answer = await client.request(
            request.method,
            request.path_params["path"],
            params=str(request.query_params),
            content=await request.body(),
            headers={"Content-Type": request.headers.get("Content-Type", "")},
        )
        return Response(answer.content, answer.status_code, media_type="application/json")

    return Starlette(
        routes=[
            Route("/", page),
            Route("/api/v1/{path:path}", api, methods=["GET", "POST"]),
            Mount("/bundle", StaticFiles(directory=bundle)),
            Mount("/dashboards", StaticFiles(directory=dashboards)),
            Route("/public/fonts/inter/{name}", font),
            Mount("/public/build/img/icons", StaticFiles(directory=ICONS)),
        ],
        lifespan=lifespan,
    )


@contextmanager
def serving(app: Starlette) -> Iterator[str]:
    """Run the application in a thread; yields its URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
