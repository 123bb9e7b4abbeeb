"""Swagger UI and ReDoc out of this package's own files: clusters are often air-gapped.

`.ci/vendor-docs` fetches the two; `assets/SHA256SUMS` says which versions they are.
"""

import hashlib
import mimetypes
import os
from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Scope
from typing_extensions import override

FOLDER = Path(__file__).parent
ASSETS = FOLDER / "assets"

# Python 3.11 and some systems' tables have names for it that are older than RFC 9239.
mimetypes.add_type("text/javascript", ".js")

# Nothing from elsewhere, and no script but the files: what an API's descriptions say can't run.
# Both libraries write styles into the page; ReDoc searches in a worker of its own making.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "worker-src blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)


def digest() -> str:
    """Of all assets: their address changes with them, so that they may be kept for ever."""
    total = hashlib.sha256()
    for path in sorted(path for path in ASSETS.rglob("*") if path.is_file()):
        total.update(path.read_bytes())
    return total.hexdigest()[:12]


class Assets(StaticFiles):
    @override
    def file_response(
        self,
        full_path: "str | os.PathLike[str]",
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


class Page(HTMLResponse):
    def __init__(self, content: str) -> None:
        super().__init__(
            content,
            headers={
                # It names the assets as they are now: small, and asked for every time.
                "Cache-Control": "no-cache",
                "Content-Security-Policy": CONTENT_SECURITY_POLICY,
                "Referrer-Policy": "no-referrer",
            },
        )


def add_docs(app: FastAPI) -> None:
    """`/docs` and `/redoc`, over the application's own `/openapi.json`."""
    address = f"/docs/assets/{digest()}"
    # Relative in the pages: so they also hold behind a proxy that takes a prefix off.
    swagger_ui, redoc = (
        (FOLDER / page).read_text().replace("{assets}", address.removeprefix("/"))
        for page in ("swagger-ui.html", "redoc.html")
    )

    @app.get("/docs", include_in_schema=False)
    async def show_swagger_ui() -> Page:
        return Page(swagger_ui)

    @app.get("/redoc", include_in_schema=False)
    async def show_redoc() -> Page:
        return Page(redoc)

    app.mount(address, Assets(directory=ASSETS), name="assets")
