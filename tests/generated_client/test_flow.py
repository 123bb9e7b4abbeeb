"""A client generated from the OpenAPI document: types that mypy accepts, on a real server."""

import ast
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from PIL import Image

from app.core.config import Settings
from app.embedded.stack import Stack
from app.main import create_app
from demo import inputs
from tests.servers import scratch_folder

pytestmark = pytest.mark.slow

# Its typer is older than ours: it gets an environment of its own, with mypy and what the client
# needs. All of it as it was on one day.
GENERATOR = "openapi-python-client==0.29.1"
AS_OF = "2026-11-22T00:00:00Z"

UV = Path(sys.executable).with_name("uv")
FLOW = Path(__file__).with_name("flow.py")


def run(*command: str | Path, **variables: str) -> str:
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment's programs, the generator among them."""
    folder = tmp_path_factory.mktemp("environment")
    run(UV, "venv", "--quiet", "--python", sys.executable, folder)
    python = folder / "bin" / "python"
    wanted = [GENERATOR, f"mypy=={version('mypy')}"]
    run(UV, "pip", "install", "--quiet", "--python", python, "--exclude-newer", AS_OF, *wanted)
    return folder / "bin"


@pytest.fixture(scope="module")
def client(environment: Path, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the generated package is in."""
    folder = tmp_path_factory.mktemp("client")
    document = folder / "openapi.json"
    document.write_text(json.dumps(create_app(settings).openapi()))
    said = run(
        environment / "openapi-python-client",
        "generate",
        "--path",
        document,
        "--output-path",
        folder / "generated",
        "--fail-on-warning",
        # It formats what it writes with the ruff beside it.
        PATH=f"{environment}:{os.environ['PATH']}",
    )
    assert "warning" not in said.lower()
    return folder / "generated"


def test_its_types_hold(environment: Path, client: Path) -> None:
    checked = run(
        environment / "mypy",
        "--strict",
        "--no-incremental",
        "--config-file",
        os.devnull,
        client / "heavylift_client",
        FLOW,
        MYPYPATH=str(client),
    )
    assert "no issues found" in checked


def test_its_user_writes_no_dictionary_and_escapes_no_type() -> None:
    source = FLOW.read_text()
    nodes = list(ast.walk(ast.parse(source)))
    assert not [node for node in nodes if isinstance(node, ast.Dict | ast.DictComp)]
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    assert not names & {"dict", "Any", "cast"}
    assert "type: ignore" not in source


def test_register_upload_submit_follow_and_fetch(environment: Path, client: Path) -> None:
    picture = inputs.photograph().path
    with scratch_folder() as folder, Stack(folder / "stack", concurrency=1, durable=False) as stack:
        assert stack.wait_ready()
        fetched = folder / "fetched"
        fetched.mkdir()
        said = run(
            environment / "python",
            FLOW,
            stack.base_url,
            picture,
            fetched,
            PYTHONPATH=str(client),
        )
        assert said == "thumbnail.webp 96 x 96 image/webp\n"
        with Image.open(fetched / "thumbnail.webp") as thumbnail:
            assert (thumbnail.format, thumbnail.size) == ("WEBP", (96, 96))
