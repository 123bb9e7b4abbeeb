from typing import Annotated

import anyio
import typer
from pydantic import BaseModel

from app.cli.password import PasswordStdin, ask, ask_password, has_terminal, read_password
from app.cli.server import credential_file, server_url
from app.cli.terminal import Json, print_json, say
from app.client import Client, ClientError, CredentialFile
from app.client.credentials import Login


class LoggedIn(BaseModel):
    url: str
    email: str


class LoggedOut(BaseModel):
    url: str
    revoked: bool


def login(
    url: Annotated[
        str | None,
        typer.Option(
            help="The server. Default: HEAVYLIFT_CLIENT_URL, the last login's, "
            "http://127.0.0.1:8000."
        ),
    ] = None,
    email: Annotated[str | None, typer.Option(help="Asked for if it is not given.")] = None,
    password_stdin: PasswordStdin = False,
    register: Annotated[bool, typer.Option("--register", help="Make the account first.")] = False,
    as_json: Json = False,
) -> None:
    """Log in at a server, for all commands that follow.

    What is kept is not the password, but tokens, in a file that nobody else can read. Scripts do
    without: HEAVYLIFT_CLIENT_URL and HEAVYLIFT_CLIENT_API_KEY.
    """
    file = credential_file()
    url = server_url(file, url)
    if not (password_stdin or has_terminal()):
        raise ClientError("there is no terminal to ask for a password: use --password-stdin")
    if email is None:
        if password_stdin:
            raise ClientError("with --password-stdin, give --email too")
        known = file.read().logins.get(url)
        email = ask("E-mail", default=known and known.email)
    password = read_password() if password_stdin else ask_password(twice=register)
    anyio.run(_log_in, file, url, email, password, register)
    if as_json:
        print_json(LoggedIn(url=url, email=email))
    else:
        say(f"logged in at {url} as {email}")


async def _log_in(
    file: CredentialFile, url: str, email: str, password: str, register: bool
) -> None:
    async with Client(url) as client:
        if register:
            await client.register(email, password)
        token = await client.log_in(email, password)
    async with file.locked():
        credentials = file.read()
        credentials.logins[url] = Login.of(email, token)
        credentials.current = url
        file.write(credentials)


def logout(as_json: Json = False) -> None:
    """Forget the login at the server, here and there."""
    file = credential_file()
    url = server_url(file)
    revoked = anyio.run(_log_out, file, url)
    if as_json:
        print_json(LoggedOut(url=url, revoked=revoked))
    else:
        say(f"logged out at {url}")


async def _log_out(file: CredentialFile, url: str) -> bool:
    async with file.locked():
        credentials = file.read()
        login = credentials.logins.pop(url, None)
        file.write(credentials)
    if login is None or login.refresh_token is None:
        return False
    async with Client(url) as client:
        try:
            await client.log_out(login.refresh_token)
        except ClientError as error:
            say(f"forgotten here, but not there: {error}")
            return False
    return True
