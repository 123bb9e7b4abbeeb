"""What is uploaded: a file, whatever comes on standard input, or bytes that are there already."""

import os
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio

from app.client.connection import Body
from app.client.errors import ClientError

CHUNK = 256 * 1024


def file_body(path: Path | None) -> Body:
    """A file's bytes; standard input's for None. Raises `ClientError`."""
    if path is None:
        if sys.stdin is None:
            raise ClientError("standard input is closed: pipe the file into the command")
        return Body(lambda: _chunks(sys.stdin.fileno()), size=None, repeatable=False)
    try:
        status = path.stat()
        # Opened here for its error alone, before anything is sent.
        with path.open("rb"):
            pass
    except OSError as error:
        raise ClientError(f"can't read {path}: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise ClientError(f"{path} is no regular file: pipe it into `files put -`")

    async def opened() -> AsyncIterator[bytes]:
        with path.open("rb", buffering=0) as file:
            async for chunk in _chunks(file.fileno()):
                yield chunk

    return Body(opened, size=status.st_size, repeatable=True)


def bytes_body(content: bytes) -> Body:
    async def opened() -> AsyncIterator[bytes]:
        yield content

    return Body(opened, size=len(content), repeatable=True)


async def _chunks(descriptor: int) -> AsyncIterator[bytes]:
    mode = os.fstat(descriptor).st_mode
    waits = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor)
    while True:
        if waits:
            # A read that blocked would keep Ctrl-C waiting too.
            await anyio.wait_readable(descriptor)
        chunk = os.read(descriptor, CHUNK)
        if not chunk:
            return
        yield chunk
