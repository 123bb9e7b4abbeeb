"""`heavylift jobs`, against the real API."""

import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.cli import listing
from app.client import ApiKey, Bearer, Client, Submission
from app.embedded.stack import command
from tests.integration.cli.client.conftest import EMAIL, PASSWORD, Hand, Heavylift
from tests.integration.cli.conftest import Outcome, clean_environment, is_one_line

# Against a real API, a process.
pytestmark = pytest.mark.slow

NAP = ("jobs", "submit", "test.nap")
SPEC = '{"seconds": 1.5}'


def read(outcome: Outcome) -> Any:
    """The one document on standard output."""
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def submitted(heavylift: Heavylift, *more: str) -> UUID:
    return UUID(read(heavylift(*NAP, "--spec", SPEC, "--json", *more))["id"])


def test_kinds(ada: Heavylift) -> None:
    outcome = ada("jobs", "kinds")
    assert outcome.code == 0
    assert "image.transform" in outcome.out
    assert "Sleep, and look up often." in outcome.out
    kinds = read(ada("jobs", "kinds", "--json"))["items"]
    # What the client has no use for is shown all the same.
    assert {"name", "pool", "slots", "timeout", "max_tries"} <= kinds[0].keys()
    schema = read(ada("jobs", "kinds", "test.nap"))
    assert schema["required"] == ["seconds"]
    outcome = ada("jobs", "kinds", "no.such")
    assert outcome.code == 2
    assert is_one_line(outcome.err)
    assert "There is no such job kind" in outcome.err


def test_prints_the_id_alone(ada: Heavylift) -> None:
    outcome = ada(*NAP, "--spec", SPEC)
    assert outcome.code == 0
    [listed] = read(ada("jobs", "list", "--json"))["items"]
    assert outcome.out == f"{listed['id']}\n"
    assert outcome.err == "test.nap is queued\n"


