"""The one place where errors become RFC 9457 problem details, and a WebSocket's close codes."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeGuard

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from fastapi.responses import Response
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.routing import Match
from starlette.types import Scope
from starlette.websockets import WebSocket, WebSocketState

from app.api.metrics import AUTH_FAILURES
from app.core.breaker import DatabaseAway
from app.core.errors import (
    DomainError,
    InvalidCredentials,
    InvalidInput,
    InvalidRefreshToken,
    RangeNotSatisfiable,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)
from app.core.outages import Fault, fault, is_outage, sqlstate
from app.schemas.problem import FieldError, Problem

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
TYPES = "https://heavylift.dev/problems/"

# Fields at fault that one answer names: a list can have half a million of them, and an answer that
# named them all was 100 MB and kept the event loop for 10 s.
MAX_NAMED = 100


class InternalError(DomainError):
    type, title, status = "internal-error", "Something broke on our side", 500


class BadRequest(DomainError):
    type, title, status = "bad-request", HTTPStatus.BAD_REQUEST.phrase, 400


class RequestTooLarge(DomainError):
    type, title, status = "request-too-large", "The body is over the limit", 413


class HeadTooLarge(DomainError):
    type, title, status = "request-head-too-large", "The head of the request is over a limit", 431


class RequestTimeout(DomainError):
    type, title, status = "request-timeout", "The request arrived too slowly", 408


# What the framework itself refuses, and the document says of every body.
TITLES = {error.status: error.title for error in (BadRequest, RequestTooLarge)}
HTTP_TYPES = {
    400: BadRequest.type,
    404: "not-found",
    405: "method-not-allowed",
    413: RequestTooLarge.type,
    415: UnsupportedMediaType.type,
}

# RFC 9110, section 11.6.1: a 401 names the scheme; 10.2.3: a 503 says when to come again.
HEADERS: dict[type[DomainError], dict[str, str]] = {
    Unauthorized: {"WWW-Authenticate": "Bearer"},
    InvalidCredentials: {"WWW-Authenticate": "Bearer"},
    InvalidRefreshToken: {"WWW-Authenticate": "Bearer"},
    Unavailable: {"Retry-After": "1"},
}


class ProblemResponse(Response):
    media_type = MEDIA_TYPE

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        self.problem = problem
        super().__init__(problem.model_dump_json(), problem.status, headers)


def problem(
    scope: Scope,
    *,
    name: str,
    title: str,
    status: int,
    detail: str,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> ProblemResponse:
    body = Problem(
        type=TYPES + name,
        title=title,
        status=status,
        detail=detail,
        instance=scope["path"],
        request_id=scope["state"]["request_id"],
        trace_id=scope["state"]["trace_id"],
        errors=list(errors),
    )
    return ProblemResponse(body, headers)


def of(scope: Scope, error: DomainError) -> ProblemResponse:
    if error.status in (401, 403):
        AUTH_FAILURES.labels(error.type).inc()
    fields = [] if error.field is None else [FieldError(field=error.field, detail=error.detail)]
    return problem(
        scope,
        name=error.type,
        title=error.title,
        status=error.status,
        detail=error.detail,
        errors=fields,
        headers=_headers(error),
    )


def _headers(error: DomainError) -> Mapping[str, str] | None:
    if isinstance(error, RangeNotSatisfiable):
        # RFC 9110, section 15.5.17.
        return {"Content-Range": f"bytes */{error.size}"}
    if isinstance(error, TooManyRequests):
        # RFC 6585, section 4.
        return {"Retry-After": str(error.retry_after)}
    if isinstance(error, UnsupportedMediaType):
        # RFC 9110, section 15.5.16.
        return {"Accept": error.wanted}
    return HEADERS.get(type(error))


def internal_error(scope: Scope) -> ProblemResponse:
    return of(scope, InternalError("it is in our logs under the request id"))


def unread(request_id: str, error: DomainError) -> ProblemResponse:
    """Of what could not be read as a request, and so has no scope; its id is its trace's, too."""
    return of({"path": "", "state": {"request_id": request_id, "trace_id": request_id}}, error)


