"""`heavylift smoke`: whether an installation works, tried as its users would."""

import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from secrets import token_hex, token_urlsafe
from typing import Annotated
from uuid import UUID

import anyio
import typer

from app.cli.server import credential_file, server_url
from app.cli.terminal import outcome, say
from app.client import Bearer, Client, ClientError, Submission
from app.client.answers import State
from app.client.downloading import fetch
from app.client.reading import bytes_body

# Pixels: what is sent, and what is to come back.
SOURCE = (64, 48)
WANTED = (32, 24)

SIGNATURE = b"\x89PNG\r\n\x1a\n"

# Seconds that taking the account away again may take, once something has failed.
CLEANUP = 10


class StepFailed(Exception):
    """One line: the step, and why."""


class Steps:
    """Prints how long each took; all of them share one timeout."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._deadline = anyio.current_time() + timeout
        self.reached = ""
        """How far a step got that is not over: said of one that takes too long."""

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self.reached = ""
        began = time.perf_counter()
        try:
            with anyio.fail_after(self._deadline - anyio.current_time()):
                yield
        except TimeoutError:
            late = f"{name}: not within {self._timeout:g} s{self.reached}"
            raise StepFailed(late) from None
        except ClientError as error:
            raise StepFailed(f"{name}: {error}") from None
        typer.echo(f"{name:<24}{(time.perf_counter() - began) * 1000:>8,.0f} ms")


def smoke(
    url: Annotated[
        str | None,
        typer.Option(
            help="The server. Default: HEAVYLIFT_CLIENT_URL, the last login's, "
            "http://127.0.0.1:8000."
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for all of it.")] = 120,
) -> None:
    """Try an installation as a user would, from a new account to a job's result and back.

    It leaves nothing there and writes nothing here. Exit code 1: a step failed.
    """
    try:
        anyio.run(_smoke, server_url(credential_file(), url), timeout)
    except StepFailed as failed:
        say(f"smoke: {failed}")
        raise typer.Exit(1) from None


async def _smoke(url: str, within: float) -> None:
    email, password = f"smoke-{token_hex(8)}@example.com", token_urlsafe(24)
    steps = Steps(within)
    async with Client(url) as client:
        with steps("register an account"):
            await client.register(email, password)
        try:
            with steps("log in"):
                token = await client.log_in(email, password)
            client.authenticate(Bearer(token.access_token))
            await _transform(client, steps)
        except BaseException as failure:
            if await _removed(client, password) or not isinstance(failure, StepFailed):
                raise
            raise StepFailed(f"{failure}; the account {email} is left") from None
        with steps("delete the account"):
            await client.delete_account(password)


async def _removed(client: Client, password: str) -> bool:
    # Whatever it was: Ctrl-C too.
    with anyio.move_on_after(CLEANUP, shield=True):
        try:
            await client.delete_account(password)
        except ClientError:
            return False
        return True
    return False


async def _transform(client: Client, steps: Steps) -> None:
    with steps("upload a picture"):
        source = await client.upload(bytes_body(picture(*SOURCE)), name="smoke.png")
    with steps("submit image.transform"):
        rendition = {"name": "smoke", "format": "png", "width": WANTED[0]}
        submission = Submission(spec={"source": str(source.id), "renditions": [rendition]})
        accepted = await client.submit("image.transform", submission)
    with steps("follow its events"):
        await _follow(client, accepted.job.id, steps)
    with steps("fetch its result"):
        content = await _result(client, accepted.job.id)
    with steps("check the result"):
        check(content)


async def _follow(client: Client, job_id: UUID, steps: Steps) -> None:
    steps.reached = "; no event has come"
    async with aclosing(client.follow(job_id, streamed=True)) as events:
        async for event in events:
            steps.reached = f"; the job is {event.state}"
            if event.ended and event.state != State.SUCCEEDED:
                raise ClientError(f"the job {outcome(event)}")


async def _result(client: Client, job_id: UUID) -> bytearray:
    made = (await client.files(job_id=job_id)).items
    if len(made) != 1:
        raise ClientError(f"the job has made {len(made)} files, and was to make one")
    content = bytearray()
    await fetch(client, made[0], start=0, write=content.extend, tell=lambda _: None)
    return content


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def picture(width: int, height: int) -> bytes:
    """A gradient, as PNG (RFC 2083): eight bits of red, green and blue, no filter."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = (
        b"\0" + bytes(level for x in range(width) for level in (4 * x % 256, 5 * y % 256, 128))
        for y in range(height)
    )
    pixels = zlib.compress(b"".join(rows))
    return b"".join(
        [SIGNATURE, _chunk(b"IHDR", header), _chunk(b"IDAT", pixels), _chunk(b"IEND", b"")]
    )


def check(content: bytes | bytearray) -> None:
    """Raises `ClientError` unless these are all bytes of a PNG of the size that is wanted."""
    whole = content.startswith(SIGNATURE) and content.endswith(_chunk(b"IEND", b""))
    if not whole or content[12:16] != b"IHDR":
        raise ClientError(f"its {len(content)} bytes are no PNG")
    size = struct.unpack(">II", content[16:24])
    if size != WANTED:
        raise ClientError("it has {} x {} pixels, not {} x {}".format(*size, *WANTED))
