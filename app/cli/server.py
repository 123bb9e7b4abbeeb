"""Which server the client's commands talk to, and as whom."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import anyio
import typer

from app.client import ApiKey, Client, CredentialFile, SavedLogin
from app.client.connection import base_url
from app.core.environment import CLIENT_API_KEY, CLIENT_URL

DEFAULT_URL = "http://127.0.0.1:8000"

Outcome = TypeVar("Outcome")


def credential_file() -> CredentialFile:
    return CredentialFile(Path(typer.get_app_dir("heavylift")) / "credentials.json")


def server_url(file: CredentialFile, chosen: str | None = None) -> str:
    """The one that was named, else the one of the last login."""
    named = chosen or os.environ.get(CLIENT_URL)
    return base_url(named or file.read().current or DEFAULT_URL)


def client() -> Client:
    file = credential_file()
    url = server_url(file)
    key = os.environ.get(CLIENT_API_KEY)
    return Client(url, ApiKey(key) if key else SavedLogin(file, url))


def with_client(use: Callable[[Client], Awaitable[Outcome]]) -> Outcome:
    """Raises `ClientError`, and `KeyboardInterrupt` for Ctrl-C."""

    async def connected() -> Outcome:
        async with client() as one:
            return await use(one)

    return anyio.run(connected)
