"""Nothing that an operation did not declare, or could not store, gets through to it."""

import re
from collections.abc import Callable, Coroutine, Iterable, Iterator
from itertools import chain, islice
from typing import Any
from weakref import WeakKeyDictionary

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.params import Form
from fastapi.routing import APIRoute, APIWebSocketRoute
from pydantic import BaseModel
from starlette.datastructures import ImmutableMultiDict
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import Message
from typing_extensions import override

from app.api.media_types import require_media_type
from app.api.problems import MAX_NAMED
from app.core.text import UNSTORABLE

# Of a JSON or form body: far more than any specification takes, far less than memory.
MAX_BODY = 1024 * 1024

# What unstorable text looks like in JSON's bytes: escaped, or in UTF-8's or UTF-16's form of what
# has none. Most bodies have nothing like it, and are not walked: half a million numbers take 0.6 s.
SUSPECT = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])|[\x00\xed]")


def _query_parameters(dependant: Dependant) -> Iterator[str]:
    for field in dependant.query_params:
        annotation = field.field_info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            for name, info in annotation.model_fields.items():
                yield info.alias or name
        else:
            yield field.alias
    for dependency in dependant.dependencies:
        yield from _query_parameters(dependency)


# By endpoint: routes have no hash.
_declared = WeakKeyDictionary[Callable[..., Any], frozenset[str]]()


def declared(route: APIRoute | APIWebSocketRoute) -> frozenset[str]:
    """The query parameters that a route and its dependencies have."""
    names = _declared.get(route.endpoint)
    if names is None:
        names = _declared[route.endpoint] = frozenset(_query_parameters(route.dependant))
    return names


async def refuse_unknown_query(connection: HTTPConnection) -> None:
    """For every operation, whoever declares it: the application has it as its own dependency."""
    known = declared(connection.scope["route"])
    unknown = [name for name in connection.query_params if name not in known]
    if unknown:
        raise RequestValidationError(
            [
                {"type": "extra_forbidden", "loc": ("query", name), "msg": "no such parameter here"}
                for name in unknown
            ]
        )


def _parts(value: object) -> Iterable[tuple[str | int, object]]:
    match value:
        case list():
            return enumerate(value)
        case dict():
            return value.items()
        case ImmutableMultiDict():
            return value.multi_items()
        case _:
            return ()


def _unstorable(value: object, root: str) -> Iterator[tuple[str | int, ...]]:
    """Where there is such text; a name that has it is the fault of what it stands in.

    Without recursion, whose depth is not the parser's; a place is its parent's and its own name.
    """
    left: list[tuple[object, tuple[Any, str | int]]] = [(value, (None, root))]
    while left:
        value, place = left.pop()
        parts = list(_parts(value))
        names = [name for name, _ in parts]
        if any(isinstance(text, str) and UNSTORABLE.search(text) for text in (value, *names)):
            yield _location(place)
        left += [(part, (place, name)) for name, part in reversed(parts)]


def _location(place: tuple[Any, str | int] | None) -> tuple[str | int, ...]:
    names: list[str | int] = []
    while place is not None:
        place, name = place
        names.append(name)
    return tuple(reversed(names))


async def _body(request: HTTPConnection) -> object:
    """What FastAPI has parsed, and the request has kept; None where that can't be at fault."""
    if not isinstance(request, Request):
        # A WebSocket's handshake has none.
        return None
    field = request.scope["route"].body_field
    if field is None:
        return None
    if isinstance(field.field_info, Form):
        return await request.form()
    if SUSPECT.search(await request.body()) is None:
        return None
    try:
        return await request.json()
    except ValueError:
        # It was not sent as JSON.
        return None


async def refuse_unstorable_text(connection: HTTPConnection) -> None:
    """For every operation: no database takes it, no hash, and no answer that repeats it.

    Both are right in JSON, as "\\u0000" and "\\ud800".
    """
    body = await _body(connection)
    found = chain(_unstorable(connection.query_params, "query"), _unstorable(body, "body"))
    errors = [
        {"type": "unstorable", "loc": location, "msg": "without U+0000 and lone surrogates"}
        for location in islice(found, MAX_NAMED)
    ]
    if errors:
        raise RequestValidationError(errors, body=body)


class BoundedRoute(APIRoute):
    """Reads no more than `MAX_BODY`, declared or chunked, of a content type that it can read.

    FastAPI's own `max_body_size` answers in plain text where a Content-Length said it all.
    """

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_bounded(request: Request) -> Response:
            if self.body_field is not None:
                require_media_type(request, self.body_field.field_info)
            received = 0

            async def receive() -> Message:
                nonlocal received
                message = await request.receive()
                received += len(message.get("body", b""))
                if received > MAX_BODY:
                    # Not a domain error: FastAPI lets only its own kind out of body parsing.
                    raise HTTPException(413, f"a body here has {MAX_BODY} bytes at most")
                return message

            return await handle(Request(request.scope, receive, request._send))

        return handle_bounded
