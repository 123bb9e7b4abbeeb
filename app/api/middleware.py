"""What every request gets, whatever becomes of it: an id, a trace, its metrics, one log line, and
an answer if it crashes.

Names and attributes are those of the OpenTelemetry semantic conventions for HTTP servers. What a
request cost is known when the last of its response is out, not after its background tasks. So a
stream of events lasts as long as its client stays, in its span and in its own route's duration.
A WebSocket has a span and a line, and is no HTTP request any more: it is in no metric.
"""

import random
import re
import time
from contextvars import ContextVar
from typing import Any

import structlog
from fastapi.telemetry._api import _RequestTelemetry
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import StatusCode
from prometheus_client import Histogram
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose, WebSocketDisconnect

from app.api import problems
from app.api.metrics import ACTIVE_REQUESTS, REQUEST_DURATION
from app.core import telemetry
from app.core.masking import loggable

log = structlog.get_logger(__name__)

HEADER = "X-Request-Id"
REQUEST_ID = HEADER.lower().encode()

# Messages that carry headers; one that accepts a WebSocket has no status, and is a 101.
STARTS = frozenset({"http.response.start", "websocket.http.response.start", "websocket.accept"})

HEARD = frozenset({REQUEST_ID, b"traceparent", b"tracestate"})

# Responses, errors included, are personal by default: no cache may keep them, not even a browser's
# (RFC 9111, 5.2.2.5), which the next user of the machine could open.
CACHE_CONTROL = b"cache-control"
PERSONAL = b"private, no-store"
PUBLIC = {"/openapi.json": b"no-cache"}

# A caller's id is taken as it is, if it can neither break a log line nor flood it.
SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")

# Probes come every few seconds and say nothing: no line, no span, and no place in the metrics,
# whose rates they would lift and whose durations they would lower.
QUIET = frozenset({"/livez", "/readyz", "/startupz"})

# Who hangs up before there is an answer gets none: the status is nginx's for it.
CLIENT_GONE = 499

# The semantic conventions': a method that somebody made up makes no series.
METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
OTHER = "_OTHER"

# Paths that no route has are one: their label is empty, as the attribute would be missing.
UNMATCHED = ""


def _log_variable(name: str) -> ContextVar[str]:
    """The one that structlog's `bind_contextvars` would look up by its name each time."""
    token = structlog.contextvars.bind_contextvars(**{name: ""})[name]
    variable: ContextVar[str] = token.var
    variable.reset(token)
    return variable


_REQUEST, _TRACE = _log_variable("request_id"), _log_variable("trace_id")

# Looking a child up costs more than counting in it. Methods, templates and statuses are few.
_durations: dict[tuple[str, str, int], Histogram] = {}
_active = {method: ACTIVE_REQUESTS.labels(method) for method in (*METHODS, OTHER)}


def new_id() -> str:
    # Unique, not secret: a third of uuid4's time.
    return f"{random.getrandbits(128):032x}"


