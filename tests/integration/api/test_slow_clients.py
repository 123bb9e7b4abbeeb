"""How long a client is waited for. The looks that a second has one of are taken at once."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn import Config, Server
from websockets.asyncio.client import connect

from app.api.health import Lifecycle
from app.api.pace import MIN_RATE, PATIENCE, Pace
from app.api.protocol import HEAD_WITHIN, LINGER
from app.server import KEEP_ALIVE, WEBSOCKETS, ApiWorker
from tests.integration.listening import eventually

pytestmark = pytest.mark.anyio

HEAD = b"%s %s HTTP/1.1\r\nHost: test\r\n"
GET = HEAD + b"\r\n"
HANDSHAKE = HEAD % (b"GET", b"/silent") + (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
# A ping of the largest size, masked with zeros.
PING = b"\x89\xfd\0\0\0\0" + b"x" * 125
POST = HEAD + b"Content-Length: %d\r\n\r\n"
BIG = 64 * 1024 * 1024


class App:
    """An ASGI application that answers as it is told."""

    def __init__(self) -> None:
        self.state = SimpleNamespace(lifecycle=Lifecycle())
        self.go_on = asyncio.Event()
        self.left = asyncio.Event()
        self.received = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            while scope["path"] != "/silent":
                await send({"type": "websocket.send", "bytes": b"x" * 65536})
            while (await receive())["type"] != "websocket.disconnect":
                pass
            self.left.set()
            return
        if scope["path"] == "/wait":
            await self.go_on.wait()
        if scope["path"] in ("/read", "/wait"):
            more = True
            while more:
                message = await receive()
                self.received += len(message.get("body", b""))
                more = message.get("more_body", False)
        size = BIG if scope["path"] in ("/big", "/at-once") else 2
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-length", b"%d" % size)],
            }
        )
        most = size if scope["path"] == "/at-once" else 1 << 20
        for start in range(0, size, most):
            part = b"x" * min(most, size - start)
            end = start + len(part) == size
            await send({"type": "http.response.body", "body": part, "more_body": not end})


class Front:
    def __init__(self, server: Server, app: App) -> None:
        self.server = server
        self.app = app
        self.writers: list[asyncio.StreamWriter] = []
        self.port: int = server.servers[0].sockets[0].getsockname()[1]

    @property
    def connections(self) -> list[Any]:
        return list(self.server.server_state.connections)

    def look(self, times: int) -> None:
        for _ in range(times):
            for connection in self.connections:
                connection.look()

    async def connect(self, sent: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection from which the server has read what was sent."""
        before = len(self.connections)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        writer.write(sent)
        await eventually(lambda: len(self.connections) > before)
        # Twice through the selector: what was sent has been read.
        await asyncio.sleep(0.02)
        return reader, writer

    async def is_open(self, reader: asyncio.StreamReader) -> bool:
        await asyncio.sleep(0.02)
        return not reader.at_eof() and len(self.connections) > 0


@pytest.fixture
async def front() -> AsyncIterator[Front]:
    app = App()
    options = {"http": ApiWorker.CONFIG_KWARGS["http"], "timeout_keep_alive": KEEP_ALIVE}
    server = Server(
        Config(
            app, host="127.0.0.1", port=0, lifespan="off", log_config=None, **options, **WEBSOCKETS
        )
    )
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    front = Front(server, app)
    try:
        yield front
    finally:
        app.go_on.set()
        for writer in front.writers:
            writer.transport.abort()
        for connection in list(server.server_state.connections):
            connection.transport.abort()
        server.should_exit = True
        await serving


def answered(said: bytes) -> tuple[bytes, str]:
    first, _, rest = said.partition(b"\r\n")
    return first, json.loads(rest.partition(b"\r\n\r\n")[2])["type"].rpartition("/")[2]


@pytest.mark.parametrize(
    "sent", [b"GET /", b"GET / HTTP/1.1\r\nHost: a\r\n", HEAD % (b"GET", b"/") + b"A: "]
)
async def test_half_a_head_has_ten_seconds(front: Front, sent: bytes) -> None:
    reader, writer = await front.connect(sent)
    front.look(HEAD_WITHIN)
    assert await front.is_open(reader)
    # More of it is no more time.
    writer.write(b"x")
    await asyncio.sleep(0.02)
    front.look(1)
    assert answered(await reader.read()) == (b"HTTP/1.1 408 Request Timeout", "request-timeout")
    front.look(LINGER + 1)
    await eventually(lambda: not front.connections)


