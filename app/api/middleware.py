"""What every request gets, whatever becomes of it: ids, a span, metrics, a line, an answer."""

import re
import time
from functools import lru_cache
from uuid import uuid4

import structlog
from opentelemetry import context as trace_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode
from prometheus_client import Gauge, Histogram
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose, WebSocketDisconnect

from app.api import problems
from app.api.metrics import ACTIVE_REQUESTS, REQUEST_DURATION
from app.core.telemetry import W3C, trace_id, tracer

log = structlog.get_logger(__name__)

HEADER = "X-Request-Id"

# A caller's id is taken as it is, if it can neither break a log line nor flood it.
SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")

# Probes come every few seconds and say nothing: no line, no span, no part in any latency.
PROBES = frozenset({"/livez", "/readyz", "/startupz"})

# The semantic conventions': a method that somebody made up makes no series.
METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
OTHER = "_OTHER"

# No span of the caller's, and none that a task left behind in this context.
ROOT = Context()


@lru_cache(maxsize=32)
def _active(method: str) -> Gauge:
    return ACTIVE_REQUESTS.labels(method)


# As many as there are routes, methods and statuses.
@lru_cache(maxsize=4096)
def _duration(method: str, route: str, status: int) -> Histogram:
    return REQUEST_DURATION.labels(method, route, status)


def _route(scope: Scope) -> str:
    """The template of the path, with the prefixes of the routers that it is in; "" for none.

    `scope["route"]` is the route as its own router has it, since FastAPI 0.137.
    """
    effective = scope.get("fastapi", {}).get("effective_route_context")
    route = scope.get("route") if effective is None else effective
    return getattr(route, "path_format", "")


class _Exchange:
    """A request and its answer, from the first to the last."""

    __slots__ = (
        "_begun",
        "_finished",
        "is_http",
        "method",
        "request_id",
        "scope",
        "span",
        "status",
    )

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.is_http = scope["type"] == "http"
        method = scope["method"] if self.is_http else "WEBSOCKET"
        self.method = method if method in METHODS or not self.is_http else OTHER
        self.status = 0
        self._finished = False
        self._begun = time.perf_counter()
        self.request_id = ""
        carrier = {}
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                self.request_id = value.decode("latin-1")
            elif name in (b"traceparent", b"tracestate"):
                carrier[name.decode()] = value.decode("latin-1")
        if not SANE.fullmatch(self.request_id):
            self.request_id = uuid4().hex
        self.span = self._begin(W3C.extract(carrier, ROOT) if carrier else ROOT)

    def _begin(self, parent: Context) -> Span:
        if self.is_http:
            _active(self.method).inc()
        span = tracer.start_span(self.method, parent, kind=SpanKind.SERVER)
        if span.is_recording():
            scope = self.scope
            span.set_attributes({"url.path": scope["path"], "url.scheme": scope["scheme"]})
            if self.is_http:
                span.set_attribute("http.request.method", self.method)
            if scope.get("server"):
                host, port = scope["server"]
                span.set_attribute("server.address", host)
                if port is not None:
                    span.set_attribute("server.port", port)
        return span

    def finish(self) -> None:
        """The response is out: what a background task does after it is none of the client's."""
        if self._finished:
            return
        self._finished = True
        seconds = time.perf_counter() - self._begun
        route = _route(self.scope)
        span = self.span
        recorded = span.is_recording()
        if self.is_http:
            _active(self.method).dec()
            exemplar = {"trace_id": trace_id(span.get_span_context())} if recorded else None
            _duration(self.method, route, self.status).observe(seconds, exemplar)
        log.info(
            "request",
            method=self.scope.get("method", self.method),
            path=self.scope["path"],
            status=self.status,
            ms=round(seconds * 1000, 1),
        )
        if recorded:
            span.update_name(f"{self.method} {route}" if route else self.method)
            span.set_attribute("http.response.status_code", self.status)
            if route:
                span.set_attribute("http.route", route)
            if self.status >= 500:
                span.set_attribute("error.type", str(self.status))
                span.set_status(StatusCode.ERROR)
        span.end()


class _Probe(_Exchange):
    """It gets its ids, and is in no signal."""

    __slots__ = ()

    def _begin(self, _: Context) -> Span:
        return trace.INVALID_SPAN

    def finish(self) -> None:
        pass


class RequestMiddleware:
    """Pure ASGI: BaseHTTPMiddleware alone takes 95 us."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        exchange = (_Probe if scope["path"] in PROBES else _Exchange)(scope)
        trace_of = trace_id(exchange.span.get_span_context())
        scope.setdefault("state", {}).update(request_id=exchange.request_id, trace_id=trace_of)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=exchange.request_id, trace_id=trace_of)
        token = trace_context.attach(trace.set_span_in_context(exchange.span, ROOT))
        try:
            await self._answer(exchange, receive, send)
        finally:
            exchange.finish()
            trace_context.detach(token)

    async def _answer(self, exchange: _Exchange, receive: Receive, send: Send) -> None:
        header = (b"x-request-id", exchange.request_id.encode())

        async def send_with_id(message: Message) -> None:
            match message["type"]:
                case "http.response.body":
                    await send(message)
                    if not message.get("more_body", False):
                        exchange.finish()
                    return
                case "http.response.start" | "websocket.http.response.start":
                    exchange.status = message["status"]
                    message["headers"] = [*message.get("headers", ()), header]
                case "websocket.accept":
                    exchange.status = 101
                    message["headers"] = [*message.get("headers", ()), header]
                case "websocket.close":
                    # What was not accepted is refused, with a 403 (the ASGI specification).
                    exchange.status = message["code"] if exchange.status else 403
            await send(message)

        scope = exchange.scope
        try:
            await self.app(scope, receive, send_with_id)
        except (ClientDisconnect, WebSocketDisconnect):
            # Nobody is left to answer.
            exchange.status = 499 if exchange.status in (0, 101) else exchange.status
        except Exception as error:
            log.exception("request crashed", method=exchange.method, path=scope["path"])
            exchange.span.set_attribute("exception.type", type(error).__name__)
            if exchange.status not in (0, 101):
                # Half a response is out: only a closed connection says that the rest is missing.
                raise
            answer = problems.internal_error(scope)
            closed = WebSocketClose(*problems.close_of(answer.problem))
            await (closed if exchange.status == 101 else answer)(scope, receive, send_with_id)
