"""`heavylift` in this process, for what is quick, and as a process of its own, for what is real."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest

from app.cli import main
from app.core.config import PREFIX, Settings, load_settings
from app.embedded.stack import command


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`heavylift <arguments>`, called, with these variables and no other `HEAVYLIFT_*`."""

    def call(*arguments: str, **variables: str) -> Outcome:
        with monkeypatch.context() as patch:
            for name in list(os.environ):
                if name.startswith(PREFIX):
                    patch.delenv(name)
            for name, value in variables.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["heavylift", *arguments])
            # An earlier test may have set logging up; a process starts without.
            patch.setattr(logging.root, "handlers", [])
            load_settings.cache_clear()
            code = main()
        load_settings.cache_clear()
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


def clean_environment(**variables: str) -> dict[str, str]:
    inherited = {n: value for n, value in os.environ.items() if not n.startswith(PREFIX)}
    return {**inherited, **variables, "PYTHONUNBUFFERED": "1"}


def run_process(*arguments: str, **variables: str) -> Outcome:
    """`heavylift <arguments>` as a user runs it, to its end."""
    done = subprocess.run(
        command(*arguments),
        env=clean_environment(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def variables(settings: Settings) -> Mapping[str, str]:
    """Of this test worker's database, Redis and folder."""
    return {
        "HEAVYLIFT_DATABASE_URL": settings.database.url.get_secret_value(),
        "HEAVYLIFT_REDIS_URL": settings.redis.url.get_secret_value(),
        "HEAVYLIFT_STORAGE_URL": settings.storage.url,
        "HEAVYLIFT_API_PORT": "0",
    }


def is_one_line(text: str) -> bool:
    return text.startswith("heavylift: ") and text.count("\n") == 1
