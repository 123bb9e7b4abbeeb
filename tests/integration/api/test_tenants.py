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
    """Of a job that succeeded and a file that is there, both of the client."""
    uploaded = await client.post("/api/v1/files", params={"name": "a.txt"}, content=b"hello")
    job = UUID((await draw())["id"])
    with engine.begin() as connection:
        ledger.claim(connection, job, worker_id=uuid4(), kinds=["shape.draw"], version="1")
        ledger.succeed(connection, job, 1, result=json.dumps({"shapes": 1}), keep=KEEP)
    return {"job_id": str(job), "file_id": uploaded.json()["id"], "kind": "shape.draw"}


def snapshot(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return [
            connection.execute(text(f"SELECT * FROM {table} ORDER BY 1")).all()
            for table in ("jobs", "job_runs", "files")
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
        if "{job_id}" in path or "{file_id}" in path
    ]
    assert len(taking_an_id) >= 7
    nobody = {"job_id": str(uuid4()), "file_id": str(uuid4()), "kind": "shape.draw"}
    before = snapshot(engine)
    for method, path in taking_an_id:
        answers = []
        for which in (ids, nobody):
            url = path.format(**which)
            response = await stranger.request(method, url)
            told = response.text.replace(which["job_id"], "ID").replace(which["file_id"], "ID")
            told = told.replace(response.headers["x-request-id"], "")
            answers.append((response.status_code, told))
        assert answers[0] == answers[1], f"{method} {path}"
        assert answers[0][0] == 404, f"{method} {path}"
    assert snapshot(engine) == before
    # And all of them are there for who owns them: what deletes, last.
    for method, path in sorted(taking_an_id, key=lambda each: each[0] == "DELETE"):
        response = await client.request(method, path.format(**ids))
        assert response.status_code in (200, 202, 204), f"{method} {path}: {response.text}"


async def test_lists_have_only_ones_own(
    client: AsyncClient, stranger: AsyncClient, ids: dict[str, str]
) -> None:
    for path in ("/api/v1/jobs", "/api/v1/files"):
        assert len((await client.get(path)).json()["items"]) == 1
        assert (await stranger.get(path)).json()["items"] == []
