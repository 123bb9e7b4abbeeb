"""HTTP/1.1 on one connection: its limits, and an answer to what never reaches the application.

uvicorn's httptools protocol has no limit on a request's head, and no deadline for a client;
gunicorn's limits are for its own workers. Every refusal is a problem, and closes the connection.
"""

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Any
from uuid import uuid4

import structlog
from httptools import HttpParserInvalidURLError, parse_url
from typing_extensions import override
from uvicorn._types import ASGIReceiveEvent
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import MAX_LINE_LENGTH, MAX_NUM_HEADERS

from app.api import problems
from app.api.health import Lifecycle
from app.api.metrics import CONNECTIONS_CLOSED
from app.api.middleware import HEADER
from app.api.pace import MIN_RATE, PATIENCE, Outflow, Pace
from app.api.problems import BadRequest, HeadTooLarge, RequestTimeout
from app.core.errors import DomainError

log = structlog.get_logger(__name__)

# Bytes of a request's line and headers: what nginx takes with its largest buffers is half of it.
MAX_HEAD = 64 * 1024

# As the WebSocket library has it; gunicorn and Apache stop at 100.
MAX_HEADERS = MAX_NUM_HEADERS

# Bytes between two pieces of a chunked body, or after its last: sizes, extensions and trailers.
# Go's bound of what is not data.
MAX_FRAMING = 16 * 1024

# Bytes that are parsed at once: a read has up to 256 KiB, and is given up in between.
PIECE = 16 * 1024

# Requests that wait behind the one that is answered. A client sends the others again when the
# connection closes (RFC 9112, section 9.3.2).
MAX_PIPELINED = 32

# Seconds from a head's first byte to its last.
HEAD_WITHIN = 10

# Seconds that a client has to read a refusal, or to end a body that nobody reads: a connection
# closed with bytes unread is reset, and its last answer lost.
LINGER = 10

# RFC 3986's authority, without user information.
HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")


@lru_cache(maxsize=64)
def _is_authority(host: bytes) -> bool:
    return HOST.fullmatch(host) is not None


def _size(headers: Collection[tuple[bytes, bytes]]) -> int:
    """Bytes of header lines as they are usually written."""
    return sum(len(name) + len(value) + 4 for name, value in headers)


# A counter that begins at its first event shows no increase for that one.
for _reason in (
    *(error.type for error in (BadRequest, HeadTooLarge, RequestTimeout)),
    *("idle", "slow-response", "unread-body", "few-descriptors"),
):
    CONNECTIONS_CLOSED.labels(_reason)


