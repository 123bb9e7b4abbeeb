"""The client's commands, called, against `heavylift api`, a process; jobs are worked on by hand."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import redis
from sqlalchemy import Engine, text

from app.core import channels
from app.core.config import Settings
from app.core.environment import CLIENT_URL
from app.models.job import JobState
from app.schemas.job import JobEvent
from app.services import ledger
from tests.integration.cli.client.scripted import Scripted
from tests.integration.cli.conftest import Outcome, Run
from tests.ledger_view import KEEP
from tests.processes import parts, until

EMAIL = "ada@example.com"
PASSWORD = "correct horse battery"


@pytest.fixture(scope="session")
def url(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of an API that serves the built-in kinds and the tests' own."""
    with parts(settings, tmp_path_factory.mktemp("api")) as running:
        api = running.start("api", HEAVYLIFT_API_PORT="0", HEAVYLIFT_FILES_MAX_BYTES="1000000")
        found = until(
            lambda: re.search(r"\bport\W+(\d+)", api.output), seconds=60, what="the API listens"
        )
        yield f"http://127.0.0.1:{found[1]}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands are run; the user's configuration is beside it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


@pytest.fixture
def credentials(folder: Path) -> Path:
    """The file, once there is one."""
    return folder.parent / "config" / "heavylift" / "credentials.json"


@contextmanager
def standard_input(content: bytes) -> Iterator[None]:
    """A pipe that holds it all, and has ended."""
    reading, writing = os.pipe()
    assert len(content) <= 65536
    os.write(writing, content)
    os.close(writing)
    before = sys.stdin
    with os.fdopen(reading) as pipe:
        sys.stdin = pipe
        try:
            yield
        finally:
            sys.stdin = before


Heavylift = Callable[..., Outcome]


@pytest.fixture
def heavylift(run: Run, url: str, clean: None, folder: Path) -> Heavylift:
    """`heavylift <arguments>`, not logged in; `stdin` is what comes on standard input."""

    def call(*arguments: object, stdin: bytes = b"", **variables: str) -> Outcome:
        with standard_input(stdin):
            return run(*map(str, arguments), **{CLIENT_URL: url, **variables})

    return call


@pytest.fixture
def ada(heavylift: Heavylift) -> Heavylift:
    """`heavylift <arguments>`, logged in as an account of its own."""
    arguments = ("login", "--register", "--email", EMAIL, "--password-stdin")
    outcome = heavylift(*arguments, stdin=PASSWORD.encode())
    assert outcome.code == 0, outcome.err
    return heavylift


class Hand:
    """Works on jobs as a worker does: the ledger first, then a message to Redis."""

    def __init__(self, engine: Engine, client: "redis.Redis") -> None:
        self._engine = engine
        self._redis = client

    def _announce(self, job_id: UUID, seq: int, state: JobState, progress: float) -> None:
        event = JobEvent(job_id=job_id, seq=seq, state=state, attempt=1, progress=progress)
        self._redis.publish(channels.job(job_id), event.model_dump_json())

    def claim(self, job_id: UUID) -> None:
        with self._engine.begin() as connection:
            claim = ledger.claim(
                connection, job_id, worker_id=uuid4(), kinds=["test.nap"], version="1"
            )
        assert claim is not None
        self._announce(job_id, claim.seq, JobState.RUNNING, 0)

    def progress(self, job_id: UUID, fraction: float) -> None:
        with self._engine.begin() as connection:
            written = ledger.progress(
                connection, job_id, 1, fraction=fraction, message="half-way \x1b[31m"
            )
        assert written is not None
        self._announce(job_id, written[0], JobState.RUNNING, fraction)

    def succeed(self, job_id: UUID, result: str = '{"attempt": 1, "pid": 7}') -> None:
        with self._engine.begin() as connection:
            change = ledger.succeed(connection, job_id, 1, result=result, keep=KEEP)
        assert change is not None
        self._announce(job_id, change.seq, JobState.SUCCEEDED, 1)

    def fail(self, job_id: UUID) -> None:
        with self._engine.begin() as connection:
            change = ledger.fail(
                connection, job_id, 1, code="no-luck", detail="None.", retryable=False, keep=KEEP
            )
        assert change is not None
        self._announce(job_id, change.seq, JobState.FAILED, 0)

    def adopt(self, file_id: UUID, job_id: UUID) -> None:
        """Make an uploaded file one of the job's outputs."""
        with self._engine.begin() as connection:
            connection.execute(
                text("UPDATE files SET job_id = :job WHERE id = :file"),
                {"job": job_id, "file": file_id},
            )


@pytest.fixture
def hand(engine: Engine, settings: Settings) -> Iterator[Hand]:
    with redis.Redis.from_url(settings.redis.url.get_secret_value()) as client:
        yield Hand(engine, client)


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    with Scripted() as server:
        yield server


@pytest.fixture
def at_scripted(run: Run, scripted: Scripted, folder: Path) -> Heavylift:
    """`heavylift <arguments>` at the scripted server, with an API key."""

    def call(*arguments: object, stdin: bytes = b"", **variables: str) -> Outcome:
        default = {CLIENT_URL: scripted.url, "HEAVYLIFT_CLIENT_API_KEY": "key-1"}
        with standard_input(stdin):
            return run(*map(str, arguments), **{**default, **variables})

    return call
