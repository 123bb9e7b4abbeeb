"""HTTP requests at a steady rate, however late their answers are: a stall is seen as one.

Who waits for an answer before it sends the next request measures a stall once, and not for all who
would have come meanwhile (coordinated omission). The client is bare: it shares two cores with what
it measures.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

LIMIT = 60.0


@dataclass(frozen=True)
class Answer:
    begun: float
    """Seconds of the loop's clock: when it was to be sent."""
    seconds: float
    status: int
    """0: there was no answer."""
    name: str = ""
    retry_after: str | None = None
    fault: str = ""
    """Why there was no answer, or what a server's error says."""


@dataclass(frozen=True)
class Request:
    name: str
    raw: bytes


def request(
    method: str, path: str, *, token: str | None = None, body: str = "", keep: bool = True
) -> Request:
    lines = [f"{method} {path} HTTP/1.1", "Host: test", f"Content-Length: {len(body)}"]
    if body:
        lines.append("Content-Type: application/json")
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if not keep:
        lines.append("Connection: close")
    return Request(f"{method} {path}", ("\r\n".join(lines) + "\r\n\r\n" + body).encode())


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Client:
    """Kept connections, reused the latest first; one that its server has ended is dropped."""

    host: str
    port: int
    _idle: list[Connection] = field(default_factory=list)

    async def _connect(self) -> Connection:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            await _closed(writer)
        return await asyncio.open_connection(self.host, self.port)

    async def ask(self, asked: Request, begun: float) -> Answer:
        loop = asyncio.get_running_loop()
        status, fault = 0, ""
        headers: dict[str, str] = {}
        try:
            async with asyncio.timeout(LIMIT):
                reader, writer = await self._connect()
                try:
                    status, headers, body = await _exchange(reader, writer, asked.raw)
                    if status >= 500:
                        fault = body.decode(errors="replace")
                finally:
                    if status and headers.get("connection") != "close":
                        self._idle.append((reader, writer))
                    else:
                        await _closed(writer)
        except (OSError, EOFError) as error:
            fault = repr(error)
        return Answer(
            begun, loop.time() - begun, status, asked.name, headers.get("retry-after"), fault
        )

    async def close(self) -> None:
        for _, writer in self._idle:
            await _closed(writer)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, raw: bytes
) -> tuple[int, dict[str, str], bytes]:
    writer.write(raw)
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.rstrip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return int(first.split()[1]), headers, body


@dataclass
class Load:
    answers: list[Answer] = field(default_factory=list)

    def between(self, begin: float, end: float) -> list[Answer]:
        return [answer for answer in self.answers if begin <= answer.begun < end]

    def statuses(self) -> Counter[int]:
        return Counter(answer.status for answer in self.answers)

    def failed(self) -> list[Answer]:
        return [answer for answer in self.answers if not 200 <= answer.status < 300]


def percentile(answers: Sequence[Answer], fraction: float) -> float:
    """In seconds: so many of them took no longer."""
    ordered = sorted(answer.seconds for answer in answers)
    return ordered[min(int(len(ordered) * fraction), len(ordered) - 1)]


@asynccontextmanager
async def steady_load(
    client: Client, requests: Callable[[int], Request], *, rate: float
) -> AsyncIterator[Load]:
    """`requests(n)` is the n-th; at the end, those under way are waited for."""
    load = Load()
    loop = asyncio.get_running_loop()
    asking: set[asyncio.Task[None]] = set()

    async def ask(number: int, begun: float) -> None:
        load.answers.append(await client.ask(requests(number), begun))

    async def send_for_ever() -> None:
        number, due = 0, loop.time()
        while True:
            await asyncio.sleep(max(0.0, due - loop.time()))
            task = asyncio.create_task(ask(number, due))
            asking.add(task)
            task.add_done_callback(asking.discard)
            number += 1
            due += 1 / rate

    sending = asyncio.create_task(send_for_ever())
    try:
        yield load
    finally:
        sending.cancel()
        await asyncio.gather(sending, *asking, return_exceptions=True)
        await client.close()
