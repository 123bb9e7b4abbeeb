"""What Locust is told of answers, good and bad, of a real server."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any

import pytest

# Seconds for which it stands still, once, and at which request.
STILL = 1.0
STILL_AT = 20

PROBLEM = "application/problem+json"

# Status, type and body.
ANSWERS: dict[str, tuple[int, str, bytes]] = {
    "good": (200, "application/json", b'{"name": "x"}'),
    "limited": (429, PROBLEM, b'{"type": "https://h.dev/problems/too-many-requests"}'),
    "limited-by-a-proxy": (429, "text/html", b"slow down"),
    "problem": (
        503,
        f"{PROBLEM}; charset=utf-8",
        b'{"type": "https://h.dev/problems/unavailable"}',
    ),
    "odd-problem": (500, PROBLEM, b'{"type": "https://h.dev/' + b"x" * 100 + b'"}'),
    "broken-problem": (500, PROBLEM, b"[]"),
    "bad-gateway": (502, "text/html", b"<html>"),
    "accepted": (202, "application/json", b'{"name": "x"}'),
    "no-json": (200, "text/html", b"<html>"),
    "lacks-a-field": (200, "application/json", b"{}"),
    "another": (200, "application/json", b'{"name": "y"}'),
    "no-stream": (200, "application/json", b"{}"),
}

EVENTS = b"data: 1\n\n: ping\n\nretry: 500\n\ndata: 2\n\n"

SAID = {
    # First, and not read to its end: the rest come over the same connection.
    "no-stream": "wrong content: no stream of events",
    "good": "None",
    "limited": "refused by limits: 429 too-many-requests",
    "limited-by-a-proxy": "refused by limits: 429, no problem document",
    "problem": "problem: 503 unavailable",
    "odd-problem": "problem: 500 of an unreadable type",
    "broken-problem": "problem: 500 without a type",
    "bad-gateway": "wrong status: 502, no problem document",
    "accepted": "wrong status: 202, no problem document",
    "no-json": "wrong content: Kind.: json_invalid",
    "lacks-a-field": "wrong content: Kind.name: missing",
    "another": "wrong content: another name",
    "silent": "timeout: no answer in time",
    "hangs-up": "connection: HTTPConnectionClosed",
    "half-a-body": "connection: HTTPParseError",
    "stream": "None",
    "stream-cut-off": "connection: HTTPParseError",
    "stream-silent": "timeout: no answer in time",
    "nobody": "connection: ConnectionRefusedError",
}


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    still = Lock()
    asked = 0
    dropped: list[str]
    over: Event

    def do_GET(self) -> None:
        case = self.path.removeprefix("/api/v1/")
        if case == "stands-still-once":
            # All that is asked meanwhile waits too.
            with self.still:
                type(self).asked += 1
                if self.asked == STILL_AT:
                    time.sleep(STILL)
            self.answer(200, "application/json", b"{}")
        elif case == "silent":
            self.over.wait()
            self.close_connection = True
        elif case == "hangs-up":
            self.dropped.append(case)
            self.close_connection = True
        elif case == "half-a-body":
            self.answer(200, "application/json", b'{"name"', length=100)
            self.close_connection = True
        elif case.startswith("stream"):
            self.stream(case)
        else:
            self.answer(*ANSWERS[case])

    def answer(self, status: int, kind: str, body: bytes, *, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, case: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(EVENTS), EVENTS))
        if case == "stream":
            self.wfile.write(b"0\r\n\r\n")
            return
        if case == "stream-silent":
            self.over.wait()
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def server(dropped: list[str] | None = None) -> Iterator[str]:
    over = Event()
    handler = type("Handler", (Answering,), {"over": over, "dropped": dropped})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = Thread(target=serving.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{serving.server_port}"
        finally:
            over.set()
            serving.shutdown()
            thread.join()


def told(*arguments: str) -> list[tuple[str, str, float]]:
    asked = subprocess.run(
        [sys.executable, "-m", "tests.load.journeys", *arguments],
        capture_output=True,
        text=True,
    )
    assert asked.returncode == 0, asked.stderr
    return [tuple(entry) for entry in json.loads(asked.stdout)]


@pytest.mark.slow
def test_failures_are_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobodys = f"http://127.0.0.1:{closed.getsockname()[1]}"
    dropped: list[str] = []
    with server(dropped) as url:
        entries = told(url, nobodys, *SAID)
    assert {name for name, _, _ in entries} == {"Probe /api/v1/{case}"}
    seen = dict(zip(SAID, (error for _, error, _ in entries), strict=True))
    assert seen == SAID
    # A second try that went well would hide the first.
    assert dropped == ["hangs-up"]


@pytest.mark.slow
def test_a_stall_is_seen_by_all_who_would_have_come_meanwhile() -> None:
    with server() as url:
        entries = told(url)
    # One request was sent into the second that it stood still; 20 were due in it.
    assert sum(milliseconds > 300 for _, _, milliseconds in entries) >= 10
    assert {error for _, error, _ in entries} == {"None"}
