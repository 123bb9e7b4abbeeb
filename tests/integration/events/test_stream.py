"""The stream of server-sent events, over HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient, Response
from sqlalchemy import Engine

from app.core.config import Settings
from tests.integration.events.conftest import TTLS, Worker
from tests.integration.listening import Listening, eventually, listening

pytestmark = pytest.mark.anyio


@pytest.fixture
async def api(app_without_kinds: FastAPI) -> AsyncIterator[Listening]:
    async with listening(app_without_kinds) as api:
        yield api


@pytest.fixture
async def client(
    api: Listening, sign_in: Callable[..., str], owner: UUID
) -> AsyncIterator[AsyncClient]:
    async with api.client(sign_in(owner)) as client:
        yield client


@pytest.fixture
def worker(engine: Engine, settings: Settings, owner: UUID) -> Iterator[Worker]:
    worker = Worker(engine, settings.redis.url.get_secret_value(), owner)
    yield worker
    worker.close()


async def events(response: Response) -> AsyncIterator[dict[str, str]]:
    """As the HTML standard has it: fields of lines, an event at each empty line."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield fields
            fields = {}


def watching(api: Listening) -> int:
    return len(api.state.events._jobs)


async def test_a_job_from_its_first_state_to_its_last(
    api: Listening, client: AsyncClient, worker: Worker
) -> None:
    async with client.stream("GET", f"/jobs/{worker.job_id}/events") as response:
        assert response.status_code == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert "no-store" in response.headers["Cache-Control"]
        assert response.headers["X-Accel-Buffering"] == "no"
        stream = events(response)
        assert await anext(stream) == {
            "event": "job",
            "id": "1",
            "data": json.dumps(
                {
                    "job_id": str(worker.job_id),
                    "seq": 1,
                    "state": "queued",
                    "attempt": 0,
                    "progress": 0.0,
                    "message": "",
                    "error": None,
                },
                separators=(",", ":"),
            ),
        }
        # The owner was checked in a session that is over.
        await eventually(lambda: api.state.engine.pool.checkedout() == 0)  # type: ignore[attr-defined]
        worker.claim()
        worker.progress(0.5)
        end = worker.succeed()
        seen = [event async for event in stream]
    assert seen[-1]["id"] == str(end)
    assert json.loads(seen[-1]["data"])["state"] == "succeeded"


async def test_last_event_id(client: AsyncClient, worker: Worker) -> None:
    seen = worker.claim()
    end = worker.succeed()
    path = f"/jobs/{worker.job_id}/events"
    resumed = await client.get(path, headers={"Last-Event-ID": str(seen)})
    assert [line for line in resumed.text.splitlines() if line.startswith("id: ")] == [f"id: {end}"]
    again = await client.get(path, headers={"Last-Event-ID": str(end)})
    assert (again.status_code, again.text) == (200, "")


@pytest.mark.parametrize("garbage", ["x", "-1", "1.5", str(2**63)])
async def test_a_last_event_id_that_is_none(
    client: AsyncClient, worker: Worker, garbage: str
) -> None:
    response = await client.get(f"/jobs/{worker.job_id}/events", headers={"Last-Event-ID": garbage})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "header.last-event-id"


async def test_another_tenants_job_and_nobodys(
    api: Listening, sign_in: Callable[..., str], worker: Worker, make_owner: Callable[..., UUID]
) -> None:
    async with api.client(sign_in(make_owner())) as stranger:
        for job in worker.job_id, uuid4():
            response = await stranger.get(f"/jobs/{job}/events")
            assert response.status_code == 404
            assert response.json()["type"].endswith("/not-found")
    async with api.client() as anonymous:
        assert (await anonymous.get(f"/jobs/{worker.job_id}/events")).status_code == 401


async def test_a_client_that_leaves_is_watched_for_no_longer(
    api: Listening, client: AsyncClient, worker: Worker
) -> None:
    async with client.stream("GET", f"/jobs/{worker.job_id}/events") as response:
        await anext(events(response))
        assert watching(api) == 1
    await eventually(lambda: watching(api) == 0)


async def test_a_client_that_reads_nothing_leaves_nothing_behind(
    api: Listening, client: AsyncClient, worker: Worker
) -> None:
    _, writer = await asyncio.open_connection(api.host, api.port)
    writer.write(
        f"GET /api/v1/jobs/{worker.job_id}/events HTTP/1.1\r\nHost: test\r\n"
        f"Authorization: {client.headers['Authorization']}\r\n\r\n".encode()
    )
    await eventually(lambda: watching(api) == 1)
    worker.claim()
    for _ in range(50):
        worker.progress(0.5)
    writer.close()
    await writer.wait_closed()
    await eventually(lambda: watching(api) == 0)


async def test_a_shutdown_ends_the_stream(
    api: Listening, client: AsyncClient, worker: Worker
) -> None:
    async with client.stream("GET", f"/jobs/{worker.job_id}/events") as response:
        stream = events(response)
        await anext(stream)
        api.state.events.close()
        rest: list[Any] = [event async for event in stream]
    (hint,) = rest
    assert 500 <= int(hint.pop("retry")) <= 1500
    assert hint == {}


@pytest.mark.slow
async def test_the_token_ends_the_stream(
    api: Listening, sign_in: Callable[..., str], owner: UUID, worker: Worker
) -> None:
    path = f"/jobs/{worker.job_id}/events"
    for ttl in TTLS:
        async with api.client(sign_in(owner, ttl=ttl)) as client:
            # It ends by itself, though the job does not.
            response = await client.get(path)
            after = await client.get(path)
        assert after.status_code == 401
        if "id: 1" in response.text:
            return
    pytest.fail("no stream began before its token had ended")
