"""Arguments, variables and standard input that no request can carry."""

import io
import sys
from pathlib import Path

import pytest

from app.client import connection
from tests.integration.cli.client.conftest import EMAIL, Heavylift
from tests.integration.cli.client.scripted import Scripted, problem
from tests.integration.cli.conftest import Outcome, Run, is_one_line

# The byte 0xff in an argument, a variable or, with LANG unset, on standard input.
BYTE = "\udcff"

KEY = "HEAVYLIFT_CLIENT_API_KEY"
URL = "HEAVYLIFT_CLIENT_URL"


def assert_refused(outcome: Outcome, said: str) -> None:
    assert (outcome.code, outcome.out) == (2, "")
    assert is_one_line(outcome.err)
    assert outcome.err.startswith(f"heavylift: {said}")


@pytest.mark.parametrize(
    "arguments",
    [("user", "create", EMAIL), ("login", "--email", EMAIL, "--url", "http://127.0.0.1:1")],
)
def test_a_password_that_is_not_utf_8_is_one_line_in_every_locale(
    run: Run, monkeypatch: pytest.MonkeyPatch, folder: Path, arguments: tuple[str, ...]
) -> None:
    for errors in ("strict", "surrogateescape"):
        raw = io.BytesIO(b"p\xff\xfepwpwpw\n")
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(raw, "utf-8", errors))
        assert_refused(run(*arguments, "--password-stdin"), "password: standard input is not UTF-8")


def test_typed_text_that_is_not_utf_8_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    def mistyped(*_: object, **__: object) -> str:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    monkeypatch.setattr("app.cli.login.has_terminal", lambda: True)
    login = ("login", "--url", "http://127.0.0.1:1")
    for answer in (lambda *_, **__: f"p{BYTE}wpwpwpw", mistyped):
        monkeypatch.setattr("typer.prompt", answer)
        assert_refused(run(*login), "E-mail: what was typed is not UTF-8")
        assert_refused(run(*login, "--email", EMAIL), "Password: what was typed is not UTF-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["login", "--email", f"{BYTE}@example.com"], "--email: not UTF-8"),
        (["login", "--url", f"http://h/{BYTE}"], "--url: not UTF-8"),
        (["user", "create", f"{BYTE}@example.com"], "email: not UTF-8"),
        (["files", "put", "/etc/hostname", "--name", BYTE], "--name: not UTF-8"),
        (["files", "list", "--cursor", BYTE], "--cursor: not UTF-8"),
        (["jobs", "kinds", BYTE], "kind: not UTF-8"),
        (["jobs", "submit", BYTE], "kind: not UTF-8"),
        (["jobs", "submit", "x", "--spec", f'{{"a": "{BYTE}"}}'], "--spec: not UTF-8"),
        (["jobs", "submit", "x", "--set", "a=1", "--set", f"b={BYTE}"], "--set: not UTF-8"),
        (["jobs", "submit", "x", "--file", f"a=/{BYTE}"], "--file: not UTF-8"),
        (["jobs", "submit", "x", "--idempotency-key", BYTE], "--idempotency-key: not UTF-8"),
        (["jobs", "submit", "x", "--idempotency-key", "é"], "--idempotency-key: use printable"),
        (["jobs", "submit", "x", "--idempotency-key", "a\nb"], "--idempotency-key: use printable"),
        (["jobs", "submit", "x", "--idempotency-key", "a "], "--idempotency-key: use printable"),
        (["jobs", "submit", "x", "--not-before", "0001-01-01T00:00+14:00"], "--not-before 0001"),
        (["jobs", "submit", "x", "--not-before", "9999-12-31T23:59-14:00"], "--not-before 9999"),
        (["jobs", "list", "--kind", BYTE], "--kind: not UTF-8"),
        (["jobs", "reconcile", "--cancel-kind", BYTE], "--cancel-kind: not UTF-8"),
        (["smoke", "--url", f"http://{BYTE}"], "--url: not UTF-8"),
        (["up", "--host", BYTE], "--host: not UTF-8"),
        (["worker", "--pool", BYTE], "--pool: not UTF-8"),
    ],
)
def test_text_that_can_not_be_sent_is_one_line_that_names_the_option(
    at_scripted: Heavylift,
    scripted: Scripted,
    arguments: list[str],
    said: str,
) -> None:
    assert_refused(at_scripted(*arguments), said)
    assert scripted.asked == []


