"""A TCP port before a Redis, that passes on what it answers late."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


@asynccontextmanager
async def slow_redis(socket: str, delay: Callable[[], float]) -> AsyncIterator[str]:
    """The URL of the port; `delay` gives the seconds that each answer takes longer."""
    connections: set[asyncio.Task[None]] = set()

    async def pump(
        source: asyncio.StreamReader, sink: asyncio.StreamWriter, seconds: Callable[[], float]
    ) -> None:
        while chunk := await source.read(65536):
            await asyncio.sleep(seconds())
            sink.write(chunk)
            await sink.drain()
        raise EOFError

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        answers, questions = await asyncio.open_unix_connection(socket)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(pump(reader, questions, lambda: 0))
                both.create_task(pump(answers, writer, delay))
        except* (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            for end in (questions, writer):
                end.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
