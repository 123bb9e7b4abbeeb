"""Pages on other origins, where a setting names them (the Fetch standard's CORS protocol).

Nothing rides on a visitor's cookies: clients send a token with each request, so a page gets what it
has a token for, and no credentials are allowed beside it.
"""

from collections.abc import Collection

from starlette.middleware.cors import ALL_METHODS, CORSMiddleware
from starlette.types import ASGIApp

# What answers carry for programs to read, beyond the names that every page may.
EXPOSED = (
    "Accept-Ranges",
    "Allow",
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "Idempotent-Replayed",
    "Location",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-Id",
)


def allow_origins(app: ASGIApp, origins: Collection[str]) -> CORSMiddleware:
    """Outside of what answers a crash: a page is to read that it was one."""
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=ALL_METHODS,
        # Any: tracing libraries of pages add their own.
        allow_headers=("*",),
        expose_headers=EXPOSED,
    )
