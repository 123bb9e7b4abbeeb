"""A job's events over a WebSocket."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
import structlog
from fastapi import FastAPI
from sqlalchemy import Engine, text
from websockets.asyncio.client import ClientConnection, connect
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.uri import parse_uri

from app.api import sockets
from app.core.config import Settings
from app.jobs import KindRegistry
from app.main import create_app
from app.schemas.job import JobEvent
from app.services import auth, jobs
from tests.integration.events.conftest import TTLS, Worker
from tests.integration.listening import Listening, eventually, listening

pytestmark = pytest.mark.anyio


@pytest.fixture
async def api(app_without_kinds: FastAPI) -> AsyncIterator[Listening]:
    async with listening(app_without_kinds) as api:
        yield api


@pytest.fixture
def worker(engine: Engine, settings: Settings, owner: UUID) -> Iterator[Worker]:
    worker = Worker(engine, settings.redis.url.get_secret_value(), owner)
    yield worker
    worker.close()


@pytest.fixture
def token(sign_in: Callable[..., str], owner: UUID) -> str:
    return sign_in(owner)


def address(api: Listening, job: object, query: str = "") -> str:
    return f"ws://{api.host}:{api.port}/api/v1/jobs/{job}/events{query}"


def opened(api: Listening, job: object) -> AbstractAsyncContextManager[ClientConnection]:
    return connect(address(api, job), proxy=None)


@asynccontextmanager
async def watching(
    api: Listening, job: UUID, token: str, **asked: object
) -> AsyncIterator[ClientConnection]:
    async with opened(api, job) as socket:
        await socket.send(json.dumps({"access_token": token, **asked}))
        yield socket


async def collect(socket: ClientConnection) -> tuple[list[JobEvent], int, str]:
    """What still comes, and the code and reason that it is closed with."""
    events = []
    async with asyncio.timeout(10):
        with suppress(ConnectionClosedError):
            async for message in socket:
                # One by one: what came before an error counts.
                events.append(JobEvent.model_validate_json(message))  # noqa: PERF401
    assert socket.close_code is not None
    return events, socket.close_code, socket.close_reason or ""


def watchers(api: Listening) -> int:
    return len(api.state.events._jobs)


async def test_a_job_from_its_first_state_to_its_last(
    api: Listening, worker: Worker, token: str
) -> None:
    async with watching(api, worker.job_id, token) as socket:
        assert json.loads(await socket.recv()) == {
            "job_id": str(worker.job_id),
            "seq": 1,
            "state": "queued",
            "attempt": 0,
            "progress": 0.0,
            "message": "",
            "error": None,
        }
        # The owner was checked in a session that is over.
        await eventually(lambda: api.state.engine.pool.checkedout() == 0)  # type: ignore[attr-defined]
        worker.claim()
        worker.progress(0.5)
        end = worker.succeed()
        events, code, reason = await collect(socket)
    assert (events[-1].seq, events[-1].state) == (end, "succeeded")
    assert (code, reason) == (1000, "")
    assert watchers(api) == 0


async def test_it_goes_on_after_what_the_client_has_seen(
    api: Listening, worker: Worker, token: str
) -> None:
    seen = worker.claim()
    end = worker.succeed()
    async with watching(api, worker.job_id, token, after=seen) as socket:
        events, code, _ = await collect(socket)
    assert ([event.seq for event in events], code) == ([end], 1000)
    async with watching(api, worker.job_id, token, after=end) as socket:
        assert await collect(socket) == ([], 1000, "")


async def test_both_transports_tell_the_same(api: Listening, worker: Worker, token: str) -> None:
    worker.claim()
    worker.fail()
    async with watching(api, worker.job_id, token) as socket:
        [message] = [message async for message in socket]
    async with api.client(token) as client:
        stream = await client.get(f"/jobs/{worker.job_id}/events")
    assert f"data: {message!s}" in stream.text.splitlines()


async def test_any_origin_may_ask(api: Listening, worker: Worker, token: str) -> None:
    url = address(api, worker.job_id)
    async with connect(url, proxy=None, origin="https://elsewhere.example") as socket:  # type: ignore[arg-type]
        await socket.send(json.dumps({"access_token": token}))
        assert JobEvent.model_validate_json(await socket.recv()).seq == 1


# --- what is wrong before there is a socket -------------------------------------------------------


@pytest.mark.parametrize(
    ("job", "query", "field"),
    [(uuid4(), "?access_token=x", "query.access_token"), ("mine", "", "path.job_id")],
)
async def test_a_handshake_that_does_not_fit_is_a_problem(
    api: Listening, job: object, query: str, field: str
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(address(api, job, query), proxy=None)
    response = refused.value.response
    assert response.status_code == 422
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.body is not None
    problem = json.loads(response.body)
    assert [error["field"] for error in problem["errors"]] == [field]
    assert problem["request_id"] == response.headers["X-Request-Id"]


async def test_there_is_no_other_socket(api: Listening) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"ws://{api.host}:{api.port}/api/v1/jobs", proxy=None)
    assert refused.value.response.status_code == 403


# --- what is wrong with the first message ---------------------------------------------------------


MISFITS: dict[str | bytes, str] = {
    "": "message: Invalid JSON",
    "[]": "message: Input should be an object",
    b"\xff": "message: Invalid JSON",
    '{"access_token": 1}': "message.access_token: Input should be a valid string",
    '{"access_token": "x", "after": -1}': "message.after: ",
    '{"access_token": "x", "after": 9223372036854775808}': "message.after: ",
    '{"access_token": "x", "before": 1}': "message.before: Extra inputs",
}


async def test_a_first_message_that_does_not_fit(api: Listening, worker: Worker) -> None:
    for message, reason in MISFITS.items():
        async with opened(api, worker.job_id) as socket:
            await socket.send(message)
            events, code, said = await collect(socket)
        assert (events, code) == ([], 4422)
        assert said.startswith(f"invalid-input: {reason}")


async def test_a_first_message_that_is_too_long(api: Listening, worker: Worker) -> None:
    async with opened(api, worker.job_id) as socket:
        await socket.send(json.dumps({"access_token": "x" * 20_000}))
        _, code, _ = await collect(socket)
    assert code == 1009


async def test_no_first_message(
    api: Listening, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "FIRST_MESSAGE_WITHIN", 0.1)
    async with opened(api, worker.job_id) as socket:
        assert await collect(socket) == ([], 4408, "no-first-message: it has to come within 0.1 s")


async def test_a_second_message(api: Listening, worker: Worker, token: str) -> None:
    async with watching(api, worker.job_id, token) as socket:
        await socket.recv()
        await socket.send("more")
        _, code, _ = await collect(socket)
    assert code == 4422
    assert watchers(api) == 0


# --- who may see it, and for how long -------------------------------------------------------------


async def test_no_token_of_ours(
    api: Listening, sign_in: Callable[..., str], worker: Worker, owner: UUID, engine: Engine
) -> None:
    async with opened(api, worker.job_id) as socket:
        await socket.send("{}")
        assert (await collect(socket))[1] == 4401
    for token in "", "x", "ключ", sign_in(owner, ttl=-1):
        async with watching(api, worker.job_id, token) as socket:
            events, code, reason = await collect(socket)
        assert (events, code) == ([], 4401)
        assert reason.startswith("unauthorized: ")
    with engine.begin() as connection:
        connection.execute(text("UPDATE users SET is_active = false"))
    async with watching(api, worker.job_id, sign_in(owner)) as socket:
        assert (await collect(socket))[1] == 4401


async def test_another_tenants_job_and_nobodys(
    api: Listening, sign_in: Callable[..., str], worker: Worker, make_owner: Callable[..., UUID]
) -> None:
    stranger = sign_in(make_owner())
    for job in worker.job_id, uuid4():
        async with watching(api, job, stranger) as socket:
            assert await collect(socket) == ([], 4404, f"not-found: you have no job {job}")


@pytest.mark.slow
async def test_the_token_ends_it(
    api: Listening, sign_in: Callable[..., str], owner: UUID, worker: Worker
) -> None:
    for ttl in TTLS:
        async with watching(api, worker.job_id, sign_in(owner, ttl=ttl)) as socket:
            events, code, _ = await collect(socket)
        assert code == 4401
        if [event.seq for event in events] == [1]:
            return
    pytest.fail("no stream began before its token had ended")


@pytest.mark.parametrize(
    ("change", "expected"),
    [("UPDATE users SET is_active = false", 4401), ("DELETE FROM jobs", 4404)],
)
async def test_the_user_and_the_job_end_it(
    api: Listening, worker: Worker, token: str, engine: Engine, change: str, expected: int
) -> None:
    async with watching(api, worker.job_id, token) as socket:
        await socket.recv()
        with engine.begin() as connection:
            connection.execute(text(change))
        # Rather than wait for its next poll.
        api.state.events._read_now(worker.job_id)
        _, code, _ = await collect(socket)
    assert code == expected


# --- how it ends otherwise ------------------------------------------------------------------------


async def test_a_shutdown_ends_it(api: Listening, worker: Worker, token: str) -> None:
    async with watching(api, worker.job_id, token) as socket:
        await socket.recv()
        api.state.events.close()
        events, code, _ = await collect(socket)
    assert (events, code) == ([], 1012)


async def test_a_server_that_stops_waits_for_no_first_message(
    settings: Settings, worker: Worker, token: str
) -> None:
    async with listening(create_app(settings, KindRegistry([]))) as api:
        silent = await connect(address(api, worker.job_id), proxy=None)
        busy = await connect(address(api, worker.job_id), proxy=None)
        await busy.send(json.dumps({"access_token": token}))
        await busy.recv()
    # The server has ended within its context, long before the first message was due.
    for socket in silent, busy:
        assert (await collect(socket))[1] == 1012


async def test_a_client_that_leaves_is_watched_for_no_longer(
    api: Listening, worker: Worker, token: str
) -> None:
    async with watching(api, worker.job_id, token) as socket:
        await socket.recv()
        assert watchers(api) == 1
    await eventually(lambda: watchers(api) == 0)
    async with watching(api, worker.job_id, token) as socket:
        await socket.recv()
        socket.transport.abort()
        await eventually(lambda: watchers(api) == 0)


@pytest.mark.slow
async def test_a_client_that_has_vanished_is_watched_for_no_longer(
    settings: Settings, worker: Worker, token: str
) -> None:
    """Its connection stays open, and it reads nothing: no ping of ours is answered."""
    app = create_app(settings, KindRegistry([]))
    async with listening(app, ws_ping_interval=0.2, ws_ping_timeout=0.2) as api:
        reader, writer = await asyncio.open_connection(api.host, api.port)
        protocol = ClientProtocol(parse_uri(address(api, worker.job_id)))
        protocol.send_request(protocol.connect())
        writer.writelines(protocol.data_to_send())
        protocol.receive_data(await reader.readuntil(b"\r\n\r\n"))
        protocol.send_text(json.dumps({"access_token": token}).encode())
        writer.writelines(protocol.data_to_send())
        await eventually(lambda: watchers(api) == 1)
        await eventually(lambda: watchers(api) == 0)
        writer.close()


async def test_what_breaks_on_our_side(
    api: Listening, worker: Worker, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*arguments: object) -> None:
        raise RuntimeError("a mistake")

    async def refuse(*arguments: object) -> None:
        raise ConnectionRefusedError("the database is away")

    for where, failure, expected in ((jobs, crash, 1011), (auth, refuse, 1012)):
        with monkeypatch.context() as broken:
            broken.setattr(where, "get" if where is jobs else "identify", failure)
            async with watching(api, worker.job_id, token) as socket:
                events, code, reason = await collect(socket)
        assert (events, code) == ([], expected)
        assert "a mistake" not in reason
        assert "database" not in reason


async def test_one_line_in_the_log_and_no_token_in_it(
    api: Listening, owner: UUID, worker: Worker, token: str
) -> None:
    began = datetime.now(UTC)
    with structlog.testing.capture_logs(
        processors=[structlog.contextvars.merge_contextvars]
    ) as logged:
        async with opened(api, worker.job_id) as socket:
            assert socket.response is not None
            request_id = socket.response.headers["X-Request-Id"]
            await socket.send(json.dumps({"access_token": token}))
            await socket.recv()
            worker.claim()
            worker.succeed()
            await collect(socket)
        # What is no request's has no request_id: that the process is ready, for one.
        await eventually(lambda: [line for line in logged if "request_id" in line])
    [line] = [line for line in logged if "request_id" in line]
    assert len(line.pop("trace_id")) == 32
    assert line.pop("ms") <= (datetime.now(UTC) - began).total_seconds() * 1000 + 1
    assert line == {
        "event": "request",
        "log_level": "info",
        "method": "WEBSOCKET",
        "path": f"/api/v1/jobs/{worker.job_id}/events",
        "request_id": request_id,
        "route": "/api/v1/jobs/{job_id}/events",
        "status": 1000,
        "user_id": str(owner),
    }
