"""Clients generated from the OpenAPI document: strictly typed, and used on a real server."""

import ast
import os
import re
from pathlib import Path

import pytest
from PIL import Image

from demo import inputs
from tests.generated_client.conftest import HERE, Tools

pytestmark = pytest.mark.slow

FLOWS = HERE / "flows"

# Each with its defaults: the document fits the generators, not the other way round.
TYPESCRIPT: dict[str, tuple[str, ...]] = {
    "typescript-fetch": (
        *("openapi-generator-cli", "generate", "--generator-name", "typescript-fetch"),
        *("--input-spec", "{document}", "--output", "{folder}/client"),
    ),
    "typescript-axios": (
        *("openapi-generator-cli", "generate", "--generator-name", "typescript-axios"),
        *("--input-spec", "{document}", "--output", "{folder}/client"),
    ),
    "openapi-typescript": ("openapi-typescript", "{document}", "--output", "{folder}/client.d.ts"),
    "openapi-typescript-codegen": (
        *("openapi", "--input", "{document}", "--output", "{folder}/client"),
    ),
    "hey-api": ("openapi-ts", "--input", "{document}", "--output", "{folder}/client"),
}
# It reads every body as text, a picture too.
DOWNLOADS_NOTHING = {"openapi-typescript-codegen"}


def assert_thumbnail(said: str, folder: Path, *, downloaded: bool = True) -> None:
    assert said == "thumbnail.webp 96 x 96 image/webp\n"
    if downloaded:
        with Image.open(folder / "thumbnail.webp") as thumbnail:
            assert (thumbnail.format, thumbnail.size) == ("WEBP", (96, 96))


@pytest.mark.parametrize("generator", TYPESCRIPT)
def test_a_typescript_client_compiles_strictly_and_fetches_a_result(
    generator: str, tools: Tools, document: Path, running: str, tmp_path: Path
) -> None:
    tools.run(*(part.format(document=document, folder=tmp_path) for part in TYPESCRIPT[generator]))
    for source, name in (
        (HERE / "tsconfig.json", "tsconfig.json"),
        (FLOWS / "events.ts", "events.ts"),
        (FLOWS / f"{generator}.ts", "flow.ts"),
    ):
        (tmp_path / name).write_bytes(source.read_bytes())
    (tmp_path / "node_modules").symlink_to(tools.node_modules)
    tools.run("tsc", "--project", tmp_path, "--strict")

    fetched = tmp_path / "fetched"
    fetched.mkdir()
    flow = tmp_path / "compiled" / "flow.js"
    said = tools.run("node", flow, running, inputs.photograph().path, fetched)
    assert_thumbnail(said, fetched, downloaded=generator not in DOWNLOADS_NOTHING)


def test_a_python_client_passes_mypy_strictly_and_fetches_a_result(
    tools: Tools, document: Path, running: str, tmp_path: Path
) -> None:
    client = tmp_path / "client"
    said = tools.run(
        *("openapi-python-client", "generate", "--path", document, "--output-path", client),
        "--fail-on-warning",
    )
    assert "warning" not in said.lower()
    flow = FLOWS / "openapi_python_client.py"
    strictly = ("--strict", "--no-incremental", "--config-file", os.devnull)
    tools.run("mypy", *strictly, client / "heavylift_client", flow, MYPYPATH=str(client))

    fetched = tmp_path / "fetched"
    fetched.mkdir()
    said = tools.run(
        *(tools.programs / "python", flow, running, inputs.photograph().path, fetched),
        PYTHONPATH=str(client),
    )
    assert_thumbnail(said, fetched)


@pytest.mark.parametrize("flow", sorted(FLOWS.glob("*")), ids=lambda path: path.name)
def test_a_flow_escapes_no_type(flow: Path) -> None:
    source = flow.read_text()
    escapes = r"\bany\b|\bAny\b|\bcast\(|\bas [A-Z]|\bas unknown|@ts-|type: ignore|dict\["
    assert re.findall(escapes, re.sub(r"//.*|import .*", "", source)) == []


def test_the_python_flow_writes_no_dictionary() -> None:
    nodes = ast.walk(ast.parse((FLOWS / "openapi_python_client.py").read_text()))
    assert not [node for node in nodes if isinstance(node, ast.Dict | ast.DictComp)]


def test_the_lock_names_exact_versions_and_no_registry() -> None:
    lock = (HERE / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert '"integrity"' in lock
    versions = re.findall(
        r'": "(.*)"', (HERE / "package.json").read_text().split("Dependencies")[1]
    )
    assert len(versions) == 7
    assert [one for one in versions if not re.fullmatch(r"\d+\.\d+\.\d+", one)] == []
