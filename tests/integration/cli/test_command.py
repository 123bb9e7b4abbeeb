"""The command itself: what it loads, and how it ends."""

import subprocess
import sys
from importlib.metadata import version

import pytest

from tests.integration.cli.conftest import Run, clean_environment, is_one_line, run_process


def test_says_its_version(run: Run) -> None:
    outcome = run("--version")
    assert (outcome.code, outcome.out.strip()) == (0, version("heavylift"))


def test_lists_its_own_commands_and_those_of_other_packages(run: Run) -> None:
    outcome = run("--help")
    assert outcome.code == 0
    for subcommand in ("api", "config", "controller", "migrate", "smoke", "up", "worker"):
        assert f"\n  {subcommand} " in outcome.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonesuch"],
        ["api", "--nonesuch"],
        ["up", "--port", "70000"],
        ["api", "--fd", "-1"],
        ["api", "--fd", "0"],
        ["worker", "--concurrency", "9" * 20],
        ["up", "--concurrency", "9" * 20],
        [],
    ],
)
def test_wrong_usage_is_one_line(run: Run, arguments: list[str]) -> None:
    outcome = run(*arguments)
    assert outcome.code == 2
    assert is_one_line(outcome.err)


@pytest.mark.slow
def test_a_real_process_ends_with_2_and_one_line() -> None:
    outcome = run_process("api", HEAVYLIFT_ENVIRONMENT="production")
    assert outcome.code == 2
    assert outcome.err == (
        "heavylift: HEAVYLIFT_AUTH_SIGNING_KEYS is not set, and production has no default\n"
    )
    assert outcome.out == ""


@pytest.mark.slow
def test_the_api_loads_neither_the_workers_command_nor_celery() -> None:
    code = """
import sys
from app.cli import Subcommands
Subcommands(name="heavylift").get_command(None, "api")
import app.server, app.main
app.main.create_app()
print(*sorted({name for name in sys.modules if name.split(".")[0] in {"celery", "kombu"}
               or name == "worker.cli"}))
"""
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded.stdout.strip() == ""
