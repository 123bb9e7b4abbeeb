"""What is no HTTP at all never reaches the application: its answer is a problem all the same."""

from uuid import uuid4

import structlog
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from app.api.health import Lifecycle
from app.api.middleware import HEADER
from app.api.problems import BadRequest, unread

log = structlog.get_logger(__name__)


class ProblemProtocol(HttpToolsProtocol):
    @property
    def _draining(self) -> bool:
        lifecycle: Lifecycle = self.config.app.state.lifecycle  # type: ignore[union-attr]
        return lifecycle.draining

    @override
    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self._draining:
            self.answer_last()

    def answer_last(self) -> None:
        """Say `Connection: close` in the answer, if it has not begun: its client connects anew.

        A connection that is closed without a word may be just when its client asks again.
        """
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_started:
            cycle.keep_alive = False

    @override
    def send_400_response(self, msg: str) -> None:
        request_id = uuid4().hex
        log.warning(
            "no HTTP request", client=self.client, request_id=request_id, trace_id=request_id
        )
        response = unread(request_id, BadRequest("the bytes are not an HTTP request"))
        headers = [
            *self.server_state.default_headers,
            *response.raw_headers,
            (HEADER.lower().encode(), request_id.encode()),
            (b"connection", b"close"),
        ]
        lines = [b"%b: %b\r\n" % header for header in headers]
        self.transport.write(b"".join([STATUS_LINE[400], *lines, b"\r\n", bytes(response.body)]))
        self.transport.close()
