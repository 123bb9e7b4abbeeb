"""A package installed as its users do, but into a folder of the test's own, and offline."""

import subprocess
import sys
from pathlib import Path

from uv import find_uv_bin


def install(project: Path, target: Path) -> str:
    """Returns the `PYTHONPATH` that it is found by. Its dependencies are those that are here."""
    command = [find_uv_bin(), "pip", "install", "--quiet", "--no-cache", "--offline", "--no-deps"]
    into = ["--python", sys.executable, "--target", str(target)]
    subprocess.run([*command, *into, str(project)], check=True)
    return str(target)
