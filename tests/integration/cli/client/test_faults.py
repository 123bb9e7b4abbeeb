"""What goes wrong between a client and a server, and what becomes of it."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import anyio
import pytest

from app.client import Client, CredentialFile, SavedLogin, connection, downloading, following
from app.client.credentials import Credentials, Login
from tests.integration.cli.client.conftest import Heavylift
from tests.integration.cli.client.scripted import (
    Reply,
    Scripted,
    Step,
    cut,
    document,
    lost,
    problem,
    raw,
)
from tests.integration.cli.conftest import is_one_line

NOW = datetime.now(UTC).isoformat()
NOTHING = document(200, {"items": [], "next_cursor": None})
BUSY = problem(503, "unavailable", "A part of the service is away", Retry_After="0")
SUBMIT = "POST /jobs/test.nap"


def job(state: str, seq: int) -> dict[str, object]:
    return {
        "id": str(JOB),
        "kind": "test.nap",
        "state": state,
        "priority": 0,
        "attempt": 1,
        "progress": 0.5,
        "message": "",
        "seq": seq,
        "waiting": None,
        "error": None,
        "created_at": NOW,
        "started_at": None,
        "finished_at": None,
    }


JOB = uuid4()


# Answers that do not come, and refusals


def test_a_busy_server_is_asked_again(at_scripted: Heavylift, scripted: Scripted) -> None:
    scripted.when("GET /jobs", BUSY, BUSY, NOTHING)
    assert at_scripted("jobs", "list").code == 0
    assert len(scripted.asked) == 3


def test_but_not_for_ever_nor_after_an_hour(at_scripted: Heavylift, scripted: Scripted) -> None:
    scripted.when("GET /jobs", BUSY)
    outcome = at_scripted("jobs", "list")
    assert outcome.code == 2
    assert outcome.err == ("heavylift: A part of the service is away: so it is (request r-1)\n")
    assert len(scripted.asked) == 4
    scripted.asked.clear()
    scripted.when("GET /jobs", problem(503, "unavailable", "Away", Retry_After="3600"))
    assert at_scripted("jobs", "list").code == 2
    assert len(scripted.asked) == 1


def test_a_submission_whose_answer_is_lost_makes_one_job(
    at_scripted: Heavylift, scripted: Scripted
) -> None:
    scripted.when(SUBMIT, lost, document(202, job("queued", 1), Idempotent_Replayed="true"))
    outcome = at_scripted("jobs", "submit", "test.nap")
    assert (outcome.code, outcome.out) == (0, f"{JOB}\n")
    first, second = scripted.requests(SUBMIT)
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.body == second.body


def test_a_submission_that_never_gets_an_answer_says_how_to_repeat_it(
    at_scripted: Heavylift, scripted: Scripted
) -> None:
    scripted.when(SUBMIT, lost)
    outcome = at_scripted("jobs", "submit", "test.nap")
    assert (outcome.code, outcome.out) == (2, "")
    key = scripted.asked[0].headers["idempotency-key"]
    assert is_one_line(outcome.err)
    assert f"--idempotency-key {key} makes no second job" in outcome.err


def test_an_upload_whose_answer_is_lost_is_not_repeated(
    at_scripted: Heavylift, scripted: Scripted, folder: Path
) -> None:
    (folder / "a.txt").write_text("abc")
    scripted.when("POST /files", lost)
    for source, stdin in (("a.txt", b""), ("-", b"abc")):
        scripted.asked.clear()
        outcome = at_scripted("files", "put", source, stdin=stdin)
        assert outcome.code == 2
        assert is_one_line(outcome.err)
        assert [asked.body for asked in scripted.asked] == [b"abc"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (raw(502, b"<html>Bad Gateway</html>"), "GET /api/v1/jobs was answered with 502"),
        (raw(200, b"<html>A hotel's network</html>"), "does not answer as Heavylift does"),
        (raw(301, b"", Location="https://there.example"), "the server is at https://there.example"),
        (problem(429, "too-many-requests", "Slower, please"), "Slower, please: so it is"),
        (lost, "can't reach http://127.0.0.1:"),
    ],
)
def test_whatever_is_answered_is_one_line(
    at_scripted: Heavylift, scripted: Scripted, answer: Step, said: str
) -> None:
    scripted.when("GET /jobs", answer)
    outcome = at_scripted("jobs", "list")
    assert (outcome.code, outcome.out) == (2, "")
    assert is_one_line(outcome.err)
    assert said in outcome.err


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1", "can't reach http://127.0.0.1:1: Connection refused"),
        ("ftp://127.0.0.1", "'ftp://127.0.0.1' is not a valid server URL"),
        ("http://a:b@127.0.0.1", "is not a valid server URL"),
        ("nonsense", "'nonsense' is not a valid server URL"),
    ],
)
def test_no_server_is_one_line(at_scripted: Heavylift, url: str, said: str) -> None:
    outcome = at_scripted("jobs", "list", HEAVYLIFT_CLIENT_URL=url)
    assert outcome.code == 2
    assert is_one_line(outcome.err)
    assert said in outcome.err


def test_a_server_without_tls_is_not_asked_twice(
    at_scripted: Heavylift, scripted: Scripted
) -> None:
    url = scripted.url.replace("http:", "https:")
    outcome = at_scripted("jobs", "list", HEAVYLIFT_CLIENT_URL=url)
    assert outcome.code == 2
    assert is_one_line(outcome.err)
    assert f"{url} can't be spoken to over TLS" in outcome.err


# Files

CONTENT = "".join(f"{number:04} " for number in range(200)).encode()
DIGEST = hashlib.sha256(CONTENT).hexdigest()
FILE = uuid4()
DOWNLOAD = f"GET /files/{FILE}/content"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "WAITS", (0.01, 0.01, 0.01, None))
    monkeypatch.setattr(downloading, "WAIT", 0.01)
    monkeypatch.setattr(following, "POLL", 0.01)


@pytest.fixture
def stored(scripted: Scripted) -> None:
    describe(scripted, "a.bin")


def describe(scripted: Scripted, name: str, *, size: int = len(CONTENT)) -> None:
    file = {
        "id": str(FILE),
        "name": name,
        "content_type": "application/octet-stream",
        "size": size,
        "sha256": DIGEST,
        "created_at": NOW,
        "expires_at": NOW,
        "job_id": None,
    }
    scripted.when(f"GET /files/{FILE}", document(200, file))


def rest(reply: Reply) -> None:
    """The range that was asked for."""
    start = int(reply.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    assert reply.headers["If-Range"] == f'"{DIGEST}"'
    part = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
    reply.answer(206, CONTENT[start:], Content_Range=part)


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("then", [rest, raw(200, CONTENT)], ids=["a range", "all of it"])
@pytest.mark.parametrize("output", ["a.bin", "-"])
def test_a_transfer_that_breaks_off_goes_on_where_it_was(
    at_scripted: Heavylift, scripted: Scripted, folder: Path, then: Step, output: str
) -> None:
    scripted.when(DOWNLOAD, cut(200, CONTENT[:100], len(CONTENT)), then)
    outcome = at_scripted("files", "get", FILE, "-o", output)
    assert outcome.code == 0, outcome.err
    assert [asked.headers.get("range") for asked in scripted.requests(DOWNLOAD)] == [
        None,
        "bytes=100-",
    ]
    if output != "-":
        assert (folder / output).read_bytes() == CONTENT


@pytest.mark.usefixtures("stored")
def test_a_later_command_goes_on_where_an_earlier_one_ended(
    at_scripted: Heavylift, scripted: Scripted, folder: Path
) -> None:
    scripted.when(DOWNLOAD, cut(200, CONTENT[:100], len(CONTENT)), lost)
    outcome = at_scripted("files", "get", FILE)
    assert outcome.code == 2
    assert is_one_line(outcome.err)
    assert not (folder / "a.bin").exists()
    scripted.asked.clear()
    scripted.when(DOWNLOAD, rest)
    assert at_scripted("files", "get", FILE).code == 0
    assert scripted.requests(DOWNLOAD)[0].headers["range"] == "bytes=100-"
    assert (folder / "a.bin").read_bytes() == CONTENT
    assert [path.name for path in folder.iterdir()] == ["a.bin"]


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (raw(200, CONTENT[::-1]), "its SHA-256 differs"),
        (raw(200, CONTENT * 2), "more came than the 1000 bytes"),
        (raw(200, b""), "ended 1000 bytes too early"),
    ],
)
def test_another_content_is_not_taken_for_the_file(
    at_scripted: Heavylift, scripted: Scripted, folder: Path, answer: Step, said: str
) -> None:
    scripted.when(DOWNLOAD, answer)
    outcome = at_scripted("files", "get", FILE)
    assert outcome.code == 2
    assert is_one_line(outcome.err)
    assert said in outcome.err
    assert not (folder / "a.bin").exists()


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "..", "", "a\x1b[2Jb", "a\nb"])
def test_a_name_that_leads_elsewhere_is_refused(
    at_scripted: Heavylift, scripted: Scripted, folder: Path, name: str
) -> None:
    describe(scripted, name)
    scripted.when(DOWNLOAD, raw(200, CONTENT))
    (folder / "below").mkdir()
    for output in ([], ["-o", "below"]):
        outcome = at_scripted("files", "get", FILE, *output)
        assert outcome.code == 2
        assert is_one_line(outcome.err)
        assert "give a name with --output" in outcome.err
        assert "\x1b" not in outcome.err
    assert scripted.requests(DOWNLOAD) == []
    assert [path.name for path in folder.parent.rglob("*evil*")] == []


# Events


def stream(*events: tuple[int, str]) -> Step:
    lines = b""
    for seq, state in events:
        event = {
            "job_id": str(JOB),
            "seq": seq,
            "state": state,
            "attempt": 1,
            "progress": 0.5,
            "message": "",
            "error": None,
        }
        lines += f"event: job\nid: {seq}\ndata: {json.dumps(event)}\n\n".encode()
    return raw(200, lines, Content_Type="text/event-stream")


EVENTS = f"GET /jobs/{JOB}/events"


def seen(out: str) -> list[tuple[int, str]]:
    events = [json.loads(line) for line in out.splitlines()]
    return [(event["seq"], event["state"]) for event in events]


def test_a_stream_that_breaks_off_is_taken_up_again(
    at_scripted: Heavylift, scripted: Scripted
) -> None:
    scripted.when(f"GET /jobs/{JOB}", document(200, job("queued", 1)))
    scripted.when(
        EVENTS,
        stream((1, "queued"), (3, "running")),
        lost,
        BUSY,
        cut(200, b": ping\n\n", 1000, Content_Type="text/event-stream"),
        # Told twice, shown once.
        stream((3, "running"), (7, "succeeded")),
    )
    outcome = at_scripted("jobs", "watch", JOB, "--json")
    assert outcome.code == 0, outcome.err
    assert seen(outcome.out) == [(1, "queued"), (3, "running"), (7, "succeeded")]
    ids = [asked.headers["last-event-id"] for asked in scripted.requests(EVENTS)]
    assert ids == ["0", "3", "3", "3", "3"]


def test_where_no_stream_is_to_be_had_the_job_is_asked_after(
    at_scripted: Heavylift, scripted: Scripted
) -> None:
    states = [job("queued", 1), job("queued", 1), job("running", 2), job("succeeded", 5)]
    scripted.when(f"GET /jobs/{JOB}", *(document(200, state) for state in states))
    scripted.when(EVENTS, raw(200, b"<html>", Content_Type="text/html"))
    outcome = at_scripted("jobs", "watch", JOB, "--json")
    assert outcome.code == 0, outcome.err
    assert seen(outcome.out) == [(1, "queued"), (2, "running"), (5, "succeeded")]
    assert len(scripted.requests(EVENTS)) == following.SILENT_STREAMS


def test_a_server_that_stays_away_is_given_up(
    at_scripted: Heavylift, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "PATIENCE", 0)
    scripted.when(f"GET /jobs/{JOB}", document(200, job("queued", 1)))
    scripted.when(EVENTS, stream((1, "queued")), problem(500, "internal-error", "Broken"))
    outcome = at_scripted("jobs", "watch", JOB)
    assert outcome.code == 2
    assert outcome.err.splitlines() == [
        "test.nap queued",
        "heavylift: Broken: so it is (request r-1)",
    ]


# Logins that expire


def a_login(refresh_token: str | None, *, expires_in: int) -> Login:
    return Login(
        email="ada@example.com",
        access_token="access-0",
        expires_at=datetime.now(UTC) + timedelta(seconds=expires_in),
        refresh_token=refresh_token,
    )


@pytest.fixture
def saved(scripted: Scripted, credentials: Path) -> CredentialFile:
    return CredentialFile(credentials)


def save(file: CredentialFile, url: str, login: Login) -> None:
    file.path.parent.mkdir(parents=True, mode=0o700)
    file.write(Credentials(current=url, logins={url: login}))


def issue(reply: Reply) -> None:
    """A successor for each refresh token, counted up; an access token that goes with it."""
    used = json.loads(reply.script.asked[-1].body)["refresh_token"]
    number = int(used.rpartition("-")[2]) + 1
    content = {
        "access_token": f"access-{number}",
        "token_type": "bearer",
        "expires_in": 3600,
        "refresh_token": f"refresh-{number}",
        "refresh_expires_in": 86400,
    }
    document(200, content)(reply)


def only_with(token: str) -> Step:
    def step(reply: Reply) -> None:
        held = reply.headers["Authorization"] == f"Bearer {token}"
        (NOTHING if held else problem(401, "unauthorized", "A valid access token is needed"))(reply)

    return step


REFRESH = "POST /auth/refresh"


@pytest.mark.anyio
@pytest.mark.parametrize("expires_in", [-1, 3600], ids=["by its time", "by the server's word"])
async def test_an_expired_login_is_refreshed_once_whoever_needs_it(
    scripted: Scripted, saved: CredentialFile, expires_in: int
) -> None:
    save(saved, scripted.url, a_login("refresh-0", expires_in=expires_in))
    scripted.when(REFRESH, issue)
    scripted.when("GET /jobs", only_with("access-1"))

    async def command() -> None:
        # A file of its own, as another process has.
        login = SavedLogin(CredentialFile(saved.path), scripted.url)
        async with Client(scripted.url, login) as client:
            await client.jobs()

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(command)
    assert len(scripted.requests(REFRESH)) == 1
    login = saved.read().logins[scripted.url]
    assert (login.access_token, login.refresh_token) == ("access-1", "refresh-1")


def test_a_login_that_can_not_be_refreshed_says_what_to_do(
    at_scripted: Heavylift, scripted: Scripted, saved: CredentialFile
) -> None:
    refused = problem(401, "invalid-refresh-token", "It is no more")
    scripted.when(REFRESH, refused)
    scripted.when("GET /jobs", only_with("access-1"))
    save(saved, scripted.url, a_login("refresh-0", expires_in=-1))
    for login in (saved.read().logins[scripted.url], a_login(None, expires_in=3600)):
        saved.write(Credentials(logins={scripted.url: login}))
        outcome = at_scripted("jobs", "list", HEAVYLIFT_CLIENT_API_KEY="")
        assert outcome.code == 2
        assert outcome.err == (
            f"heavylift: the login at {scripted.url} has expired: run `heavylift login`\n"
        )


def test_logging_out_ends_the_login_there_too(
    at_scripted: Heavylift, scripted: Scripted, saved: CredentialFile
) -> None:
    save(saved, scripted.url, a_login("refresh-0", expires_in=3600))
    scripted.when("POST /auth/logout", raw(204, b""))
    outcome = at_scripted("logout", "--json")
    assert json.loads(outcome.out) == {"url": scripted.url, "revoked": True}
    assert json.loads(scripted.asked[0].body) == {"refresh_token": "refresh-0"}
    assert saved.read().logins == {}
    saved.write(Credentials(logins={scripted.url: a_login("refresh-0", expires_in=1)}))
    scripted.when("POST /auth/logout", problem(500, "internal-error", "Broken"))
    outcome = at_scripted("logout")
    assert outcome.code == 0
    assert outcome.err.startswith("forgotten here, but not there: Broken")
    assert saved.read().logins == {}
