"""What an endpoint asks for can be given to it: a store and a user that there are not."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from obstore.store import MemoryStore

from app.api.deps import get_caller, get_current_user, get_session, get_store
from app.core.config import Settings
from app.schemas.user import UserResponse
from app.services.auth import Caller

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(app: FastAPI) -> MemoryStore:
    store = MemoryStore()
    app.dependency_overrides[get_store] = lambda: store
    return store


def on_disk(settings: Settings) -> set[Path]:
    return set(Path(urlsplit(settings.storage.url).path).rglob("*"))


def user(user_id: UUID) -> UserResponse:
    return UserResponse(
        id=user_id,
        email="fixed@example.com",
        is_active=True,
        is_admin=False,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


async def test_a_fixed_user(app: FastAPI, anonymous: AsyncClient) -> None:
    assert (await anonymous.get("/api/v1/users/me")).status_code == 401
    fixed = user(uuid4())
    app.dependency_overrides[get_current_user] = lambda: fixed
    # Nor is there a row of that user, or any session.
    app.dependency_overrides[get_session] = lambda: None
    response = await anonymous.get("/api/v1/users/me")
    assert response.status_code == 200
    assert UserResponse.model_validate_json(response.content) == fixed


async def test_a_store_of_the_tests_own(
    app: FastAPI,
    anonymous: AsyncClient,
    store: MemoryStore,
    settings: Settings,
    make_owner: Callable[..., UUID],
) -> None:
    owner = make_owner()
    app.dependency_overrides[get_current_user] = lambda: user(owner)
    caller = Caller(id=owner, credential=uuid4(), until=datetime.max.replace(tzinfo=UTC))
    app.dependency_overrides[get_caller] = lambda: caller
    before = on_disk(settings)

    uploaded = await anonymous.post("/api/v1/files", params={"name": "a.txt"}, content=b"kept here")
    assert uploaded.status_code == 201, uploaded.text
    [kept] = [each for page in store.list() for each in page]
    assert store.get(kept["path"]).bytes() == b"kept here"
    assert on_disk(settings) == before
    content = await anonymous.get(f"/api/v1/files/{uploaded.json()['id']}/content")
    assert content.content == b"kept here"

    store.delete(kept["path"])
    content = await anonymous.get(f"/api/v1/files/{uploaded.json()['id']}/content")
    assert content.status_code == 410
