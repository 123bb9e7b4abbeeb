from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import UUID

import pytest
from httpx2 import AsyncClient

from app.core.config import Settings
from app.jobs import KindRegistry
from app.main import create_app
from tests.integration.listening import Listening, listening

MAX_BYTES = 8_000_000


@pytest.fixture
def file_settings(settings: Settings, tmp_path: Path) -> Settings:
    """A store of its own, and a limit that is soon reached."""
    return settings.model_copy(
        update={
            "files": settings.files.model_copy(update={"max_bytes": MAX_BYTES}),
            "storage": settings.storage.model_copy(update={"url": tmp_path.as_uri()}),
        }
    )


@pytest.fixture
async def api(file_settings: Settings, clean: None) -> AsyncIterator[Listening]:
    async with listening(create_app(file_settings, KindRegistry([]))) as api:
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