def test_a_specification_comes_from_anywhere(ada: Heavylift, folder: Path) -> None:
    (folder / "spec.json").write_text(SPEC)
    for given, stdin in ((SPEC, b""), ("@spec.json", b""), ("-", SPEC.encode())):
        assert ada(*NAP, "--spec", given, stdin=stdin).code == 0
    assert ada(*NAP, "--set", "seconds=1.5", "--set", "label=5x").code == 0
    assert ada(*NAP, "--spec", SPEC, "--set", 'label="5"').code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--spec", "{"], "the specification is no JSON object"),
        (["--spec", "[]"], "the specification is no JSON object"),
        (["--spec", "@none.json"], "can't read none.json: No such file or directory"),
        (["--set", "seconds"], "--set seconds: write it as field=value"),
        (["--set", "seconds.x=1", "--spec", SPEC], "there is no x in seconds"),
        (["--set", "label=5"], "body.spec.seconds: Field required"),
        (["--spec", SPEC, "--file", "label=none.png"], "can't read none.png"),
        (
            ["--spec", SPEC, "--priority", "200"],
            "less than or equal to 100 (see `heavylift jobs submit --help`)",
        ),
        (["--spec", SPEC, "--not-before", "soon"], "--not-before soon: write it as"),
    ],
)
def test_what_is_wrong_with_a_submission_is_one_line(
    ada: Heavylift, arguments: list[str], said: str
) -> None:
    outcome = ada(*NAP, *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert is_one_line(outcome.err)
    assert said in outcome.err
    assert read(ada("jobs", "list", "--json"))["items"] == []


def test_a_file_is_stored_and_its_id_put_in(ada: Heavylift, folder: Path) -> None:
    (folder / "page.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    outcome = ada("jobs", "submit", "text.extract", "--file", "source=page.png", "--json")
    job = read(outcome)
    assert job["kind"] == "text.extract"
    [file] = read(ada("files", "list", "--json"))["items"]
    assert (file["name"], file["content_type"]) == ("page.png", "image/png")
    # The job needs it.
    outcome = ada("files", "delete", file["id"])
    assert outcome.code == 2
    assert "An unfinished job needs the file" in outcome.err


def test_the_same_key_is_the_same_job(ada: Heavylift) -> None:
    first = ada(*NAP, "--spec", SPEC, "--idempotency-key", "k")
    again = ada(*NAP, "--spec", SPEC, "--idempotency-key", "k")
    assert again.out == first.out
    assert again.err == "it was submitted before: the same job\n"
    other = ada(*NAP, "--spec", '{"seconds": 2}', "--idempotency-key", "k")
    assert other.code == 2
    assert "The key stands for another request" in other.err


def test_priority_and_time(ada: Heavylift) -> None:
    job = read(
        ada(*NAP, "--spec", SPEC, "--json", "--priority", "-5", "--not-before", "2100-01-01T00:00Z")
    )
    assert (job["priority"], job["state"]) == (-5, "scheduled")
    assert job["not_before"] == "2100-01-01T00:00:00Z"


def test_lists_as_many_as_asked_for_over_any_number_of_pages(
    ada: Heavylift, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PAGE", 2)
    ids = [str(submitted(ada)) for _ in range(5)][::-1]
    listed = read(ada("jobs", "list", "--json", "--limit", "3"))
    assert [job["id"] for job in listed["items"]] == ids[:3]
    rest = read(ada("jobs", "list", "--json", "--cursor", listed["next_cursor"]))
    assert ([job["id"] for job in rest["items"]], rest["next_cursor"]) == (ids[3:], None)
    everything = ada("jobs", "list", "--all")
    assert [line.split()[0] for line in everything.out.splitlines()] == ["id", *ids]
    assert everything.err == ""
    assert "--all" in ada("jobs", "list", "--limit", "1").err
    hand.claim(UUID(ids[0]))
    running = read(ada("jobs", "list", "--state", "running", "--json"))["items"]
    assert [job["id"] for job in running] == ids[:1]
    assert read(ada("jobs", "list", "--kind", "text.extract", "--json"))["items"] == []
    assert ada("jobs", "list", "--state", "lost").code == 2


def test_a_servers_words_do_not_steer_the_terminal(ada: Heavylift, hand: Hand) -> None:
    job = submitted(ada)
    hand.claim(job)
    hand.progress(job, 0.5)
    outcome = ada("jobs", "list")
    assert " 50% " in outcome.out
    assert "half-way \ufffd[31m" in outcome.out
    assert "\x1b" not in outcome.out


def test_cancels(ada: Heavylift, hand: Hand) -> None:
    waiting, running = submitted(ada), submitted(ada)
    outcome = ada("jobs", "cancel", waiting)
    assert (outcome.code, outcome.err) == (0, "test.nap cancelled\n")
    hand.claim(running)
    outcome = ada("jobs", "cancel", running)
    assert (outcome.code, outcome.err) == (0, "test.nap is asked to stop\n")
    assert read(ada("jobs", "cancel", running, "--json"))["cancel_requested"] is True
    assert ada("jobs", "cancel", uuid4()).code == 2
    assert ada("jobs", "cancel", "x").code == 2


def test_a_result_and_its_files(ada: Heavylift, hand: Hand, folder: Path) -> None:
    job = submitted(ada)
    outcome = ada("jobs", "result", job)
    assert (outcome.code, outcome.out) == (2, "")
    assert "The job has no result yet" in outcome.err
    file = UUID(ada("files", "put", "-", "--name", "out.txt", stdin=b"made").out.strip())
    hand.claim(job)
    hand.adopt(file, job)
    hand.succeed(job)
    result = read(ada("jobs", "result", job, "--json"))
    assert result == {
        "job_id": str(job),
        "kind": "test.nap",
        "output": {"attempt": 1, "pid": 7},
    }
    fetched = ada("jobs", "result", job, "--output", "made/here")
    assert read(fetched) == result
    assert fetched.err == "fetched made/here/out.txt\n"
    assert (folder / "made" / "here" / "out.txt").read_bytes() == b"made"
    assert ada("jobs", "result", job, "--output", "made/here").code == 0


def test_two_files_of_one_name_are_not_written_over_each_other(
    ada: Heavylift, hand: Hand, folder: Path
) -> None:
    job = submitted(ada)
    hand.claim(job)
    for content in (b"one", b"two"):
        file = ada("files", "put", "-", "--name", "out.txt", stdin=content)
        hand.adopt(UUID(file.out.strip()), job)
    hand.succeed(job)
    outcome = ada("jobs", "result", job, "-o", "made")
    assert (outcome.code, outcome.out) == (2, "")
    assert "several of its files are called out.txt" in outcome.err
    assert list(folder.rglob("*.txt")) == []


def test_a_job_that_failed_ends_commands_with_1(ada: Heavylift, hand: Hand) -> None:
    job = submitted(ada)
    hand.claim(job)
    hand.fail(job)
    outcome = ada("jobs", "watch", job)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == "test.nap failed: no-luck: None.\n"
    outcome = ada("jobs", "result", job)
    assert (outcome.code, outcome.out) == (1, "")
    assert "The job did not succeed" in outcome.err
    again = ada(*NAP, "--spec", SPEC, "--idempotency-key", "k", "--json")
    assert ada("jobs", "cancel", read(again)["id"]).code == 0
    waited = ada(*NAP, "--spec", SPEC, "--idempotency-key", "k", "--wait", "--json")
    assert (waited.code, json.loads(waited.out)["state"]) == (1, "cancelled")


def test_watching_what_has_succeeded(ada: Heavylift, hand: Hand) -> None:
    job = submitted(ada)
    hand.claim(job)
    hand.succeed(job)
    outcome = ada("jobs", "watch", job, "--json")
    assert outcome.code == 0
    [line] = outcome.out.splitlines()
    assert json.loads(line)["state"] == "succeeded"
    assert ada("jobs", "watch", uuid4()).code == 2


@pytest.fixture
async def client(ada: Heavylift, url: str) -> AsyncIterator[Client]:
    async with Client(url) as client:
        token = await client.log_in(EMAIL, PASSWORD)
        client.authenticate(Bearer(token.access_token))
        yield client


@pytest.mark.anyio
async def test_follows_a_job_from_its_first_state_to_its_last(client: Client, hand: Hand) -> None:
    accepted = await client.submit("test.nap", Submission(spec={"seconds": 0}))
    assert not accepted.replayed
    job = accepted.job.id
    async with aclosing(client.follow(job)) as events:
        assert (await anext(events)).state == "queued"
        hand.claim(job)
        assert (await anext(events)).state == "running"
        hand.progress(job, 0.5)
        assert (await anext(events)).progress == 0.5
        hand.succeed(job)
        last = await anext(events)
        assert (last.state, last.ended) == ("succeeded", True)
        assert [event async for event in events] == []
    ended = await client.job(job)
    assert ended.event().seq == last.seq
    assert ended.times() is not None


@pytest.mark.parametrize("in_terminal", [True, False])
def test_ctrl_c_leaves_the_job_running_and_says_so(
    ada: Heavylift, hand: Hand, url: str, in_terminal: bool
) -> None:
    job = submitted(ada)
    hand.claim(job)
    hand.progress(job, 0.5)
    terminal, end = os.openpty() if in_terminal else os.pipe()
    process = subprocess.Popen(
        command("jobs", "watch", str(job)),
        env=clean_environment(HEAVYLIFT_CLIENT_URL=url, TERM="xterm", COLUMNS="100"),
        stderr=end,
    )
    os.close(end)
    seen = ""
    while ("50%" if in_terminal else "running") not in seen:
        seen += os.read(terminal, 1024).decode()
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    while f"`heavylift jobs watch {job}` follows it again" not in seen:
        seen += os.read(terminal, 1024).decode()
    os.close(terminal)
    assert ("\x1b[" in seen) == in_terminal
    assert "Traceback" not in seen
    hand.succeed(job)
    assert ada("jobs", "watch", job).code == 0


def test_an_api_key_that_is_none_is_one_line(heavylift: Heavylift, url: str) -> None:
    outcome = heavylift("jobs", "list", HEAVYLIFT_CLIENT_API_KEY="nonesuch")
    assert outcome.code == 2
    assert outcome.err == f"heavylift: {url} does not take the API key\n"
    assert ApiKey("nonesuch").mend(url) in outcome.err
