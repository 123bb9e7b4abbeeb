"""`heavylift smoke`: what it says of an installation that fails it; test_stack has one that passes.

The scripted server is none of ours: it answers as told.
"""

import io
import json
from typing import Any
from uuid import UUID

import pytest
from PIL import Image
from sqlalchemy import Engine, text

from app.cli.smoke import SOURCE, WANTED, check, picture
from app.client import ClientError
from tests.integration.cli.client.conftest import Heavylift
from tests.integration.cli.client.scripted import Scripted, Step, document, problem, raw

JOB = "019a0000-0000-7000-8000-000000000001"
FILE = "019a0000-0000-7000-8000-000000000002"
NOW = "2026-11-22T10:00:00Z"


def file(content: bytes) -> dict[str, Any]:
    return {
        "id": FILE,
        "name": "smoke.png",
        "content_type": "image/png",
        "size": len(content),
        "sha256": "0" * 64,
        "created_at": NOW,
        "expires_at": NOW,
        "job_id": JOB,
    }


EVENT = {"job_id": JOB, "seq": 2, "attempt": 1, "progress": 1, "message": "", "error": None}


def stream(**event: object) -> Step:
    lines = f"event: job\ndata: {json.dumps({**EVENT, **event})}\n\n"
    return raw(200, lines.encode(), Content_Type="text/event-stream")


@pytest.fixture
def works(scripted: Scripted) -> Scripted:
    """Every step as it should be; a test spoils one."""
    made = picture(*WANTED)
    job = {**EVENT, "id": JOB, "kind": "image.transform", "priority": 0, "waiting": None}
    job |= {"state": "queued", "created_at": NOW, "started_at": None, "finished_at": None}
    scripted.when("POST /users", document(201, {"id": str(UUID(int=1)), "email": "e"}))
    scripted.when("POST /auth/login", document(200, {"access_token": "t", "expires_in": 900}))
    scripted.when("POST /files", document(201, file(b"")))
    scripted.when("POST /jobs/image.transform", document(202, job))
    scripted.when(f"GET /jobs/{JOB}/events", stream(state="succeeded"))
    scripted.when("GET /files", document(200, {"items": [file(made)], "next_cursor": None}))
    scripted.when(f"GET /files/{FILE}/content", raw(200, made))
    scripted.when("DELETE /users/me", raw(204, b""))
    return scripted


def test_each_step_is_a_line_with_its_milliseconds(works: Scripted, at_scripted: Heavylift) -> None:
    outcome = at_scripted("smoke")
    assert (outcome.code, outcome.err) == (0, "")
    lines = [line.rsplit(maxsplit=2) for line in outcome.out.splitlines()]
    assert [(name, unit) for name, _, unit in lines] == [
        ("register an account", "ms"),
        ("log in", "ms"),
        ("upload a picture", "ms"),
        ("submit image.transform", "ms"),
        ("follow its events", "ms"),
        ("fetch its result", "ms"),
        ("check the result", "ms"),
        ("delete the account", "ms"),
    ]
    assert all(milliseconds.isdecimal() for _, milliseconds, _ in lines)
    [registered] = works.requests("POST /users")
    account = json.loads(registered.body)
    assert account["email"].endswith("@example.com")
    [deleted] = works.requests("DELETE /users/me")
    assert json.loads(deleted.body) == {"password": account["password"]}
    assert deleted.headers["authorization"] == "Bearer t"


NO_ROOM = problem(503, "storage-away", "The store is away", Retry_After="60")
LOST = {"code": "worker-lost", "detail": "so it is"}
SMALLER = picture(16, 12)
CUT = picture(*WANTED)[:-1]


@pytest.mark.parametrize(
    ("operation", "step", "said"),
    [
        (
            "POST /auth/login",
            problem(401, "invalid-credentials", "Wrong"),
            "log in: Wrong: so it is",
        ),
        ("POST /files", NO_ROOM, "upload a picture: The store is away: so it is (request r-1)"),
        (
            "POST /jobs/image.transform",
            problem(404, "unknown-kind", "There is no such kind"),
            "submit image.transform: There is no such kind: so it is",
        ),
        (
            f"GET /jobs/{JOB}/events",
            stream(state="failed", error=LOST),
            "follow its events: the job failed: worker-lost: so it is",
        ),
        (
            f"GET /jobs/{JOB}/events",
            raw(200, b"", Content_Type="text/event-stream"),
            "follow its events: not within 2 s; no event has come",
        ),
        (
            f"GET /jobs/{JOB}/events",
            stream(state="running"),
            "follow its events: not within 2 s; the job is running",
        ),
        (
            "GET /files",
            document(200, {"items": [], "next_cursor": None}),
            "fetch its result: the job has made 0 files, and was to make one",
        ),
        (
            f"GET /files/{FILE}/content",
            raw(200, SMALLER + bytes(len(CUT) + 1 - len(SMALLER))),
            f"check the result: its {len(CUT) + 1} bytes are no PNG",
        ),
    ],
)
def test_a_step_that_fails_is_named_and_nothing_is_left(
    works: Scripted, at_scripted: Heavylift, operation: str, step: Step, said: str
) -> None:
    works.when(operation, step)
    outcome = at_scripted("smoke", "--timeout", 2)
    assert (outcome.code, outcome.err) == (1, f"smoke: {said}\n")
    assert len(works.requests("DELETE /users/me")) == 1
    assert "delete" not in outcome.out


def test_an_account_that_stays_is_named(works: Scripted, at_scripted: Heavylift) -> None:
    works.when("DELETE /users/me", problem(403, "forbidden", "Not for you"))
    outcome = at_scripted("smoke")
    assert (outcome.code, outcome.err) == (1, "smoke: delete the account: Not for you: so it is\n")
    works.when("POST /files", NO_ROOM)
    outcome = at_scripted("smoke")
    [_, registered] = works.requests("POST /users")
    email = json.loads(registered.body)["email"]
    assert outcome.err.endswith(f"(request r-1); the account {email} is left\n")


@pytest.mark.slow
def test_a_server_that_is_not_there_is_a_step_that_failed(at_scripted: Heavylift) -> None:
    outcome = at_scripted("smoke", "--url", "http://127.0.0.1:1")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("smoke: register an account: can't reach http://127.0.0.1:1: ")


@pytest.mark.parametrize("arguments", [("--url", "nowhere"), ("--timeout", "0")])
def test_bad_input_is_2(at_scripted: Heavylift, arguments: tuple[str, str]) -> None:
    outcome = at_scripted("smoke", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("heavylift: ")


@pytest.mark.slow
def test_without_workers_it_says_how_far_the_job_got(heavylift: Heavylift, engine: Engine) -> None:
    outcome = heavylift("smoke", "--timeout", 3)
    assert (outcome.code, outcome.err) == (
        1,
        "smoke: follow its events: not within 3 s; the job is queued\n",
    )
    with engine.begin() as connection:
        left = text("SELECT count(*) FROM users WHERE email LIKE 'smoke-%'")
        assert connection.execute(left).scalar_one() == 0


def test_the_picture_is_one() -> None:
    with Image.open(io.BytesIO(picture(*SOURCE))) as image:
        image.load()
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", SOURCE)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "its 0 bytes are no PNG"),
        (CUT, f"its {len(CUT)} bytes are no PNG"),
        (SMALLER, "it has 16 x 12 pixels, not 32 x 24"),
    ],
)
def test_what_is_not_wanted_is_no_result(content: bytes, said: str) -> None:
    with pytest.raises(ClientError, match=said):
        check(content)
