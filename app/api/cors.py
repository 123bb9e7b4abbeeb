"""Lets pages on other origins call the API, if a setting names them (the Fetch standard's CORS).

The API uses no cookies: clients send a token with each request, so a page can do only what it has a
token for. Credentials are not allowed.
"""

from collections.abc import Collection

from starlette.middleware.cors import ALL_METHODS, CORSMiddleware
from starlette.types import ASGIApp

# Response headers that pages may read, besides the CORS-safelisted ones.
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
    """Wrap the whole application, so that pages can read the answer to a crash as well."""
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=ALL_METHODS,
        # Any header: tracing libraries in pages add their own.
        allow_headers=("*",),
        expose_headers=EXPOSED,
    )