def _has(value: object, key: str | int) -> TypeGuard[Mapping[str | int, object]]:
    """Whether a JSON object or array has something at the key."""
    if isinstance(value, list):
        return isinstance(key, int) and key < len(value)
    return isinstance(value, Mapping) and key in value


def _path(location: Sequence[str | int], body: object, *, missing: bool) -> str:
    """The field's path as the client knows it.

    Pydantic's has the tried branches of unions in it (`filter.equals.value`): what is not in the
    body as it was sent is left out, but for a field that is missing.
    """
    if not location or location[0] != "body":
        return ".".join(map(str, location))
    path: list[str | int] = ["body"]
    value = body
    for index, key in enumerate(location[1:], start=1):
        rest = location[index + 1 :]
        if _has(value, key) and not _is_branch(value, key, rest, missing=missing):
            value = value[key]
        elif rest or not missing:
            continue
        path.append(key)
    return ".".join(map(str, path))


def _is_branch(
    value: Mapping[str | int, object], key: str | int, rest: Sequence[str | int], *, missing: bool
) -> bool:
    """Whether the key names a branch of a union, although the value has a field of that name.

    `quantile` does in `{"op": "quantile", "quantile": 0.5}`, where the path goes on to a field
    beside it.
    """
    if not rest or isinstance(value[key], Mapping | list):
        return False
    return missing or any(_has(value, each) for each in rest)


def field_errors(
    error: RequestValidationError | WebSocketRequestValidationError,
) -> list[FieldError]:
    """The fields at fault, `MAX_NAMED` at most.

    A union fails in each of its branches. Those that the value was not meant for are left out:
    they fail at the value as a whole where another fails at a field of it, or at its type where
    another has accepted that.
    """
    # A WebSocket's handshake has no body.
    body = getattr(error, "body", None)
    found = [(each["type"], _field_error(each, body)) for each in error.errors()[:MAX_NAMED]]
    of_type = {each.field for type_, each in found if not type_.endswith("_type")}
    return [
        each
        for type_, each in found
        if not any(other.field.startswith(f"{each.field}.") for _, other in found)
        and not (type_.endswith("_type") and each.field in of_type)
    ]


_OBJECT_TYPES = frozenset({"dict_type", "model_type", "model_attributes_type"})


def _field_error(error: Mapping[str, Any], body: object) -> FieldError:
    type_ = error["type"]
    if type_ == "json_invalid":
        return FieldError(
            field="body", detail=f"not JSON: {error['ctx']['error']} at {error['loc'][-1]}"
        )
    field = _path(error["loc"], body, missing=type_ == "missing")
    detail = str(error["msg"]).removeprefix("Value error, ")
    if type_ in _OBJECT_TYPES:
        detail = "Input should be an object"
    elif type_ == "union_tag_not_found":
        field, detail = f"{field}.{_tag(error)}", "Field required"
    elif type_ == "union_tag_invalid":
        expected = error["ctx"]["expected_tags"]
        field, detail = f"{field}.{_tag(error)}", f"Input should be one of {expected}"
    return FieldError(field=field, detail=detail)


def _tag(error: Mapping[str, Any]) -> str:
    """The field that tells a union's branches apart."""
    return str(error["ctx"]["discriminator"]).strip("'")


async def _domain_error(connection: HTTPConnection, error: DomainError) -> ProblemResponse:
    return of(connection.scope, error)


async def _validation_error(
    connection: HTTPConnection, error: RequestValidationError | WebSocketRequestValidationError
) -> ProblemResponse:
    errors = field_errors(error)
    return problem(
        connection.scope,
        name=InvalidInput.type,
        title=InvalidInput.title,
        status=InvalidInput.status,
        detail="; ".join(f"{each.field}: {each.detail}" for each in errors),
        errors=errors,
    )


