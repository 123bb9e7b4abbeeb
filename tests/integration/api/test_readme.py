"""What the README says of adding an endpoint, done."""

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from uuid import UUID

import pytest
from fastapi import APIRouter, FastAPI
from httpx2 import AsyncClient

from app.api.v1.router import api_router
from app.core.config import Settings
from app.jobs import KindRegistry
from app.main import create_app
from tests.integration.api.conftest import connect, serving
from tests.integration.api.kinds import KINDS
from tests.readme import files_of, lint

pytestmark = pytest.mark.anyio

ROUTER = "app/api/v1/router.py"


def module_name(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")


@pytest.fixture
def endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The new resource, as if its files lay beside those that are here."""
    names = []
    for path, code in files_of("Add an endpoint").items():
        if path == ROUTER:
            continue
        file = tmp_path / path
        file.parent.mkdir(parents=True)
        file.write_text(code)
        names.append(module_name(path))
        package = import_module(names[-1].rpartition(".")[0])
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(file.parent)])
    yield import_module(names[-1])
    for name in names:
        package_name, _, module = name.rpartition(".")
        del sys.modules[name]
        delattr(sys.modules[package_name], module)


@pytest.fixture
def app(
    endpoint: ModuleType, settings: Settings, clean: None, monkeypatch: pytest.MonkeyPatch
) -> FastAPI:
    line = files_of("Add an endpoint")[ROUTER]

    def with_the_line(kinds: KindRegistry) -> APIRouter:
        router = api_router(kinds)
        exec(line, {"router": router, "usage": endpoint})
        return router

    monkeypatch.setattr("app.main.api_router", with_the_line)
    return create_app(settings, KINDS)


@pytest.fixture
async def grace(
    app: FastAPI, sign_in: Callable[..., str], make_owner: Callable[..., UUID]
) -> AsyncIterator[AsyncClient]:
    """With two files of hers."""
    async with (
        serving(app) as served,
        connect(served, sign_in(make_owner())) as client,
        connect(served, sign_in(make_owner())) as other,
    ):
        for uploader, name in (client, "a"), (client, "b"), (other, "c"):
            stored = await uploader.post("/api/v1/files", params={"name": name}, content=b"12345")
            assert stored.status_code == 201
        yield client


async def test_the_endpoint_answers(app: FastAPI, grace: AsyncClient) -> None:
    response = await grace.get("/api/v1/usage")
    assert (response.status_code, response.json()) == (200, {"files": 2, "size": 10})
    del grace.headers["Authorization"]
    assert (await grace.get("/api/v1/usage")).status_code == 401
    operation = app.openapi()["paths"]["/api/v1/usage"]["get"]
    assert operation["description"] == "What your files take."
    assert operation["responses"].keys() == {"200", "401", "422", "500", "503"}


def test_it_is_written_as_everything_here_is() -> None:
    files = files_of("Add an endpoint")
    assert list(files) == [
        "app/schemas/usage.py",
        "app/services/usage.py",
        "app/api/v1/endpoints/usage.py",
        ROUTER,
    ]
    for path, code in files.items():
        if path != ROUTER:
            lint(path, code)