class _Exchange:
    """One request, or one WebSocket, and what is known of it by now."""

    __slots__ = (
        "begun", "complete", "crash", "finished", "id", "log", "method", "outward", "quiet",
        "routing", "scope", "span", "status", "trace_id", "watched",
    )  # fmt: skip

    def __init__(self, scope: Scope, send: Send, log: Any) -> None:
        self.scope = scope
        self.log = log
        self.outward = send
        self.begun = time.perf_counter()
        self.status = 0
        self.crash: str | None = None
        self.complete = self.finished = False
        self.quiet = scope["path"] in QUIET
        given = b""
        carrier = {}
        for name, value in scope["headers"]:
            if name in HEARD:
                if name == REQUEST_ID:
                    given = value
                else:
                    carrier[name.decode()] = value.decode("latin-1")
        self.id = given.decode("latin-1")
        if not given or not SANE.fullmatch(self.id):
            self.id = new_id()
        # A WebSocket's scope has none, and its handshake is a GET.
        method = scope.get("method", "GET")
        self.method = method if method in METHODS else OTHER
        # Its attributes come when it is over, and only if it is recorded.
        self.span = (
            telemetry.unrecorded()
            if self.quiet
            else telemetry.start_server_span(self.method, carrier)
        )
        context = self.span.get_span_context()
        self.trace_id = telemetry.trace_id(context)
        # Where the framework writes down which route it chose, mounts and prefixes with it (a
        # route that was included knows its own part alone); its own telemetry stays out of the way.
        self.routing = _RequestTelemetry(span=None, span_method=self.method, data=None)
        scope["fastapi.telemetry"] = self.routing
        state = scope.setdefault("state", {})
        state["request_id"] = self.id
        state["trace_id"] = self.trace_id
        self.watched = None if self.quiet or scope["type"] != "http" else _active[self.method]
        if self.watched is not None:
            self.watched.inc()

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.body":
            await self.outward(message)
            if not message.get("more_body", False):
                self.complete = True
                self.finish()
            return
        if kind in STARTS:
            self.status = message.get("status", 101)
            headers = [*message.get("headers", ()), (REQUEST_ID, self.id.encode())]
            if not any(name == CACHE_CONTROL for name, _ in headers):
                headers.append((CACHE_CONTROL, PUBLIC.get(self.scope["path"], PERSONAL)))
            message["headers"] = headers
        elif kind == "websocket.close":
            # What was not accepted is refused, with a 403 (the ASGI specification).
            self.status = message["code"] if self.status else 403
        await self.outward(message)

    def finish(self) -> None:
        """Count it, end its span, and write its line: once."""
        if self.finished:
            return
        self.finished = True
        if self.quiet:
            return
        seconds = time.perf_counter() - self.begun
        status = self.status = self.status or CLIENT_GONE
        route = self.routing.route or UNMATCHED
        recorded = self.span.is_recording()
        if self.watched is not None:
            self.watched.dec()
            key = (self.method, route, status)
            duration = _durations.get(key)
            if duration is None:
                duration = _durations[key] = REQUEST_DURATION.labels(*key)
            # An exemplar is of a trace that can be looked up.
            duration.observe(seconds, {"trace_id": self.trace_id} if recorded else None)
        if recorded:
            self._describe(route)
            self.span.end()
        websocket = self.scope["type"] == "websocket"
        self.log.info(
            "request",
            method="WEBSOCKET" if websocket else self.scope["method"],
            path=self.scope["path"],
            route=route,
            status=status,
            ms=round(seconds * 1000, 1),
        )

    def _describe(self, route: str) -> None:
        scope = self.scope
        # Not its query, nor who asks: those are people's.
        attributes: dict[str, str | int] = {
            "http.request.method": self.method,
            "url.path": loggable(scope["path"]),
            "url.scheme": scope.get("scheme", "http"),
            "http.response.status_code": self.status,
        }
        name = self.method
        if name == OTHER:
            name = "HTTP"
            attributes["http.request.method_original"] = loggable(scope["method"][:20])
        if route:
            attributes["http.route"] = route
            name = f"{name} {route}"
        self.span.update_name(name)
        host, port = scope.get("server") or (None, None)
        if host is not None:
            attributes["server.address"] = host
            if port is not None:
                attributes["server.port"] = port
        if self.crash is not None or (scope["type"] == "http" and self.status >= 500):
            attributes["error.type"] = self.crash or str(self.status)
            self.span.set_status(StatusCode.ERROR)
        self.span.set_attributes(attributes)


class RequestMiddleware:
    """Pure ASGI: BaseHTTPMiddleware alone takes 95 us."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        # Once, where it would otherwise be with each line.
        self.log = log.bind()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, send, self.log)
        structlog.contextvars.clear_contextvars()
        _REQUEST.set(exchange.id)
        _TRACE.set(exchange.trace_id)
        token = contexts.attach(trace.set_span_in_context(exchange.span))
        try:
            await self.app(scope, receive, exchange.send)
        except (ClientDisconnect, WebSocketDisconnect):
            # Nobody is left to answer.
            if exchange.status in (0, 101):
                exchange.status = CLIENT_GONE
        except Exception as error:
            exchange.crash = type(error).__qualname__
            what = "background task crashed" if exchange.complete else "request crashed"
            log.exception(what, method=scope.get("method", "WEBSOCKET"), path=scope["path"])
            if exchange.complete:
                # Answered already: nothing is missing that anybody waits for.
                return
            if exchange.status not in (0, 101):
                # Half a response is out: only a closed connection says that the rest is missing.
                raise
            answer = problems.internal_error(scope)
            closed = WebSocketClose(*problems.close_of(answer.problem))
            await (closed if exchange.status == 101 else answer)(scope, receive, exchange.send)
        finally:
            exchange.finish()
            contexts.detach(token)
