"""Limits the size of request bodies, by operation, and the depth of their JSON.

An operation sets its limit with `openapi_extra=body_limit(…)`, which the OpenAPI document shows.
"""

import json
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import Message
from typing_extensions import override

from app.api.deps import api_key, bearer, get_caller, get_current_user
from app.api.media_types import require_media_type
from app.api.problems import RequestTooLarge
from app.api.state import state_of

# The limit without a log-in. A megabyte of JSON blocks the loop for up to a second, and the longest
# body that needs no log-in has some 1,000 characters.
PUBLIC_LIMIT = 16 * 1024

# The limit of a job's specification: far more than any kind needs, far less than memory.
SPECIFICATION_LIMIT = 1024 * 1024

# Levels of nested objects and arrays. Pydantic writes no more than 255, the parser reads some
# 1,000; .NET's reader stops at 64, and Jackson's at 1,000.
MAX_DEPTH = 100

# The extension of the OpenAPI document that shows an operation's limit.
EXTENSION = "x-max-body-bytes"


def body_limit(size: int) -> dict[str, Any]:
    return {EXTENSION: size}


def too_large(limit: int) -> str:
    return f"the body may have at most {limit} bytes"


class BodyRequest(Request):
    """Reads JSON with numbers of any size: `refuse_unstorable` reports those that are too large."""

    @override
    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = _parse(await self.body())
        return self._json


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except RecursionError:
        # Not a domain error: FastAPI lets only an HTTPException out of body parsing.
        raise HTTPException(400, f"the JSON has more than {MAX_DEPTH} levels") from None
    except ValueError:
        # Python refuses integers of over 4,300 digits; a hundred digits are too large as well.
        return json.loads(body, parse_int=lambda digits: int(digits[:100]))


def _calls(dependant: Dependant) -> Iterator[Callable[..., Any] | None]:
    yield dependant.call
    for dependency in dependant.dependencies:
        yield from _calls(dependency)


class BoundedRoute(APIRoute):
    """Refuses bodies of the wrong media type or above the operation's limit, declared or chunked.

    Bodies above `PUBLIC_LIMIT` are read for an authenticated caller only. FastAPI's own
    `max_body_size` answers in plain text if Content-Length exceeds it.
    """

    @override
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.body_field is not None:
            self.openapi_extra = body_limit(PUBLIC_LIMIT) | (self.openapi_extra or {})

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        field = self.body_field
        if field is None:
            return handle
        limit: int = (self.openapi_extra or {}).get(EXTENSION, PUBLIC_LIMIT)
        if limit > PUBLIC_LIMIT and not {get_caller, get_current_user}.intersection(
            _calls(self.dependant)
        ):
            raise ValueError(f"{self.path}: without a log-in, {PUBLIC_LIMIT} bytes are the limit")

        async def handle_bounded(request: Request) -> Response:
            require_media_type(request, field.field_info)
            declared = _declared(request)
            if declared is not None and declared > limit:
                raise RequestTooLarge(too_large(limit))
            if limit > PUBLIC_LIMIT and (declared is None or declared > PUBLIC_LIMIT):
                await _require_caller(request)
            received = 0

            async def receive() -> Message:
                nonlocal received
                message = await request.receive()
                received += len(message.get("body", b""))
                if received > limit:
                    # An HTTPException for the same reason as in `_parse`.
                    raise HTTPException(413, too_large(limit))
                return message

            return await handle(BodyRequest(request.scope, receive, request._send))

        return handle_bounded


def _declared(request: Request) -> int | None:
    """The body's size by its headers; None for a chunked body."""
    if "transfer-encoding" in request.headers:
        return None
    return int(request.headers.get("content-length", 0))


async def _require_caller(request: Request) -> None:
    """Authenticate; the operation's dependencies do so again. Raises `Unauthorized`."""
    state = state_of(request)
    token, key = await bearer(request), await api_key(request)
    await get_caller(state.sessions, state.settings, state.api_key_uses, token, key)
