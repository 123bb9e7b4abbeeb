"""What holds of all of the client's commands."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer

from app.cli.files import files
from app.cli.jobs import jobs
from app.cli.login import login, logout
from app.client import answers
from app.core.config import Settings
from app.main import create_app
from app.models.job import JobState
from tests.integration.cli.conftest import clean_environment

READ: Mapping[type[answers.Answer], str] = {
    answers.Event: "JobEvent",
    answers.Failure: "JobFailure",
    answers.FieldError: "FieldError",
    answers.File: "FileResponse",
    answers.Job: "JobResponse",
    answers.Kind: "JobKindResponse",
    answers.Kinds: "JobKindList",
    answers.Problem: "Problem",
    answers.Result: "ImageTransformResult",
    answers.Token: "TokenResponse",
    answers.User: "UserResponse",
}


@pytest.fixture(scope="module")
def schemas(settings: Settings) -> dict[str, Any]:
    found: dict[str, Any] = create_app(settings).openapi()["components"]["schemas"]
    return found


@pytest.mark.parametrize("model", READ, ids=lambda model: model.__name__)
def test_what_is_read_is_what_the_document_promises(
    schemas: dict[str, Any], model: type[answers.Answer]
) -> None:
    promised = schemas[READ[model]]
    for name, field in model.model_fields.items():
        if field.is_required():
            assert name in promised["required"], name


def test_every_answer_is_compared_with_the_document() -> None:
    assert set(answers.Answer.__subclasses__()) - {answers.Page} == set(READ)


def test_what_is_sent_is_what_the_document_takes(schemas: dict[str, Any]) -> None:
    taken = schemas["ImageTransformSubmission"]["properties"].keys()
    assert answers.Submission.model_fields.keys() == taken
    assert answers.Registration.model_fields.keys() == schemas["UserCreate"]["properties"].keys()
    assert answers.Deletion.model_fields.keys() == schemas["UserDeletion"]["properties"].keys()


def test_the_states_are_the_servers() -> None:
    assert {state.value for state in answers.State} == {state.value for state in JobState}


def commands() -> Iterator[tuple[str, Any]]:
    alone = typer.Typer()
    alone.command()(login)
    alone.command()(logout)
    for name, group in (("jobs", jobs), ("files", files), ("", alone)):
        for command in typer.main.get_group(group).commands.values():
            yield f"{name} {command.name}".strip(), command


def test_every_command_speaks_json() -> None:
    found = dict(commands())
    assert len(found) == 13
    for name, command in found.items():
        options = {option for parameter in command.params for option in parameter.opts}
        assert "--json" in options, name


def test_its_commands_load_nothing_of_the_servers() -> None:
    code = """
import json, sys
import app.cli, app.cli.files, app.cli.jobs, app.cli.login, app.cli.smoke
print(json.dumps(sorted(sys.modules)))
"""
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", code]))
    servers = {"sqlalchemy", "fastapi", "celery", "redis", "psycopg", "app.core.config"}
    assert "app.client.api" in loaded
    assert servers & set(loaded) == set()


def complete(shell: str, line: str) -> str:
    """What the shell is answered when it asks for what may follow the line."""
    words = line.split(" ")
    variables = {
        "_HEAVYLIFT_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    done = subprocess.run(
        [sys.executable, "-m", "app.cli"],
        env=clean_environment(**variables),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.slow
def test_a_shell_is_told_what_may_follow(shell: str) -> None:
    assert "--idempotency-key" in complete(shell, "heavylift jobs submit --i")


@pytest.mark.slow
def test_lazy_commands_are_completed_too() -> None:
    assert complete("bash", "heavylift ").split() == [
        "api",
        "config",
        "controller",
        "files",
        "jobs",
        "login",
        "logout",
        "migrate",
        "smoke",
        "up",
        "user",
        "worker",
    ]
    assert complete("bash", "heavylift jobs list --state s").split() == ["scheduled", "succeeded"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
@pytest.mark.slow
def test_bash_itself_completes() -> None:
    programs = Path(sys.executable).parent
    script = """
source <(_HEAVYLIFT_COMPLETE=source_bash heavylift)
COMP_WORDS=(heavylift files d) COMP_CWORD=2
_heavylift_completion heavylift
echo "${COMPREPLY[@]}"
"""
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env=clean_environment(PATH=f"{programs}:{os.environ['PATH']}"),
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("delete\n", "")
