"""Another tenant's id is an id that does not exist: for every operation that takes one."""

import json
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy import Engine, text

from app.services import ledger
from tests.integration.api.test_openapi import operations
from tests.ledger_view import KEEP

pytestmark = pytest.mark.anyio


@pytest.fixture
async def ids(
    client: AsyncClient, draw: Callable[..., Awaitable[dict[str, Any]]], engine: Engine
) -> dict[str, str]:
    """Of a job that succeeded, a file that is there, an item and a key, all of the client."""
    key = await client.post("/api/v1/auth/api-keys", json={"name": "a"})
    item = await client.post("/api/v1/items", json={"title": "a"})
    uploaded = await client.post("/api/v1/files", params={"name": "a.txt"}, content=b"hello")
    job = UUID((await draw())["id"])
    with engine.begin() as connection:
        ledger.claim(connection, job, worker_id=uuid4(), kinds=["shape.draw"], version="1")
        ledger.succeed(connection, job, 1, result=json.dumps({"shapes": 1}), keep=KEEP)
    return {
        "job_id": str(job),
        "file_id": uploaded.json()["id"],
        "item_id": item.json()["id"],
        "api_key_id": key.json()["id"],
        "kind": "shape.draw",
    }


# Bodies that would do, of the operations that take one.
BODIES = {("PATCH", "/api/v1/items/{item_id}"): {"title": "b"}}


def snapshot(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return [
            connection.execute(text(f"SELECT * FROM {table} ORDER BY 1")).all()
            for table in ("jobs", "job_runs", "files", "items")
        ]


async def test_another_tenants_id_does_not_exist(
    app: FastAPI,
    client: AsyncClient,
    stranger: AsyncClient,
    ids: dict[str, str],
    engine: Engine,
) -> None:
    taking_an_id = [
        (method.upper(), path)
        for method, path, _ in operations(app.openapi())
        # A user's id is for admins.
        if "_id}" in path and "{user_id}" not in path
    ]
    assert len(taking_an_id) >= 10
    nobody = {name: str(uuid4()) for name in ids} | {"kind": "shape.draw"}
    before = snapshot(engine)
    for method, path in taking_an_id:
        answers = []
        for which in (ids, nobody):
            url = path.format(**which)
            response = await stranger.request(method, url, json=BODIES.get((method, path)))
            told = response.text.replace(response.headers["x-request-id"], "")
            for name, value in which.items():
                told = told.replace(value, name)
            answers.append((response.status_code, told))
        assert answers[0] == answers[1], f"{method} {path}"
        assert answers[0][0] == 404, f"{method} {path}"
    assert snapshot(engine) == before
    # And all of them are there for who owns them: what deletes, last.
    for method, path in sorted(taking_an_id, key=lambda each: each[0] == "DELETE"):
        body = BODIES.get((method, path))
        response = await client.request(method, path.format(**ids), json=body)
        assert response.status_code in (200, 202, 204), f"{method} {path}: {response.text}"


async def test_lists_have_only_ones_own(
    client: AsyncClient, stranger: AsyncClient, ids: dict[str, str]
) -> None:
    for path in ("/api/v1/jobs", "/api/v1/files", "/api/v1/items"):
        assert len((await client.get(path)).json()["items"]) == 1
        assert (await stranger.get(path)).json()["items"] == []
