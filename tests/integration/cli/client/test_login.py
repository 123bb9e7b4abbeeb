"""Credentials: where they are kept, who may read them, which server they go to."""

import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from app.embedded.stack import command
from tests.integration.cli.client.conftest import EMAIL, PASSWORD, Heavylift
from tests.integration.cli.client.scripted import Scripted, document
from tests.integration.cli.conftest import clean_environment, is_one_line

LOGIN = ("login", "--email", EMAIL, "--password-stdin")


def test_a_login_is_kept_where_nobody_else_can_read_it(
    ada: Heavylift, url: str, credentials: Path
) -> None:
    assert stat.S_IMODE(credentials.stat().st_mode) == 0o600
    assert stat.S_IMODE(credentials.parent.stat().st_mode) == 0o700
    kept = credentials.read_text()
    assert json.loads(kept)["current"] == url
    assert PASSWORD not in kept
    assert ada("jobs", "list").code == 0


def test_says_who_is_logged_in_and_nothing_secret(ada: Heavylift, url: str) -> None:
    outcome = ada(*LOGIN, stdin=PASSWORD.encode() + b"\n")
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err == f"logged in at {url} as {EMAIL}\n"
    outcome = ada(*LOGIN, "--json", stdin=PASSWORD.encode())
    assert (json.loads(outcome.out), outcome.err) == ({"url": url, "email": EMAIL}, "")


def test_the_server_of_the_last_login_is_the_one_that_is_meant(ada: Heavylift, url: str) -> None:
    assert ada("jobs", "list", HEAVYLIFT_CLIENT_URL="").code == 0
    assert ada("logout").err == f"logged out at {url}\n"
    outcome = ada("jobs", "list", HEAVYLIFT_CLIENT_URL="")
    assert outcome.err == f"heavylift: not logged in at {url}: run `heavylift login`\n"


def test_a_wrong_password_is_one_line_and_changes_nothing(
    ada: Heavylift, credentials: Path
) -> None:
    before = credentials.read_bytes()
    outcome = ada(*LOGIN, stdin=b"wrong horse battery")
    assert (outcome.code, outcome.out) == (2, "")
    assert is_one_line(outcome.err)
    assert "E-mail address or password is wrong" in outcome.err
    assert credentials.read_bytes() == before


def test_no_terminal_to_ask(heavylift: Heavylift) -> None:
    outcome = heavylift("login", "--email", EMAIL)
    assert outcome.code == 2
    assert "use --password-stdin" in outcome.err
    outcome = heavylift("login", "--password-stdin", stdin=b"x")
    assert outcome.code == 2
    assert "give --email too" in outcome.err


@pytest.mark.parametrize(
    ("stdin", "said"), [(b"", "there is none"), (b"\n", "there is none"), (b"\xff\n", "not UTF-8")]
)
def test_a_password_that_can_not_be_read_is_one_line(
    heavylift: Heavylift, stdin: bytes, said: str
) -> None:
    outcome = heavylift(*LOGIN, "--register", stdin=stdin)
    assert outcome.code == 2
    assert is_one_line(outcome.err)
    assert outcome.err.startswith("heavylift: password: ")
    assert said in outcome.err


def test_the_line_end_is_not_part_of_the_password(ada: Heavylift) -> None:
    for end in (b"", b"\n", b"\r\n", b"\nmore\n"):
        assert ada(*LOGIN, stdin=PASSWORD.encode() + end).code == 0


def test_a_file_that_others_can_read_is_refused(ada: Heavylift, credentials: Path) -> None:
    for mode in (0o640, 0o604, 0o660):
        credentials.chmod(mode)
        outcome = ada("jobs", "list")
        assert outcome.code == 2
        assert is_one_line(outcome.err)
        assert f"`chmod 600 {credentials}`" in outcome.err


def test_a_damaged_file_is_one_line(ada: Heavylift, credentials: Path) -> None:
    credentials.write_text("{")
    outcome = ada("jobs", "list")
    assert outcome.code == 2
    assert is_one_line(outcome.err)


def test_a_token_goes_to_no_other_server(ada: Heavylift, scripted: Scripted) -> None:
    outcome = ada("jobs", "list", HEAVYLIFT_CLIENT_URL=scripted.url)
    assert outcome.code == 2
    assert outcome.err.startswith(f"heavylift: not logged in at {scripted.url}")
    assert scripted.asked == []


def test_logging_out_ends_the_login_here(ada: Heavylift, url: str, credentials: Path) -> None:
    assert ada("logout").code == 0
    assert json.loads(credentials.read_text())["logins"] == {}
    outcome = ada("jobs", "list")
    assert outcome.code == 2
    assert outcome.err == f"heavylift: not logged in at {url}: run `heavylift login`\n"
    assert ada("logout").code == 0


def test_an_api_key_needs_no_login(at_scripted: Heavylift, scripted: Scripted) -> None:
    scripted.when("GET /jobs", document(200, {"items": [], "next_cursor": None}))
    assert at_scripted("jobs", "list").code == 0
    [asked] = scripted.asked
    assert asked.headers["x-api-key"] == "key-1"
    assert "authorization" not in asked.headers


def test_servers_take_no_notice_of_the_clients_variables(heavylift: Heavylift) -> None:
    outcome = heavylift("config", HEAVYLIFT_CLIENT_API_KEY="key-1")
    assert outcome.code == 0
    assert "CLIENT" not in outcome.out
    assert heavylift("config", HEAVYLIFT_CLIENT_URI="x").code == 2


@pytest.mark.slow
def test_what_is_typed_in_a_terminal_is_not_shown(
    heavylift: Heavylift, url: str, credentials: Path
) -> None:
    terminal, end = pty.openpty()
    arguments = command("login", "--register", "--url", url)
    variables = {"XDG_CONFIG_HOME": os.environ["XDG_CONFIG_HOME"]}
    process = subprocess.Popen(
        arguments,
        env=clean_environment(**variables),
        stdin=end,
        stdout=end,
        stderr=end,
        start_new_session=True,
    )
    os.close(end)
    seen = ""
    for prompt, typed in (
        ("E-mail: ", EMAIL),
        # A new password is asked for twice, and both again after a typo in either.
        ("Password: ", PASSWORD),
        ("Repeat for confirmation: ", PASSWORD[:-1]),
        ("Password: ", PASSWORD),
        ("Repeat for confirmation: ", PASSWORD),
    ):
        while not seen.endswith(prompt):
            seen += os.read(terminal, 1024).decode()
        os.write(terminal, f"{typed}\n".encode())
    assert process.wait() == 0
    while b"logged in" not in (chunk := os.read(terminal, 1024)):
        seen += chunk.decode()
    os.close(terminal)
    assert EMAIL in seen
    assert "do not match" in seen
    assert PASSWORD not in seen
    assert EMAIL in credentials.read_text()


def test_ctrl_d_at_a_prompt_ends_the_command(folder: Path) -> None:
    code = """
import sys
from app import cli
sys.argv = ["heavylift", "login"]
sys.stdin.isatty = lambda: True
sys.exit(cli.main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        env=clean_environment(),
        capture_output=True,
    )
    assert done.returncode == 130
    assert b"Traceback" not in done.stderr