@pytest.mark.parametrize("sent", [b"", b"\r\n", GET % (b"GET", b"/")], ids=["none", "blank", "one"])
async def test_a_silent_connection_outlasts_a_proxys_and_no_more(front: Front, sent: bytes) -> None:
    """A proxy keeps them for 60 s and has to be the one that closes."""
    reader, writer = await front.connect(sent)
    if b"GET" in sent:
        await reader.readuntil(b"xx")
    front.look(1)
    front.look(KEEP_ALIVE - 1)
    assert await front.is_open(reader)
    # A blank line is nothing.
    writer.write(b"\r\n")
    await asyncio.sleep(0.02)
    front.look(2)
    assert await reader.read() == b""
    await eventually(lambda: not front.connections)


async def test_a_stalled_body_is_given_up(front: Front) -> None:
    reader, writer = await front.connect(POST % (b"POST", b"/read", 100) + b"x")
    front.look(PATIENCE)
    assert await front.is_open(reader)
    front.look(1)
    assert answered(await reader.read()) == (b"HTTP/1.1 408 Request Timeout", "request-timeout")
    writer.close()


async def test_a_body_that_drips_is_given_up(front: Front) -> None:
    """A chunk extension is no progress, nor is a byte a second."""
    head = HEAD % (b"POST", b"/read") + b"Transfer-Encoding: chunked\r\n\r\n5;"
    extended, _ = await front.connect(head)
    dripping, drip = await front.connect(POST % (b"POST", b"/read", 1000))
    for _ in range(PATIENCE + 2):
        drip.write(b"x")
        await asyncio.sleep(0.001)
        front.look(1)
    for reader in (extended, dripping):
        assert answered(await reader.read())[0] == b"HTTP/1.1 408 Request Timeout"


async def test_a_slow_body_is_waited_for(front: Front) -> None:
    """At the least rate that keeps, with pauses as a phone makes them."""
    size = 100 * MIN_RATE
    reader, writer = await front.connect(POST % (b"POST", b"/read", size))
    for second in range(1, 101):
        if second % 20 == 0:
            writer.write(b"x" * MIN_RATE * 20)
            await eventually(lambda sent=second * MIN_RATE: front.app.received == sent)  # type: ignore[misc]
        front.look(1)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")


async def test_a_body_that_the_application_does_not_read_is_not_late(front: Front) -> None:
    reader, writer = await front.connect(POST % (b"POST", b"/wait", 1 << 20) + b"x" * 500_000)
    front.look(10 * PATIENCE)
    assert await front.is_open(reader)
    front.app.go_on.set()
    writer.write(b"x" * ((1 << 20) - 500_000))
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")


async def test_a_client_that_waits_to_be_told_to_go_on_is_not_late(front: Front) -> None:
    head = HEAD % (b"POST", b"/wait") + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    reader, writer = await front.connect(head)
    front.look(10 * PATIENCE)
    front.app.go_on.set()
    assert (await reader.readline()).startswith(b"HTTP/1.1 100")
    writer.write(b"{}")
    await reader.readline()
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")


async def test_the_rest_of_an_answered_body_is_not_read_for_ever(front: Front) -> None:
    """The answer came first: its client has had the time to read it."""
    reader, writer = await front.connect(POST % (b"POST", b"/", 10**9) + b"x")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    for _ in range(LINGER):
        writer.write(b"x" * 10_000)
        await asyncio.sleep(0.001)
        front.look(1)
    assert await front.is_open(reader)
    front.look(1)
    await eventually(lambda: not front.connections)


async def test_an_answer_that_takes_long_is_waited_for(front: Front) -> None:
    """A stream, or a long poll: as long as the application wants."""
    reader, _ = await front.connect(GET % (b"GET", b"/wait") + b"GET /")
    front.look(100 * KEEP_ALIVE)
    assert await front.is_open(reader)
    # And half a head behind it begins to count when it is answered.
    front.app.go_on.set()
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    front.look(1)
    assert await front.is_open(reader)


@asynccontextmanager
async def small_window(port: int, sent: bytes) -> AsyncIterator[socket.socket]:
    """A client whose system takes little that it has not read."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", port))
        await loop.sock_sendall(client, sent)
        yield client


def paused(front: Front) -> Callable[[], object]:
    return lambda: [found for found in front.connections if found.flow.write_paused]


@pytest.mark.slow
async def test_an_answer_that_nobody_reads_is_given_up(front: Front) -> None:
    async with small_window(front.port, GET % (b"GET", b"/big")):
        await eventually(paused(front))
        await asyncio.sleep(0.2)
        front.look(PATIENCE)
        assert front.connections
        front.look(PATIENCE + 2)
        await eventually(lambda: not front.connections)


@pytest.mark.slow
async def test_an_answer_that_is_read_slowly_is_not(front: Front) -> None:
    """At a rate that the buffers of both systems hide from the server's own."""
    async with small_window(front.port, GET % (b"GET", b"/big")) as client:
        await eventually(paused(front))
        loop = asyncio.get_running_loop()
        for _ in range(4 * PATIENCE):
            for _ in range(4):
                assert await loop.sock_recv(client, 16384)
            await asyncio.sleep(0.001)
            front.look(1)
        assert front.connections


