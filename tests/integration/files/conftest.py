import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import UUID

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient

from app.core.config import Settings
from app.jobs import KindRegistry
from app.main import create_app
from tests.integration.listening import Listening, as_new, listening

MAX_BYTES = 8_000_000


@pytest.fixture(scope="session")
def store_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def built(settings: Settings, store_folder: Path) -> FastAPI:
    """A store of its own, and a limit that is soon reached."""
    files = settings.files.model_copy(update={"max_bytes": MAX_BYTES})
    storage = settings.storage.model_copy(update={"url": store_folder.as_uri()})
    own = settings.model_copy(update={"files": files, "storage": storage})
    return create_app(own, KindRegistry([]))


@pytest.fixture
def folder(store_folder: Path) -> Path:
    """The store's, empty."""
    shutil.rmtree(store_folder)
    store_folder.mkdir()
    return store_folder


@pytest.fixture
async def api(built: FastAPI, clean: None, folder: Path) -> AsyncIterator[Listening]:
    async with listening(as_new(built)) as api:
        yield api


@pytest.fixture
def owner(make_owner: Callable[..., UUID]) -> UUID:
    return make_owner()


@pytest.fixture
async def client(
    api: Listening, sign_in: Callable[..., str], owner: UUID
) -> AsyncIterator[AsyncClient]:
    async with api.client(sign_in(owner)) as client:
        yield client


@pytest.fixture
async def stranger(
    api: Listening, sign_in: Callable[..., str], make_owner: Callable[..., UUID]
) -> AsyncIterator[AsyncClient]:
    async with api.client(sign_in(make_owner())) as client:
        yield client
