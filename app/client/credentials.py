"""The logins that a person has: a file that nobody else can read."""

import fcntl
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from app.client.answers import Token
from app.client.errors import ClientError

# Seconds between two looks at a lock that another command holds while it asks the server.
LOOK_AGAIN = 0.05


class Login(BaseModel):
    model_config = ConfigDict(frozen=True)

    email: str
    access_token: str = Field(repr=False)
    expires_at: AwareDatetime
    refresh_token: str | None = Field(None, repr=False)

    @classmethod
    def of(cls, email: str, token: Token) -> "Login":
        return cls(
            email=email,
            access_token=token.access_token,
            expires_at=datetime.now(UTC) + timedelta(seconds=token.expires_in),
            refresh_token=token.refresh_token,
        )


class Credentials(BaseModel):
    """By server: a token is never sent to another than the one that issued it."""

    # The server of the last login, though that may be over.
    current: str | None = None
    logins: dict[str, Login] = {}


class CredentialFile:
    """Every method raises `ClientError` where the file can't be used."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Credentials:
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
                    raise ClientError(
                        f"{self.path} is open to others: `chmod 600 {self.path}`, and log in again "
                        f"if somebody may have read it"
                    )
                content = file.read()
        except FileNotFoundError:
            return Credentials()
        except OSError as error:
            raise ClientError(f"can't read {self.path}: {error.strerror}") from None
        try:
            return Credentials.model_validate_json(content)
        except ValidationError:
            raise ClientError(
                f"{self.path} is damaged: remove it and run `heavylift login`"
            ) from None

    def write(self, credentials: Credentials) -> None:
        """Whole or not at all; call it with the lock held."""
        unfinished = self.path.with_name(f"{self.path.name}.unfinished")
        try:
            unfinished.unlink(missing_ok=True)
            # Its mode is right from its first moment on.
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(credentials.model_dump_json(indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self.path)
        except OSError as error:
            raise ClientError(f"can't write {self.path}: {error.strerror}") from None

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Alone with the file, among all commands: what reads and then writes it holds this."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.path.with_suffix(".lock"), os.O_WRONLY | os.O_CREAT, 0o600)
        except OSError as error:
            raise ClientError(f"can't write in {self.path.parent}: {error.strerror}") from None
        with os.fdopen(lock, "w"):
            # Not a blocking call: another task of this very process may hold it.
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await anyio.sleep(LOOK_AGAIN)
            yield
