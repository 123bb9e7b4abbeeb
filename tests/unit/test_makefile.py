"""Which Python `make` sets up with, and what each target installs."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKE = shutil.which("make") or "make"
RULE = "which-python: ; @: $(info $(PYTHON))"


def chosen(path: Path, **variables: str) -> str:
    made = subprocess.run(
        [MAKE, "--no-print-directory", f"--eval={RULE}", "which-python"],
        cwd=ROOT,
        env={"PATH": str(path), **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return made.stdout.strip()


@pytest.mark.parametrize(
    ("is_new", "others", "name"),
    [
        (False, ["python3.12"], "python3"),
        (True, [], "python3"),
        (True, ["python3.11"], "python3.11"),
        (True, ["python3.11", "python3.12"], "python3.12"),
        (True, ["python3.12", "redis-server"], "python3"),
        (True, ["python3.12", "valkey-server"], "python3"),
    ],
)
def test_an_older_one_where_only_that_has_a_redis(
    tmp_path: Path, is_new: bool, others: list[str], name: str
) -> None:
    for command in ("python3", *others):
        # All that it is asked is whether it is new: by its exit code.
        (tmp_path / command).write_text(f"#!/bin/sh\nexit {int(is_new)}\n")
        (tmp_path / command).chmod(0o755)
    assert chosen(tmp_path).rpartition(os.sep)[2] == name


def test_the_one_that_is_asked_for(tmp_path: Path) -> None:
    assert chosen(tmp_path, PYTHON="/opt/python") == "/opt/python"


# --- what is installed ----------------------------------------------------------------------------

LOCKS = ROOT / "requirements"
NEEDS = ("up", "demo", "load", "dev")


def recipe(target: str) -> str:
    """What `make` would run in a fresh clone."""
    return subprocess.run(
        [MAKE, "--no-print-directory", "--dry-run", "--always-make", target],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def pins(need: str) -> set[str]:
    """`name==version` of all that a lock has, with the marker that it is installed under."""
    content = (LOCKS / f"{need}.lock").read_text()
    return set(re.findall(r"^(\S+==[^\\\n]+?) *\\$", content, re.MULTILINE))


def names(need: str) -> set[str]:
    return {pin.partition("==")[0] for pin in pins(need)}


@pytest.mark.parametrize(
    ("target", "need"),
    [
        ("up", "up"),
        ("demo", "demo"),
        ("load", "load"),
        ("test", "dev"),
        ("lint", "dev"),
    ],
)
def test_a_target_installs_one_lock_and_uninstalls_nothing(target: str, need: str) -> None:
    steps = recipe(target)
    assert set(re.findall(r"requirements/(\w+)\.lock", steps)) == {need}
    assert "--require-hashes" in steps
    assert not re.search(r"\b(pip sync|uninstall|--force-reinstall)\b", steps)


def test_what_runs_the_stack_is_no_test_tool() -> None:
    tools = {"pytest", "mypy", "ruff", "schemathesis", "hypothesis", "playwright", "uv"}
    assert tools < names("dev")
    for need in ("up", "demo"):
        assert not tools & names(need)
    assert tools & names("load") == {"pytest"}  # which Locust wants
    assert not {"locust", "scikit-image", "lightkube"} & names("up")
    assert "scikit-image" in names("demo")
    assert "locust" in names("load")


def test_the_locks_agree() -> None:
    """Each target adds to what another has installed: one version of everything."""
    for need in NEEDS[:-1]:
        assert {pin.partition(" ;")[0] for pin in pins(need)} <= {
            pin.partition(" ;")[0] for pin in pins("dev")
        }


@pytest.mark.slow
def test_the_locks_are_those_of_uv_lock(tmp_path: Path) -> None:
    exports = [line for line in recipe("locks").splitlines() if " export " in line]
    assert len(exports) == len(NEEDS)
    for line in exports:
        _, *arguments = shlex.split(line.replace("requirements/", f"{tmp_path}/"))
        uv = Path(sys.prefix) / "bin" / "uv"
        subprocess.run([uv, *arguments], cwd=ROOT, check=True, timeout=60)
    for need in NEEDS:
        assert (tmp_path / f"{need}.lock").read_text() == (LOCKS / f"{need}.lock").read_text()