async def _http_exception(connection: HTTPConnection, error: HTTPException) -> ProblemResponse:
    status = error.status_code
    method = connection.scope.get("method", "WEBSOCKET")
    return problem(
        connection.scope,
        name=HTTP_TYPES.get(status, "http-error"),
        title=TITLES.get(status, HTTPStatus(status).phrase),
        status=status,
        detail=f"{method} {connection.url.path}: {error.detail}",
        headers={"Allow": _allowed(connection)} if status == 405 else error.headers,
    )


METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


def _allowed(connection: HTTPConnection) -> str:
    """What the path is served with, by whichever route: the framework names those of the first."""
    scope = {name: connection.scope[name] for name in ("type", "path", "root_path", "headers")}
    return ", ".join(
        method
        for method in METHODS
        if any(
            route.matches({**scope, "method": method})[0] is Match.FULL
            for route in connection.app.routes
        )
    )


# SQLSTATEs of text with U+0000, which PostgreSQL can't store.
_NO_SUCH_TEXT = frozenset({"22021", "22P05"})


async def _database_error(
    connection: HTTPConnection, error: DBAPIError | InvalidRequestError
) -> ProblemResponse:
    if is_outage(error):
        return await _unavailable(connection, error)
    # Services map each constraint that a request may violate to a domain error.
    if fault(error) is Fault.UNSTORABLE and not isinstance(error, IntegrityError):
        state = sqlstate(error)
        if state in _NO_SUCH_TEXT:
            return of(connection.scope, InvalidInput("text here can't hold the character U+0000"))
        cause = type(getattr(error, "orig", error)).__name__
        log.warning("request not storable", sqlstate=state, error=cause)
        return of(connection.scope, InvalidInput("the request has a value that can't be stored"))
    raise error


async def _database_away(connection: HTTPConnection, _: DatabaseAway) -> ProblemResponse:
    """Answer without a log line: the outage was logged when it began."""
    detail = "the database is unavailable: try again in a moment"
    return of(connection.scope, Unavailable(detail))


async def _unavailable(connection: HTTPConnection, error: Exception) -> ProblemResponse:
    log.error("a dependency is unavailable", exc_info=error)
    detail = "a part of the service is unavailable: try again in a moment"
    return of(connection.scope, Unavailable(detail))


# RFC 6455, section 7.4: 4000 and above are an application's own. 1012 says: come again.
CLOSE_CODES = {Unavailable.status: 1012, InternalError.status: 1011}
MAX_REASON = 123  # bytes: section 5.5


def close_of(problem: Problem) -> tuple[int, str]:
    """The code and the reason that a WebSocket is closed with."""
    reason = f"{problem.type.removeprefix(TYPES)}: {problem.detail}".encode()[:MAX_REASON]
    return CLOSE_CODES.get(problem.status, 4000 + problem.status), reason.decode(errors="ignore")


Handler = Callable[[HTTPConnection, Any], Awaitable[ProblemResponse]]


def _closing(handle: Handler) -> Callable[[HTTPConnection, Any], Awaitable[Any]]:
    """A WebSocket that is open already can't be answered: it is closed, and nothing returned."""

    async def handle_or_close(connection: HTTPConnection, error: Exception) -> Response | None:
        response = await handle(connection, error)
        if (
            isinstance(connection, WebSocket)
            and connection.application_state is WebSocketState.CONNECTED
        ):
            await connection.close(*close_of(response.problem))
            return None
        return response

    return handle_or_close


def register(app: FastAPI) -> None:
    """What has no handler here is a crash, and the middleware's to answer."""
    handlers: dict[type[Exception], Handler] = {
        DomainError: _domain_error,
        RequestValidationError: _validation_error,
        WebSocketRequestValidationError: _validation_error,
        HTTPException: _http_exception,
        DBAPIError: _database_error,
        InvalidRequestError: _database_error,
        DatabaseAway: _database_away,
        PoolTimeout: _unavailable,
        # A refused connection, a socket that is not there, a statement past its time.
        OSError: _unavailable,
    }
    for kind, handle in handlers.items():
        app.add_exception_handler(kind, _closing(handle))
