"""What one connection may send: the limits in front of the application."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI

from app.api.protocol import MAX_FRAMING, MAX_HEAD, MAX_HEADERS, MAX_PIPELINED
from tests.integration.api.test_problems import MEMBERS
from tests.integration.listening import Listening, listening

pytestmark = pytest.mark.anyio

HOST = b"Host: test\r\n"
HANDSHAKE = (
    HOST + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
SOCKET = b"GET /api/v1/jobs/00000000-0000-0000-0000-000000000000/events HTTP/1.1\r\n"
CHUNKED = (
    b"POST /api/v1/auth/refresh HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


@pytest.fixture
async def api(app: FastAPI) -> AsyncIterator[Listening]:
    async with listening(app) as api:
        yield api


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> str:
        found: dict[str, Any] = json.loads(self.body)
        assert found.keys() == MEMBERS
        assert self.headers["content-type"] == "application/problem+json"
        assert found["request_id"] == self.headers["x-request-id"]
        assert found["status"] == self.status
        return str(found["type"]).rpartition("/")[2]


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
    headers = dict(line.lower().split(": ", 1) for line in lines)
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Answer(int(first.split()[1]), headers, body)


async def ask(
    api: Listening, *sent: bytes, answers: int = 1, closed: bool = True, slowly: bool = False
) -> list[Answer]:
    """So many answers, and none after them: where it is `closed`, the server says so."""
    reader, writer = await asyncio.open_connection(api.host, api.port)
    try:
        for piece in sent:
            writer.write(piece)
            if slowly:
                await writer.drain()
        async with asyncio.timeout(10):
            found = [await read_answer(reader) for _ in range(answers)]
            if closed:
                assert await reader.read() == b""
        return found
    finally:
        writer.close()


def head(size: int, *, first: bytes = b"GET /livez HTTP/1.1\r\n", more: bytes = HOST) -> bytes:
    """A head of so many bytes, all but a few in one header."""
    begun = first + more + b"X-Long: "
    return begun + b"x" * (size - len(begun) - 4) + b"\r\n\r\n"


LONG = MAX_HEAD + 1
TOO_LONG = {
    "one header": head(LONG),
    "endless header": head(LONG * 3)[:-4],
    "blanks": b"GET /livez HTTP/1.1\r\n" + HOST + b"X-Long:" + b" " * LONG,
    "url": b"GET /livez?" + b"x" * LONG + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "endless url": b"GET /" + b"x" * LONG * 2,
    "name": b"GET /livez HTTP/1.1\r\n" + HOST + b"x" * LONG,
    "all headers": b"GET /livez HTTP/1.1\r\n" + HOST
    + b"".join(b"X-%d: %s\r\n" % (n, b"x" * 1000) for n in range(80)) + b"\r\n",
    "number of headers": b"GET /livez HTTP/1.1\r\n" + HOST + b"A: b\r\n" * MAX_HEADERS + b"\r\n",
    "endless headers": b"GET /livez HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 30_000,
    "after a body": CHUNKED + b"2\r\n{}\r\n0\r\n\r\n" + head(LONG),
    "chunk extension": CHUNKED + b"2;" + b"x" * (3 * MAX_FRAMING),
    "trailer": CHUNKED + b"2\r\n{}\r\n0\r\nX-Long: " + b"x" * LONG + b"\r\n\r\n",
    "trailers": CHUNKED + b"2\r\n{}\r\n0\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
    "handshake": head(LONG, first=SOCKET, more=HANDSHAKE),
    "line of a handshake": head(10_000, first=SOCKET, more=HANDSHAKE),
    "headers of a handshake": SOCKET + HANDSHAKE + b"A: b\r\n" * MAX_HEADERS + b"\r\n",
}  # fmt: skip


@pytest.mark.parametrize("sent", TOO_LONG.values(), ids=TOO_LONG)
@pytest.mark.parametrize("size", [1 << 20, pytest.param(5000, marks=pytest.mark.slow)])
async def test_a_head_over_a_limit_is_refused(api: Listening, sent: bytes, size: int) -> None:
    """In one piece or in many."""
    pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
    answers = 2 if b"\r\n0\r\n\r\n" in sent else 1
    *_, last = await ask(api, *pieces, answers=answers, slowly=size < 1 << 20)
    assert last.status == 431
    assert last.problem == "request-head-too-large"
    assert last.headers["connection"] == "close"


@pytest.mark.parametrize(
    "sent",
    [
        head(MAX_HEAD),
        b"GET /livez?" + b"x" * (MAX_HEAD - 36) + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /livez HTTP/1.1\r\n" + HOST + b"A: b\r\n" * (MAX_HEADERS - 1) + b"\r\n",
        # Where one begins says nothing of its size.
        head(MAX_HEAD - 5000) + head(MAX_HEAD),
    ],
    ids=["header", "url", "headers", "pipelined"],
)
async def test_a_head_at_its_limit_is_taken(api: Listening, sent: bytes) -> None:
    answers = await ask(api, sent, answers=sent.count(b"HTTP/1.1"), closed=False)
    # An unknown query is refused by the application itself.
    assert {answer.status for answer in answers} <= {200, 422}


async def test_an_endless_head_is_given_up_while_it_comes(api: Listening) -> None:
    """Its client reads the answer although it sends on, and is cut off in the end."""
    reader, writer = await asyncio.open_connection(api.host, api.port)
    writer.write(b"GET / HTTP/1.1\r\n" + HOST + b"X: ")
    for _ in range(64):
        writer.write(b"x" * 65536)
        await writer.drain()
    assert (await read_answer(reader)).status == 431
    assert await reader.read() == b""
    writer.close()


async def test_a_trailer_is_no_header(api: Listening) -> None:
    """Such as one that says who asks."""
    body = b'{"refresh_token": "x"}'
    sent = CHUNKED + b"%x\r\n%s\r\n0\r\nX-Request-Id: trailed\r\n\r\n" % (len(body), body)
    [answer] = await ask(api, sent, closed=False)
    assert answer.status == 401
    assert answer.headers["x-request-id"] != "trailed"


@pytest.mark.parametrize(
    ("first", "hosts", "status"),
    [
        (b"GET /livez HTTP/1.1\r\n", [], 400),
        (b"GET /livez HTTP/1.1\r\n", [b"a", b"a"], 400),
        (b"GET /livez HTTP/1.1\r\n", [b"a b"], 400),
        (b"GET /livez HTTP/1.1\r\n", [b"a/b"], 400),
        (SOCKET + HANDSHAKE.replace(HOST, b""), [], 400),
        (b"GET /livez HTTP/1.1\r\n", [b""], 200),
        (b"GET /livez HTTP/1.1\r\n", [b"api.example.com:8000"], 200),
        (b"GET /livez HTTP/1.1\r\n", [b"[::1]:8000"], 200),
        (b"GET /livez HTTP/1.0\r\n", [], 200),
        (b"GET /livez HTTP/1.0\r\n", [b"a", b"b"], 400),
    ],
)
async def test_http_1_1_names_its_host_once(
    api: Listening, first: bytes, hosts: list[bytes], status: int
) -> None:
    sent = first + b"".join(b"Host: %s\r\n" % host for host in hosts) + b"\r\n"
    [answer] = await ask(api, sent, closed=status == 400)
    assert answer.status == status
    if status == 400:
        assert answer.problem == "bad-request"
        assert "Host" in json.loads(answer.body)["detail"]


@pytest.mark.parametrize(
    "body", [b"Content-Length: 5\r\n\r\nabcde", b"Transfer-Encoding: chunked\r\n\r\n"]
)
async def test_a_handshake_with_a_body_is_answered(api: Listening, body: bytes) -> None:
    [answer] = await ask(api, SOCKET + HANDSHAKE + body)
    assert (answer.status, answer.problem) == (400, "bad-request")


@pytest.mark.parametrize("before", [1, 3])
async def test_a_handshake_behind_an_open_request_is_refused(api: Listening, before: int) -> None:
    """The WebSocket would take over the connection that the answers still need."""
    one = b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"
    answers = await ask(api, one * before + SOCKET + HANDSHAKE + b"\r\n", answers=before + 1)
    assert [answer.status for answer in answers] == [200] * before + [400]
    assert answers[-1].problem == "bad-request"


async def test_a_handshake_after_an_answer_is_accepted(api: Listening) -> None:
    reader, writer = await asyncio.open_connection(api.host, api.port)
    writer.write(b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (await read_answer(reader)).status == 200
    writer.write(SOCKET + HANDSHAKE + b"\r\n")
    assert (await read_answer(reader)).status == 101
    writer.close()


@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize(
    "first",
    [
        b"CONNECT test:80 HTTP/1.1\r\n",
        b"CONNECT test HTTP/1.1\r\n",
        b"CONNECT [::1]:80 HTTP/1.1\r\n",
        b"GET http:// HTTP/1.1\r\n",
        b"GET http://@/ HTTP/1.1\r\n",
        b"GET http://a:b HTTP/1.1\r\n",
    ],
)
async def test_an_invalid_target_is_refused_after_the_earlier_answers(
    api: Listening, first: bytes, before: int
) -> None:
    one = b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"
    answers = await ask(api, one * before + first + HOST + b"\r\n", answers=before + 1)
    assert [answer.status for answer in answers] == [200] * before + [400]
    assert answers[-1].problem == "bad-request"


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"http://test", b"/"),
        (b"https://test:8000?", b"/"),
        (b"http://test?a=b", b"/?a=b"),
        (b"http://test/livez", b"/livez"),
        (b"http://test/livez?a=b", b"/livez?a=b"),
    ],
)
async def test_a_url_as_the_target_is_served_as_its_path(
    api: Listening, target: bytes, path: bytes
) -> None:
    """RFC 9112, section 3.2.2."""
    sent = b"".join(b"GET %s HTTP/1.1\r\n%s\r\n" % (each, HOST) for each in (target, path))
    found, expected = await ask(api, sent, answers=2, closed=False)
    assert found.status == expected.status
    if b"livez" not in path:
        assert json.loads(found.body)["detail"] == json.loads(expected.body)["detail"]


@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize(
    "coding",
    [
        b"gzip, chunked",
        b"identity, chunked",
        b"chunked, chunked",
        b"gzip\r\nTransfer-Encoding: chunked",
        b"chunked\r\nTransfer-Encoding: chunked",
    ],
)
async def test_a_transfer_coding_other_than_chunked_is_refused(
    api: Listening, coding: bytes, before: int
) -> None:
    one = b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"
    sent = CHUNKED.replace(b": chunked", b": " + coding) + b"2\r\n{}\r\n0\r\n\r\n"
    answers = await ask(api, one * before + sent, answers=before + 1)
    assert [answer.status for answer in answers] == [200] * before + [400]
    assert answers[-1].problem == "bad-request"


async def test_chunked_is_known_in_any_case(api: Listening) -> None:
    sent = CHUNKED.replace(b": chunked", b":\tChunked ") + b"2\r\n{}\r\n0\r\n\r\n"
    [answer] = await ask(api, sent, closed=False)
    assert answer.status == 422


async def test_so_many_pipelined_requests_are_answered(api: Listening) -> None:
    """Then the connection ends: a client sends the others again."""
    one = b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"
    answers = await ask(api, one * 5000, answers=MAX_PIPELINED + 1)
    assert {answer.status for answer in answers} == {200}
    await ask(api, one * MAX_PIPELINED, answers=MAX_PIPELINED, closed=False)


async def test_what_is_no_http_breaks_no_answer_before_it(api: Listening) -> None:
    one = b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"
    answers = await ask(api, one * 2 + b"no http\r\n\r\n", answers=3)
    assert [answer.status for answer in answers] == [200, 200, 400]
    assert answers[-1].headers["connection"] == "close"
