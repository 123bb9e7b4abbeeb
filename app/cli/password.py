"""Reads passwords for commands, never from arguments: process lists and histories show those."""

import sys
from typing import Annotated, Any

import typer

from app.core.mendable import Mendable
from app.core.text import is_unicode

PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]


def has_terminal() -> bool:
    # None where standard input is closed.
    return sys.stdin is not None and sys.stdin.isatty()


def ask_password(*, twice: bool) -> str:
    """Ask at the terminal; `twice` for a new password, until both are the same.

    Raises `Mendable` if it is not UTF-8.
    """
    return ask("Password", hide_input=True, confirmation_prompt=twice)


def ask(what: str, **options: Any) -> str:
    """Ask at the terminal. Raises `Mendable` for an answer that is not UTF-8."""
    try:
        answer = str(typer.prompt(what, err=True, **options))
    except UnicodeDecodeError:
        answer = None
    if answer is None or not is_unicode(answer):
        raise Mendable(f"{what}: what was typed is not UTF-8; check the terminal's encoding")
    return answer


def read_password() -> str:
    """Read the first line of standard input. Raises `Mendable` if it is empty or not UTF-8."""
    try:
        line = "" if sys.stdin is None else sys.stdin.readline()
    except UnicodeDecodeError:
        line = None
    if line is None or not is_unicode(line):
        raise Mendable("password: standard input is not UTF-8; convert it to UTF-8")
    password = line.rstrip("\r\n")
    if not password:
        raise Mendable("password: there is none on standard input")
    return password
