"""Nothing that an operation did not declare gets through to it."""

from collections.abc import Callable, Coroutine, Iterator
from typing import Any
from weakref import WeakKeyDictionary

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import Message
from typing_extensions import override

# Of a JSON or form body: far more than any specification takes, far less than memory.
MAX_BODY = 1024 * 1024


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


def declared(route: APIRoute) -> frozenset[str]:
    """The query parameters that a route and its dependencies have."""
    names = _declared.get(route.endpoint)
    if names is None:
        names = _declared[route.endpoint] = frozenset(_query_parameters(route.dependant))
    return names


async def refuse_unknown_query(request: Request) -> None:
    """For every operation, whoever declares it: the application has it as its own dependency."""
    known = declared(request.scope["route"])
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        raise RequestValidationError(
            [
                {"type": "extra_forbidden", "loc": ("query", name), "msg": "no such parameter here"}
                for name in unknown
            ]
        )


class BoundedRoute(APIRoute):
    """Reads no more than `MAX_BODY`, declared or chunked.

    FastAPI's own `max_body_size` answers in plain text where a Content-Length said it all.
    """

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_bounded(request: Request) -> Response:
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