def test_a_path_may_have_any_bytes_if_the_file_gets_a_name(
    at_scripted: Heavylift, scripted: Scripted, folder: Path
) -> None:
    path = folder / BYTE
    path.write_text("abc")
    assert_refused(at_scripted("files", "put", path), "the file name '\\udcff' is not UTF-8")
    scripted.when("POST /files", problem(413, "file-too-large", "Too large"))
    assert_refused(at_scripted("files", "put", path, "--name", "a"), "Too large")
    assert [asked.body for asked in scripted.asked] == [b"abc"]


def test_a_kind_is_one_part_of_a_path(at_scripted: Heavylift, scripted: Scripted) -> None:
    for kind, sent in (
        ("a/b", "a%2Fb"),
        ("a?b#c", "a%3Fb%23c"),
        ("a\nb", "a%0Ab"),
        ("é", "%C3%A9"),
    ):
        unknown = problem(404, "not-found", "No such kind")
        scripted.when(f"POST /jobs/{sent}", unknown)
        scripted.when(f"GET /jobs/kinds/{sent}/schema", unknown)
        assert_refused(at_scripted("jobs", "submit", kind), "No such kind")
        assert_refused(at_scripted("jobs", "kinds", kind), "No such kind")


@pytest.mark.parametrize(
    "arguments",
    [("jobs", "kinds", "a" * 70_000), ("files", "put", "/etc/hostname", "--name", "é" * 30_000)],
)
def test_a_name_longer_than_a_url_is_one_line(
    at_scripted: Heavylift, arguments: tuple[str, ...]
) -> None:
    assert_refused(at_scripted(*arguments), "no request can carry this: ")


@pytest.mark.parametrize("proxy", ["foo://h", "http://\udcff"])
def test_a_proxy_that_is_no_url_is_one_line(
    at_scripted: Heavylift, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    assert_refused(at_scripted("jobs", "list"), "HTTP_PROXY, HTTPS_PROXY or ALL_PROXY: ")


def test_a_certificate_file_that_is_missing_is_one_line(
    at_scripted: Heavylift, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection._trusted.cache_clear()
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent")
    assert_refused(at_scripted("jobs", "list"), "can't load SSL_CERT_FILE")


def test_a_specification_on_standard_input_that_is_not_utf_8_is_one_line(
    at_scripted: Heavylift,
) -> None:
    outcome = at_scripted("jobs", "submit", "x", "--spec", "-", stdin=b'{"a": "\xff"}')
    assert_refused(outcome, "--spec: standard input is not UTF-8")


@pytest.mark.parametrize(
    "url", ["http://h:99999", "http://h:65536", "http://h:-1", f"http://h/{BYTE}"]
)
def test_a_url_that_no_socket_takes_is_one_line(at_scripted: Heavylift, url: str) -> None:
    said = f"{URL}: {url!a} is not a valid server URL"
    assert_refused(at_scripted("jobs", "list", HEAVYLIFT_CLIENT_URL=url), said)


def test_the_option_is_named_whose_url_is_wrong(at_scripted: Heavylift) -> None:
    assert_refused(at_scripted("login", "--url", "http://127.0.0.1:99999"), "--url: 'http://127")


@pytest.mark.parametrize("key", ["é", "hl_a\nb", "hl_a\r", f"hl_{BYTE}", "hl_a b", "hl_a "])
def test_an_api_key_that_no_header_takes_is_one_line_without_it(
    at_scripted: Heavylift, scripted: Scripted, key: str
) -> None:
    outcome = at_scripted("jobs", "list", HEAVYLIFT_CLIENT_API_KEY=key)
    assert_refused(outcome, f"{KEY}: malformed API key")
    assert "hl_" not in outcome.err
    assert scripted.asked == []
