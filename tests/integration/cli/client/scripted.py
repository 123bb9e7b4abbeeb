"""A server that misbehaves as told: what a real one, or a proxy before it, does once in a while."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from types import TracebackType
from typing import Self

PREFIX = "/api/v1"


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Reply(BaseHTTPRequestHandler):
    """One request, and what to do about it."""

    protocol_version = "HTTP/1.1"
    script: "Scripted"

    def do(self) -> None:
        length = self.headers.get("Content-Length")
        if length is not None:
            body = self.rfile.read(int(length))
        else:
            body = self._chunks() if self.headers.get("Transfer-Encoding") else b""
        path = self.path.partition("?")[0].removeprefix(PREFIX)
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, path, headers, body)
        with self.script.lock:
            self.script.asked.append(asked)
            steps = self.script.steps[f"{asked.method} {path}"]
            step = steps.pop(0) if len(steps) > 1 else steps[0]
        step(self)

    do_GET = do_POST = do_DELETE = do  # noqa: N815

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def answer(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def hang_up(self) -> None:
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


Step = Callable[[Reply], None]


def document(status: int, content: object, **headers: str) -> Step:
    body = json.dumps(content).encode()
    return lambda reply: reply.answer(status, body, Content_Type="application/json", **headers)


def problem(status: int, name: str, title: str, **headers: str) -> Step:
    content = {
        "type": f"https://heavylift.dev/problems/{name}",
        "title": title,
        "detail": "so it is",
        "request_id": "r-1",
        "errors": [],
    }
    return document(status, content, **headers)


def raw(status: int, content: bytes, **headers: str) -> Step:
    return lambda reply: reply.answer(status, content, **headers)


def cut(status: int, content: bytes, length: int, **headers: str) -> Step:
    """An answer of which only the beginning comes."""

    def step(reply: Reply) -> None:
        reply.answer(status, content, **{**headers, "Content-Length": str(length)})
        reply.hang_up()

    return step


def lost(reply: Reply) -> None:
    """The request has arrived; nothing comes back."""
    reply.hang_up()


class Scripted:
    """For each operation, the steps to take one after the other, the last one ever after."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.asked: list[Asked] = []
        self.steps: dict[str, list[Step]] = {}
        handler = type("Handler", (Reply,), {"script": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, args=[0.01], daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def when(self, operation: str, *steps: Step) -> None:
        """`operation` is `GET /jobs`, below the API's prefix."""
        self.steps[operation] = list(steps)

    def requests(self, operation: str) -> list[Asked]:
        return [one for one in self.asked if f"{one.method} {one.path}" == operation]
