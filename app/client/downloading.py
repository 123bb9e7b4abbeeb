"""Files fetched whole or not at all: resumed where a transfer broke off, and checked."""

import fcntl
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import anyio
import httpx2

from app.client.answers import File
from app.client.api import Client
from app.client.errors import ClientError, Unreachable
from app.core.file_names import plain_name

CHUNK = 1024 * 1024

# Transfers in a row that brought nothing.
FRUITLESS = 3
WAIT = 0.5

Write = Callable[[bytes], object]
Tell = Callable[[int], None]


def place(file: File, to: Path | None) -> Path:
    """Where a file goes: `to` itself, or its own name in the folder `to` or in this one.

    Raises `ClientError` for a name that would lead elsewhere: it is somebody else's.
    """
    if to is not None and not to.is_dir():
        return to
    try:
        return (to or Path()) / plain_name(file.name)
    except ValueError as error:
        raise ClientError(
            f"can't store a file as {file.name!r} ({error}): give a name with --output"
        ) from None


async def download(
    client: Client, file: File, to: Path, *, overwrite: bool = False, tell: Tell
) -> None:
    """The file at `to`; what is there already and is the same is left as it is.

    `tell` is called with how many bytes there are. Raises `ClientError`.
    """
    try:
        if overwrite or not _is_there(file, to):
            await _download(client, file, to, tell)
        else:
            tell(file.size)
    except OSError as error:
        raise ClientError(f"can't write {to}: {error.strerror}") from None


def _is_there(file: File, to: Path) -> bool:
    """Raises `ClientError` where something else is."""
    if not os.path.lexists(to):
        return False
    if to.is_file():
        with to.open("rb") as content:
            if hashlib.file_digest(content, "sha256").hexdigest() == file.sha256:
                return True
    raise ClientError(f"{to} is there already, and another file: --force replaces it")


async def _download(client: Client, file: File, to: Path, tell: Tell) -> None:
    # Named after the content: what another run has left of it is the beginning of this very file.
    partial = to.with_name(f".{file.sha256[:16]}.part")
    # NOFOLLOW: who may write in the folder must not choose what is written over.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(partial, flags, 0o666), "r+b") as target:
        try:
            fcntl.flock(target, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ClientError(f"another command is fetching {to}") from None
        digest = hashlib.sha256()
        there = _take_up(target, file.size, digest.update)
        tell(there)

        def write(chunk: bytes) -> None:
            target.write(chunk)
            digest.update(chunk)

        await fetch(client, file, start=there, write=write, tell=tell)
        if digest.hexdigest() != file.sha256:
            partial.unlink()
            raise ClientError(f"what came is not what {file.name} is: its SHA-256 differs")
        target.flush()
        os.fsync(target.fileno())
        partial.replace(to)


def _take_up(target: BinaryIO, size: int, update: Write) -> int:
    """How much of it is there from an earlier run."""
    there = 0
    while chunk := target.read(CHUNK):
        there += len(chunk)
        update(chunk)
    if there > size:
        raise ClientError(f"{target.name} is longer than the whole file: remove it")
    return there


async def fetch(client: Client, file: File, *, start: int, write: Write, tell: Tell) -> None:
    """The bytes from `start` on, over as many transfers as it takes while each brings some."""
    there = start
    fruitless = 0
    while there < file.size:
        before = there
        try:
            async with client.content(file, start=there) as response:
                # Whole, though a part was asked for: the beginning is there already.
                skip = 0 if response.status_code == 206 else there
                async for chunk in response.aiter_bytes():
                    new, skip = chunk[skip:], max(skip - len(chunk), 0)
                    there += len(new)
                    if there > file.size:
                        raise ClientError(f"more came than the {file.size} bytes of {file.name}")
                    write(new)
                    tell(len(new))
        except httpx2.TransportError as error:
            fruitless = fruitless + 1 if there == before else 0
            if fruitless == FRUITLESS:
                raise Unreachable(f"the transfer of {file.name} breaks off: {error}") from None
            await anyio.sleep(WAIT)
        else:
            if there == before:
                raise ClientError(f"{file.name} ended {file.size - there} bytes too early")
