"""Which Python `make` sets up with."""

import os
import shutil
import subprocess
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
