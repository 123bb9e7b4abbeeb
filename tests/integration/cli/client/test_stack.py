"""The client as a person has it: a process, a whole stack, real jobs."""

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from app.embedded.stack import Stack, command
from demo import inputs
from tests.integration.cli.conftest import Outcome, clean_environment
from tests.processes import KINDS
from tests.servers import scratch_folder

pytestmark = pytest.mark.slow


class Person:
    def __init__(self, url: str, home: Path) -> None:
        self.url = url
        self._home = home
        self._environment = clean_environment(
            HEAVYLIFT_CLIENT_URL=url, XDG_CONFIG_HOME=str(home / "config")
        )

    def start(self, *arguments: object) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            command(*map(str, arguments)),
            env=self._environment,
            cwd=self._home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: object, stdin: str = "") -> Outcome:
        with self.start(*arguments) as process:
            out, err = process.communicate(stdin)
        return Outcome(process.returncode, out, err)


@pytest.fixture(scope="module")
def ada() -> Iterator[Person]:
    path = os.environ.get("PYTHONPATH")
    # Inherited by the stack's parts: they have the tests' kinds, too.
    os.environ["PYTHONPATH"] = str(KINDS)
    try:
        with scratch_folder() as home, Stack(home / "s", concurrency=1, durable=False) as stack:
            assert stack.wait_ready()
            person = Person(stack.base_url, home)
            login = ("login", "--register", "--email", "ada@example.com", "--password-stdin")
            assert person(*login, stdin="correct horse battery").code == 0
            yield person
    finally:
        if path is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = path


@pytest.fixture
def here(ada: Person) -> Path:
    return ada._home


def test_a_photograph_becomes_a_thumbnail(ada: Person, here: Path) -> None:
    photograph = inputs.photograph().path
    submitted = ada(
        *("jobs", "submit", "image.transform", "--watch", "--file", f"source={photograph}"),
        *("--spec", "-", "--set", "renditions.0.width=320"),
        stdin='{"renditions": [{"name": "thumbnail", "format": "webp"}]}',
    )
    assert submitted.code == 0, submitted.err
    assert submitted.err.endswith("image.transform succeeded\n")
    result = ada("jobs", "result", submitted.out.strip(), "-o", "made")
    assert result.code == 0, result.err
    [rendition] = json.loads(result.out)["output"]["renditions"]
    assert (rendition["width"], rendition["height"]) == (320, 320)
    with Image.open(here / "made" / "thumbnail.webp") as thumbnail:
        assert (thumbnail.format, thumbnail.size) == ("WEBP", (320, 320))


def test_a_job_that_fails_is_1_and_says_why(ada: Person, here: Path) -> None:
    (here / "text.png").write_text("no picture")
    failed = ada("jobs", "submit", "text.extract", "--file", "source=text.png", "--wait", "--json")
    assert failed.code == 1
    assert json.loads(failed.out)["error"]["code"] == "image-unsupported"
    assert "text.extract failed: image-unsupported: " in failed.err


def test_a_large_file_goes_there_and_back(ada: Person, here: Path) -> None:
    table = inputs.flights(here).path
    stored = ada("files", "put", table)
    assert stored.code == 0, stored.err
    fetched = ada("files", "get", stored.out.strip(), "-o", "back.csv")
    assert fetched.code == 0, fetched.err
    with table.open("rb") as one, (here / "back.csv").open("rb") as other:
        digests = {hashlib.file_digest(file, "sha256").digest() for file in (one, other)}
    assert len(digests) == 1


def test_ctrl_c_while_watching_then_cancel(ada: Person) -> None:
    submit = ("jobs", "submit", "test.nap", "--set", "seconds=600", "--watch")
    with ada.start(*submit) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        job = watching.stdout.readline().strip()
        while "running" not in watching.stderr.readline():
            pass
        watching.send_signal(signal.SIGINT)
        assert watching.wait() == 130
        assert f"`heavylift jobs watch {job}` follows it again" in watching.stderr.read()
    listed = ada("jobs", "list", "--state", "running", "--json")
    assert [one["id"] for one in json.loads(listed.out)["items"]] == [job]
    with ada.start("jobs", "watch", job, "--json") as watching:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["state"] == "running"
        assert ada("jobs", "cancel", job).code == 0
        *_, last = watching.stdout
        assert json.loads(last)["state"] == "cancelled"
        assert watching.wait() == 1


def test_the_smoke_test_passes_and_leaves_nothing(
    ada: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    somebody = Person(ada.url, tmp_path)
    tried = somebody("smoke")
    assert (tried.code, tried.err) == (0, "")
    assert len(tried.out.splitlines()) == 8
    assert list(tmp_path.iterdir()) == []
