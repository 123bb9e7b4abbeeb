"""Nothing that an operation did not declare, or could not store, gets through to it."""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from math import isfinite
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.params import Form
from fastapi.routing import APIRoute, APIWebSocketRoute
from pydantic import BaseModel
from starlette.datastructures import ImmutableMultiDict
from starlette.requests import HTTPConnection

from app.api.bodies import MAX_DEPTH
from app.api.problems import MAX_NAMED
from app.core.text import UNSTORABLE

# Bytes of JSON that may be unstorable: U+0000 and surrogates, escaped or in UTF-8 or UTF-16, and
# large or non-finite numbers. Bodies without a match, which most are, are not walked: half a
# million numbers take 0.1 s.
SUSPECT = re.compile(
    rb"\\u(?:0000|[dD][89a-fA-F])|[\x00\xed]|[0-9]{19}|[eE]\+?[0-9]{3}|NaN|Infinity"
)

# Integers that any reader of JSON can hold: 64 bits, signed or unsigned.
INTEGERS = range(-(2**63), 2**64)

TEXT = "without U+0000 and lone surrogates"
INTEGER = "an integer of 64 bits at most"
FINITE = "a finite number: JSON has no NaN and no infinity"
DEPTH = f"no more than {MAX_DEPTH} levels of objects and arrays"

CONTAINERS = (dict, list)

# Names that an answer shows of a field's path: one that is too deep has a hundred.
MAX_NAMES = 5


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


class _Part(NamedTuple):
    """An object or an array in a body, and where it is."""

    value: object
    name: str | int
    parent: "_Part | None"
    level: int

    def location(self, *names: str | int) -> tuple[str | int, ...]:
        part: _Part | None = self
        while part is not None:
            names = (part.name, *names)
            part = part.parent
        return names[:MAX_NAMES] if self.level > MAX_DEPTH else names


def _members(value: object) -> Iterable[tuple[str | int, object]]:
    match value:
        case list():
            return enumerate(value)
        case dict():
            return value.items()
        case ImmutableMultiDict():
            return value.multi_items()
        case _:
            return ()


def _fault(value: object) -> str | None:
    match value:
        case str():
            return TEXT if UNSTORABLE.search(value) else None
        case int():
            return None if value in INTEGERS else INTEGER
        case float():
            return None if isfinite(value) else FINITE
        case _:
            return None


def _unstorable(value: object, root: str) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the path of each unstorable value, and what would be right.

    An unstorable name is reported for the object that has it. Nothing recurses: Python's limit
    differs from the parser's.
    """
    if (detail := _fault(value)) is not None:
        yield (root,), detail
    left = [_Part(value, root, None, 1)]
    while left:
        part = left.pop()
        if part.level > MAX_DEPTH:
            yield part.location(), DEPTH
            continue
        inner = []
        misnamed = False
        for name, member in _members(part.value):
            if type(name) is str and not misnamed and UNSTORABLE.search(name):
                misnamed = True
                yield part.location(), TEXT
            if type(member) in CONTAINERS:
                inner.append(_Part(member, name, part, part.level + 1))
            elif (detail := _fault(member)) is not None:
                yield part.location(name), detail
        left += reversed(inner)


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
    body = await request.body()
    if SUSPECT.search(body) is None and body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return None
    try:
        return await request.json()
    except ValueError:
        # It was not sent as JSON.
        return None


async def refuse_unstorable(connection: HTTPConnection) -> None:
    """Refuse, for every operation, values that can't be stored, hashed or repeated in an answer.

    Text with "\\u0000" or "\\ud800" is valid JSON; `NaN` and `1e400` are read as numbers that
    JSON does not have, and would be written as null.
    """
    body = await _body(connection)
    found = chain(_unstorable(connection.query_params, "query"), _unstorable(body, "body"))
    errors = [
        {"type": "unstorable", "loc": location, "msg": detail}
        for location, detail in islice(found, MAX_NAMED)
    ]
    if errors:
        raise RequestValidationError(errors, body=body)