class ProblemProtocol(HttpToolsProtocol):
    """Enforces the limits. `bench/observability.py` measures what they cost each request."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # uvicorn makes a scope for each message: the last one that is complete, or none.
        self._complete: Any = None
        # The message, and the last complete one, at the last look.
        self._looked_at: tuple[Any, Any] = (None, None)
        # Bytes of a head that is not complete, without the piece that it began inside of.
        self._head = 0
        self._head_in_pieces = False
        # Bytes of bodies, as of now, of the last piece and of the last look.
        self._moved = self._moved_before = self._moved_at_look = 0
        self._framing = 0
        self._pace = Pace()
        self._fault: DomainError | None = None
        # Refused: nothing more is read.
        self._deaf = False
        # Seconds in this state, as of the last look.
        self._age = 0

    @override
    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._outflow = Outflow(transport)

    # --- reading ----------------------------------------------------------------------------------

    @property
    def _in_message(self) -> bool:
        return self.scope is not self._complete

    @property
    def _in_body(self) -> bool:
        # uvicorn has the method from the end of the head on.
        return self._in_message and "method" in self.scope

    @override
    def data_received(self, data: bytes) -> None:
        if len(data) > PIECE:
            self._read_in_pieces(memoryview(data))
        elif not self._deaf:
            complete = self._complete
            super().data_received(data)
            if self.scope is not self._complete:
                self._count(len(data), began=self._complete is not complete)

    def _read_in_pieces(self, data: memoryview) -> None:
        for start in range(0, len(data), PIECE):
            if self.transport.get_protocol() is not self:
                # A WebSocket's, whose client waits for the answer to its handshake.
                return
            self.data_received(data[start : start + PIECE])  # type: ignore[arg-type] # it may be

    def _count(self, size: int, *, began: bool) -> None:
        """After a piece that has not ended its message, and may have ended the one before it."""
        if self._deaf:
            return
        if self._in_body:
            self._count_body(size)
        else:
            self._count_head(0 if began else size)

    def _count_head(self, size: int) -> None:
        self._head_in_pieces = True
        self._head += size
        if self._head > MAX_HEAD or len(self.headers) > MAX_HEADERS:
            self.refuse(self._head_too_large())

    def _head_too_large(self) -> HeadTooLarge:
        return HeadTooLarge(
            f"the request line and all headers may have at most {MAX_HEAD} bytes and"
            f" {MAX_HEADERS} headers"
        )

    def _count_body(self, size: int) -> None:
        self._framing = 0 if self._moved > self._moved_before else self._framing + size
        self._moved_before = self._moved
        if self._framing > MAX_FRAMING:
            self.refuse(
                HeadTooLarge(
                    f"chunk extensions and trailers may have at most {MAX_FRAMING} bytes each"
                )
            )

    @override
    def on_headers_complete(self) -> None:
        upgrade = self.parser.should_upgrade() and self._should_upgrade()
        fault = self._fault_of_head(upgrade)
        if fault is None and self.url[:1] != b"/":
            fault = self._fault_of_target()
        if fault is not None:
            self._fault = fault
            raise ValueError(fault.detail)
        self._head = self._framing = 0
        self._head_in_pieces = False
        super().on_headers_complete()
        if not upgrade:
            # The scope keeps the headers, and trailers are not among them.
            self.headers = []
        if self._draining:
            self.answer_last()

    def _fault_of_head(self, upgrade: bool) -> DomainError | None:
        headers = self.headers
        if len(headers) > MAX_HEADERS or (self._head_in_pieces and self._size_of_head() > MAX_HEAD):
            return self._head_too_large()
        hosts, codings = [], []
        for name, value in headers:
            if name == b"host":
                hosts.append(value)
            elif name == b"transfer-encoding":
                codings.append(value)
        if len(hosts) != 1 and (hosts or self.parser.get_http_version() != "1.0"):
            # RFC 9112, section 3.2.
            return BadRequest("HTTP/1.1 needs exactly one Host header")
        if hosts and not _is_authority(hosts[0]):
            return BadRequest("the Host header is not a host and a port")
        if codings and [coding.strip().lower() for coding in codings] != [b"chunked"]:
            # RFC 9112, section 6.1. The parser only requires that it is the last one.
            return BadRequest("the only known transfer coding is chunked")
        if len(self.pipeline) >= MAX_PIPELINED:
            return BadRequest(f"at most {MAX_PIPELINED} requests may wait for the one before them")
        return self._fault_of_handshake() if upgrade else None

    def _size_of_head(self) -> int:
        # "GET /path HTTP/1.1", and the empty line.
        return len(self.parser.get_method()) + len(self.url) + 14 + _size(self.headers)

    def _fault_of_target(self) -> DomainError | None:
        """Reduce a URL to its path and query: uvicorn cannot serve a URL without a path.

        RFC 9112, section 3.2.2. CONNECT's host and port are neither.
        """
        try:
            url = parse_url(self.url)
        except HttpParserInvalidURLError:
            return BadRequest("the request's target has to be a path or a URL")
        self.url = (url.path or b"/") + (b"?" + url.query if url.query else b"")
        return None

    def _fault_of_handshake(self) -> DomainError | None:
        """The WebSocket library never answers a handshake that it can't read."""
        if self._answering or self.flow.write_paused:
            # The WebSocket's protocol replaces this one, which then learns neither that the client
            # reads again nor that it has left.
            return BadRequest("a WebSocket's handshake has to wait for the answers before it")
        longest = max(len(self.url) + 14, *(_size([header]) for header in self.headers))
        if longest > MAX_LINE_LENGTH:
            return HeadTooLarge(
                f"a line of a WebSocket's handshake may have at most {MAX_LINE_LENGTH} bytes"
            )
        if any(
            name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
            for name, value in self.headers
        ):
            return BadRequest("a WebSocket's handshake has no body")
        return None

    @override
    def on_body(self, body: bytes) -> None:
        self._moved += len(body)
        super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        self._complete = self.scope
        super().on_message_complete()

    @override
    def on_response_complete(self) -> None:
        """As uvicorn's, without its timer for idle connections: `look` closes them."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    # --- once a second ----------------------------------------------------------------------------

    @property
    def _answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete and not cycle.disconnected

    @property
    def idle_for(self) -> int:
        """Seconds without a request, 0 if there is one.

        A connection that never had one comes before all that had: as a proxy's, it is not yet used.
        """
        if self._in_message or self._answering or self._deaf or self._moved_on or self._age == 0:
            return 0
        cycle: RequestResponseCycle | None = self.cycle
        return self._age if cycle is not None else self._age + self.timeout_keep_alive

    @property
    def _moved_on(self) -> bool:
        """Since the last look: another message has begun, or the one then has ended."""
        message, complete = self._looked_at
        return self.scope is not message or self._complete is not complete

    def look(self) -> None:
        """Close the connection if its client is too slow, or has been silent for too long."""
        self._age = 1 if self._moved_on else self._age + 1
        self._looked_at = (self.scope, self._complete)
        moved = self._moved - self._moved_at_look
        self._moved_at_look = self._moved
        # A response that is being made is added to, unless it waits until more fits.
        growing = self._answering and not self.flow.write_paused
        if not growing and not self._outflow.keeps():
            self._abort("slow-response")
        elif self._answering:
            self._age = 0
            if self._in_body and not self._deaf:
                self._look_at_body(moved)
        else:
            self._look_at_silence()

    def _look_at_body(self, moved: int) -> None:
        if self.flow.read_paused or self.cycle.waiting_for_100_continue:
            # The client is not what is waited for.
            self._pace.reset()
        elif not self._pace.keeps(moved):
            self.refuse(
                RequestTimeout(
                    f"the body has to go on within {PATIENCE} s, at {MIN_RATE} bytes per second"
                )
            )

    def _look_at_silence(self) -> None:
        """Nothing is answered: the client has to say something, or to end what it says."""
        if self._deaf:
            if self._age > LINGER:
                self.transport.abort()
        elif self._in_body:
            if self._age > LINGER:
                self._abort("unread-body")
        elif self._in_message:
            if self._age > HEAD_WITHIN:
                self.refuse(RequestTimeout(f"the head did not arrive within {HEAD_WITHIN} s"))
        elif self._age > self.timeout_keep_alive:
            self.close_idle("idle")

    # --- closing ----------------------------------------------------------------------------------

    @property
    def _draining(self) -> bool:
        lifecycle: Lifecycle = self.config.app.state.lifecycle  # type: ignore[union-attr]
        return lifecycle.draining

    def answer_last(self) -> None:
        """Say `Connection: close` in the answer, if it has not begun: its client connects anew.

        A connection that is closed without a word may be just when its client asks again.
        """
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_started:
            cycle.keep_alive = False

    @override
    def shutdown(self) -> None:
        if self._deaf and not self._answering:
            self.transport.close()
        else:
            super().shutdown()

    def close_idle(self, reason: str) -> None:
        CONNECTIONS_CLOSED.labels(reason).inc()
        self.transport.close()

    def _abort(self, reason: str) -> None:
        """With what the client has not taken."""
        CONNECTIONS_CLOSED.labels(reason).inc()
        log.info("connection aborted", client=self.client, reason=reason)
        self.transport.abort()

    @override
    def send_400_response(self, msg: str) -> None:
        self.refuse(self._fault or BadRequest("the bytes are not an HTTP request"))

    def refuse(self, error: DomainError) -> None:
        """Answer with a problem, if no other answer is in its way, and read nothing more."""
        if self._deaf:
            return
        self._deaf = True
        self._age = 0
        CONNECTIONS_CLOSED.labels(error.type).inc()
        if not self._in_body:
            if self._answering:
                # The answers to the requests before it come first. Those that were too many were
                # not read, and their client sends them again.
                unread = len(self.pipeline) >= MAX_PIPELINED
                self.cycle.on_response = self._end if unread else lambda: self._answer(error)
                return
        elif not self._answering or self.cycle.response_started or self.pipeline:
            # Its answer is out, or begun, or there is another one before it.
            self.transport.close()
            return
        else:
            # As if its client had left: the application gives it up.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._answer(error)

    def _answer(self, error: DomainError) -> None:
        if self.transport.is_closing():
            return
        request_id = uuid4().hex
        log.warning(
            "request refused",
            client=self.client,
            reason=error.type,
            detail=error.detail,
            request_id=request_id,
            trace_id=request_id,
        )
        response = problems.unread(request_id, error)
        headers = [
            *self.server_state.default_headers,
            *response.raw_headers,
            (HEADER.lower().encode(), request_id.encode()),
            (b"connection", b"close"),
        ]
        lines = [b"%b: %b\r\n" % header for header in headers]
        self.transport.write(
            b"".join([STATUS_LINE[response.status_code], *lines, b"\r\n", bytes(response.body)])
        )
        self._end()

    def _end(self) -> None:
        """Say no more, and throw away what still comes: see LINGER."""
        self._age = 0
        self.flow.resume_reading()
        if self._draining or not self.transport.can_write_eof():
            self.transport.close()
        else:
            self.transport.write_eof()


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's, whose pings notice a client that is gone, but not one that never reads."""

    @override
    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._outflow = Outflow(transport, in_pieces=False)

    @override
    def pause_writing(self) -> None:
        """Read nothing either: each ping of the client adds a pong to what it does not read."""
        super().pause_writing()
        self.transport.pause_reading()

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        self._outflow.restart()
        if not self.read_paused:
            self.transport.resume_reading()

    @override
    async def receive(self) -> ASGIReceiveEvent:
        message = await super().receive()
        if not self.writable.is_set():
            # uvicorn resumes reading with each message.
            self.transport.pause_reading()
        return message

    def look(self) -> None:
        """As the other protocol's."""
        growing = self.writable.is_set() and not self.transport.is_closing()
        if not growing and not self._outflow.keeps():
            CONNECTIONS_CLOSED.labels("slow-response").inc()
            self.transport.abort()