@pytest.mark.slow
async def test_a_websocket_that_nobody_reads_is_given_up(front: Front) -> None:
    address = f"ws://127.0.0.1:{front.port}/"
    async with connect(address, proxy=None, max_queue=1, ping_interval=None, close_timeout=0.1):
        await eventually(lambda: any(not found.writable.is_set() for found in front.connections))
        await asyncio.sleep(0.2)
        front.look(PATIENCE)
        assert front.connections
        front.look(PATIENCE + 2)
        await eventually(lambda: not front.connections)


async def fill(found: Any, client: socket.socket, sent: bytes = PING * 100) -> None:
    """Send this until the server waits for its client to read."""
    while found.writable.is_set():
        await asyncio.get_running_loop().sock_sendall(client, sent)
        # For the server to read it: a send that does not wait lets nothing else run.
        await asyncio.sleep(0)


async def silent(front: Front, client: socket.socket) -> Any:
    """The server's side of a WebSocket, whose system holds little for the client."""
    await asyncio.get_running_loop().sock_recv(client, 1000)
    [found] = front.connections
    found.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return found


async def pinged(front: Front, client: socket.socket) -> Any:
    """The server's side of a WebSocket whose client sends pings and reads no pong."""
    found = await silent(front, client)
    await fill(found, client)
    return found


async def test_pings_are_not_read_while_nobody_reads_the_pongs(front: Front) -> None:
    async with small_window(front.port, HANDSHAKE) as client:
        found = await pinged(front, client)
        bound = found.transport.get_write_buffer_size()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                # More than the systems' buffers take.
                await asyncio.get_running_loop().sock_sendall(client, PING * 100_000)
        assert found.transport.get_write_buffer_size() == bound
        front.look(PATIENCE)
        assert front.connections
        front.look(PATIENCE + 2)
        await eventually(lambda: not front.connections)
        async with asyncio.timeout(10):
            await front.app.left.wait()


async def test_pings_are_answered_when_the_pongs_before_them_are_read(front: Front) -> None:
    async with small_window(front.port, HANDSHAKE) as client:
        found = await pinged(front, client)
        front.look(PATIENCE)
        loop = asyncio.get_running_loop()
        while not found.writable.is_set():
            await loop.sock_recv(client, 1 << 16)
        # The client has its full time again.
        await fill(found, client)
        front.look(PATIENCE)
        assert front.connections


async def test_a_websocket_that_sends_while_paused_is_not_read_on(front: Front) -> None:
    """A message that the application has received does not resume reading by itself."""
    async with small_window(front.port, HANDSHAKE) as client:
        found = await silent(front, client)
        await fill(found, client, PING * 100 + b"\x82\x81\0\0\0\0x")
        await eventually(found.queue.empty)
        assert not found.transport.is_reading()


async def test_a_websocket_whose_client_leaves_while_paused_ends(front: Front) -> None:
    async with small_window(front.port, HANDSHAKE) as client:
        await pinged(front, client)
    async with asyncio.timeout(10):
        await front.app.left.wait()
    await eventually(lambda: not front.connections)


async def test_a_growing_buffer_is_no_progress_of_a_paused_websocket(front: Front) -> None:
    """Such as the server's own pings."""
    async with small_window(front.port, HANDSHAKE) as client:
        found = await pinged(front, client)
        for _ in range(PATIENCE + 2):
            found.transport.write(b"\x89\0")
            front.look(1)
        await eventually(lambda: not front.connections)


@pytest.mark.slow
async def test_a_handshake_waits_for_an_answer_that_is_being_read(front: Front) -> None:
    """Nothing is left to make of it, but its client has not read it."""
    async with small_window(front.port, GET % (b"GET", b"/at-once")) as client:
        await eventually(paused(front))
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, HANDSHAKE)
        said = b""
        while more := await loop.sock_recv(client, 1 << 20):
            said = said[-1000:] + more
        assert b"HTTP/1.1 400 Bad Request" in said


@pytest.mark.parametrize(
    ("rate", "keeps"),
    [(MIN_RATE, True), (MIN_RATE + 10, True), (MIN_RATE - 24, False), (0, False)],
)
def test_a_rate_keeps_or_does_not(rate: int, keeps: bool) -> None:
    pace = Pace()
    assert all(pace.keeps(rate) for _ in range(20 * PATIENCE)) is keeps


def test_a_burst_buys_no_more_than_the_patience_there_is() -> None:
    pace = Pace()
    assert pace.keeps(10**9)
    assert [pace.keeps(0) for _ in range(PATIENCE)] == [True] * (PATIENCE - 1) + [False]
