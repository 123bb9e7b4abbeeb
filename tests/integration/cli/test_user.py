"""`heavylift user create`."""

import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Mapping

import psycopg
import pytest
import typer

from app.cli import user as user_command
from app.core.security import ARGON2ID
from app.embedded.stack import command
from tests.integration.cli.conftest import Outcome, Run, clean_environment, is_one_line
from tests.servers import POSTGRES

pytestmark = pytest.mark.usefixtures("clean")

PASSWORD = "correct horse battery staple"


@pytest.fixture
def create(
    run: Run, variables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    def call(*arguments: str, password: str = PASSWORD, **more: str) -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.StringIO(password + "\n"))
        return run("user", "create", *arguments, **{**variables, **more})

    return call


def rows(variables: Mapping[str, str]) -> list[tuple[str, str, bool]]:
    with psycopg.connect(variables["HEAVYLIFT_DATABASE_URL"]) as connection:
        query = "SELECT email, password_hash, is_admin FROM users ORDER BY id"
        return connection.execute(query).fetchall()


def test_creates_users_and_admins(
    create: Callable[..., Outcome], variables: Mapping[str, str]
) -> None:
    for arguments in (["ada@example.com"], ["--admin", "root@example.com"]):
        outcome = create(*arguments)
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out.startswith("created ")
        assert PASSWORD not in outcome.out
    users = rows(variables)
    assert [(email, is_admin) for email, _, is_admin in users] == [
        ("ada@example.com", False),
        ("root@example.com", True),
    ]
    assert all(ARGON2ID.verify(PASSWORD, password_hash) for _, password_hash, _ in users)


@pytest.mark.parametrize(
    ("arguments", "password", "said"),
    [
        (["no address"], PASSWORD, "email: "),
        (["a@example.com"], "short", "password: "),
        (["a@example.com"], "", "password: "),
        (["a@example.com", PASSWORD], PASSWORD, "unexpected extra argument"),
        ([], PASSWORD, "Missing argument"),
    ],
)
def test_what_is_wrong_is_one_line(
    create: Callable[..., Outcome],
    variables: Mapping[str, str],
    arguments: list[str],
    password: str,
    said: str,
) -> None:
    outcome = create(*arguments, password=password)
    assert outcome.code == 2
    assert is_one_line(outcome.err)
    assert said in outcome.err
    assert rows(variables) == []


def test_an_address_that_is_taken_is_one_line(create: Callable[..., Outcome]) -> None:
    assert create("ada@example.com").code == 0
    outcome = create("--admin", "ADA@example.com")
    assert outcome.code == 2
    assert is_one_line(outcome.err)
    assert "registered already" in outcome.err


@pytest.mark.parametrize(
    ("database", "said"),
    [
        ("postgresql://nobody@127.0.0.1:1/heavylift", "can't reach the database"),
        ("postgresql://nobody@h/h?host=/nonexistent", "can't reach the database"),
        (None, "heavylift migrate"),
    ],
)
def test_a_database_that_is_not_there_is_one_line(
    create: Callable[..., Outcome], database: str | None, said: str
) -> None:
    # The maintenance database has no tables of ours.
    url = database or os.environ[POSTGRES]
    outcome = create("ada@example.com", HEAVYLIFT_DATABASE_URL=url)
    assert outcome.code == 2
    assert is_one_line(outcome.err)
    assert said in outcome.err
    assert PASSWORD not in outcome.err


def test_user_is_a_group(run: Run) -> None:
    outcome = run("user", "--help")
    assert outcome.code == 0
    assert "\n  create " in outcome.out
    outcome = run("user", "nonesuch")
    assert outcome.code == 2
    assert is_one_line(outcome.err)


def test_password_stdin_reads_it_though_there_is_a_terminal(
    create: Callable[..., Outcome],
    variables: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(user_command, "has_terminal", lambda: True)
    outcome = create("ada@example.com", "--password-stdin")
    assert (outcome.code, outcome.err) == (0, "")
    assert len(rows(variables)) == 1


@pytest.mark.slow
def test_at_a_terminal_it_asks_twice_and_shows_nothing(variables: Mapping[str, str]) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("user", "create", "ada@example.com"),
        env=clean_environment(**variables),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    for prompt in (b"Password: ", b"Repeat for confirmation: "):
        while prompt not in shown:
            shown += os.read(ours, 1000)
        os.write(ours, PASSWORD.encode() + b"\n")
    try:
        while part := os.read(ours, 1000):
            shown += part
    except OSError:  # Linux says so when the other end is closed
        pass
    assert process.wait(60) == 0
    os.close(ours)
    assert b"created ada@example.com" in shown
    assert PASSWORD.encode() not in shown
    assert len(rows(variables)) == 1


def test_ctrl_d_creates_nobody(
    create: Callable[..., Outcome],
    variables: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object, **__: object) -> str:
        raise typer.Abort

    monkeypatch.setattr(user_command, "read_password", interrupted)
    outcome = create("ada@example.com")
    assert outcome.code == 130
    assert rows(variables) == []
