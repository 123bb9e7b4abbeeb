"""Reads passwords for commands, never from arguments: process lists and histories show those."""

import sys
from typing import Annotated

import typer

from app.core.mendable import Mendable

PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]


def has_terminal() -> bool:
    # None where standard input is closed.
    return sys.stdin is not None and sys.stdin.isatty()


def ask_password(*, twice: bool) -> str:
    """Ask at the terminal; `twice` for a new password, until both are the same."""
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=twice, err=True))


def read_password() -> str:
    """Read the first line of standard input. Raises `Mendable` if it is empty."""
    try:
        line = "" if sys.stdin is None else sys.stdin.readline()
    except UnicodeDecodeError:
        raise Mendable("password: standard input is not UTF-8") from None
    password = line.rstrip("\r\n")
    if not password:
        raise Mendable("password: there is none on standard input")
    return password
