"""Which server the client's commands talk to, and as whom."""

import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import anyio
import typer

from app.client import ApiKey, Client, ClientError, CredentialFile, SavedLogin
from app.client.connection import base_url
from app.core.environment import CLIENT_API_KEY, CLIENT_URL

DEFAULT_URL = "http://127.0.0.1:8000"

# Visible ASCII: any API key, and what a header takes as it is (RFC 9110, section 5.5).
HEADER_VALUE = re.compile("[!-~]+")

Outcome = TypeVar("Outcome")


def credential_file() -> CredentialFile:
    return CredentialFile(Path(typer.get_app_dir("heavylift")) / "credentials.json")


def server_url(file: CredentialFile, chosen: str | None = None) -> str:
    """The one that was named, else the one of the last login."""
    named = {"--url": chosen, CLIENT_URL: os.environ.get(CLIENT_URL)}
    for source, url in named.items():
        if url:
            try:
                return base_url(url)
            except ClientError as error:
                raise ClientError(f"{source}: {error}") from None
    return base_url(file.read().current or DEFAULT_URL)


def client() -> Client:
    file = credential_file()
    url = server_url(file)
    key = os.environ.get(CLIENT_API_KEY)
    if key and HEADER_VALUE.fullmatch(key) is None:
        # Without the key, which must not reach a log.
        raise ClientError(
            f"{CLIENT_API_KEY}: malformed API key; set it without spaces and line breaks"
        )
    return Client(url, ApiKey(key) if key else SavedLogin(file, url))


def with_client(use: Callable[[Client], Awaitable[Outcome]]) -> Outcome:
    """Raises `ClientError`, and `KeyboardInterrupt` for Ctrl-C."""

    async def connected() -> Outcome:
        async with client() as one:
            return await use(one)

    return anyio.run(connected)
