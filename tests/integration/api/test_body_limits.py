"""How much a body may hold: its bytes, its depth and its numbers, for every operation."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from pydantic import JsonValue
from sqlalchemy import Engine
from sqlalchemy import text as sql

from app.api.bodies import MAX_DEPTH, PUBLIC_LIMIT
from app.core.config import Settings
from app.jobs import JobContext, JobOptions, KindRegistry, job_kind
from app.main import create_app
from tests.integration.api.kinds import KINDS
from tests.integration.api.test_problems import ID, check

pytestmark = pytest.mark.anyio


class Note(JobOptions):
    note: JsonValue
    more: tuple[str, ...] = ()


class Kept(JobOptions):
    pass


@job_kind("note.keep", pool="io", timeout=30)
def keep(spec: Note, job: JobContext) -> Kept:
    """Keep a note, whatever its form is."""
    return Kept()


@pytest.fixture(scope="module")
def built(settings: Settings) -> FastAPI:
    return create_app(settings, KindRegistry([*KINDS.values(), keep]))


JSON = {"content-type": "application/json"}
COUNT = "/api/v1/jobs/word.count"
NOTE = "/api/v1/jobs/note.keep"
MIB = 1024 * 1024


def bounded(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if "requestBody" in operation:
                yield method.upper(), path, operation


def address(path: str) -> str:
    filled = path.replace("{item_id}", ID).replace("{user_id}", ID).replace("{job_id}", ID)
    return f"{filled}?name=x" if path == "/api/v1/files" else filled


def media_type(operation: dict[str, Any]) -> str:
    [found] = operation["requestBody"]["content"]
    return str(found)


async def in_chunks(size: int) -> AsyncIterator[bytes]:
    for start in range(0, size, 65536):
        yield b" " * min(65536, size - start)


@pytest.mark.slow
async def test_every_operation_keeps_to_the_limit_that_it_documents(
    app: FastAPI, client: AsyncClient, settings: Settings
) -> None:
    """A byte more is refused, declared or chunked; the limit itself is not."""
    limits = {}
    for method, path, operation in bounded(app.openapi()):
        limit = limits[method, path] = operation["x-max-body-bytes"]
        assert str(limit) in operation["responses"]["413"]["description"], path
        if path == "/api/v1/files":
            # Its own tests send as much.
            assert limit == settings.files.max_bytes
            continue
        headers = {"content-type": media_type(operation)}
        for content in (b" " * (limit + 1), in_chunks(limit + 1)):
            refused = await client.request(method, address(path), content=content, headers=headers)
            check(refused, 413, "request-too-large")
            assert str(limit) in refused.json()["detail"]
        for content in (b" " * limit, in_chunks(limit)):
            taken = await client.request(method, address(path), content=content, headers=headers)
            assert taken.status_code == 422, (path, taken.text)
    assert len(limits) > 10


async def test_an_operation_without_a_log_in_takes_16_kib(app: FastAPI) -> None:
    public = {
        path: operation["x-max-body-bytes"]
        for _, path, operation in bounded(app.openapi())
        if "security" not in operation
    }
    assert len(public) == 7
    assert set(public.values()) == {PUBLIC_LIMIT} == {16 * 1024}


@pytest.mark.parametrize("key", [None, "hl_0123456789abcdef_" + "x" * 43])
async def test_a_stranger_is_refused_before_a_long_body_is_read(
    app: FastAPI, anonymous: AsyncClient, key: str | None
) -> None:
    """Where a log-in is needed, a body beyond 16 KiB waits for it."""
    headers = JSON if key is None else {**JSON, "x-api-key": key}
    read = 0

    async def content() -> AsyncIterator[bytes]:
        nonlocal read
        async for chunk in in_chunks(MIB):
            read += len(chunk)
            yield chunk

    long = [found for found in bounded(app.openapi()) if found[2]["x-max-body-bytes"] >= 100_000]
    assert {"/api/v1/items", COUNT} <= {path for _, path, _ in long}
    for method, path, operation in long:
        if path != "/api/v1/files":
            assert "security" in operation
            read = 0
            response = await anonymous.request(
                method, address(path), content=content(), headers=headers
            )
            check(response, 401, "unauthorized")
            response = await anonymous.request(
                method, address(path), content=b" " * 20_000, headers=headers
            )
            check(response, 401, "unauthorized")


async def test_the_longest_item_fits(client: AsyncClient) -> None:
    """Each of its characters escaped as two surrogates."""
    item = {"title": "\U0001f600" * 200, "description": "\U0001f600" * 10_000}
    tags = [f"{n:02}" + "\U0001f600" * 48 for n in range(20)]
    response = await client.post("/api/v1/items", json=item | {"tags": tags})
    assert response.status_code == 201, response.text[:200]


BAD_BODIES = {
    "keys": b"{" + b",".join(b'"%d":1' % n for n in range(90_000)) + b"}",
    "lists": b"[" + b"[]," * 340_000 + b"[]]",
    "numbers": b"[" + b"1," * 520_000 + b"1]",
    "deep": b'{"refresh_token":' + b"[" * 500_000 + b"]" * 500_000 + b"}",
    "text": b'{"refresh_token":"' + b"\\u0000" * 170_000 + b'"}',
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
async def test_a_long_body_costs_a_refresh_no_more_than_a_short_one(
    anonymous: AsyncClient, body: bytes
) -> None:
    """CPU time of this thread: the client's own part is in it."""
    refresh = "/api/v1/auth/refresh"

    async def cost(content: bytes) -> float:
        begun = time.thread_time()
        response = await anonymous.post(refresh, content=content, headers=JSON)
        spent = time.thread_time() - begun
        assert response.status_code in (413, 422)
        return spent

    short = min([await cost(b"{}") for _ in range(5)])
    long = min([await cost(body) for _ in range(5)])
    assert long < short + 0.01, "of 400 ms to 900 ms before there was a limit"


# --- depth ----------------------------------------------------------------------------------------


def nested(levels: int) -> bytes:
    """A specification that is so deep, with its body's and its own level."""
    inner = levels - 2
    return b'{"spec": {"note": ' + b"[" * inner + b"]" * inner + b"}}"


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 255, 900])
async def test_too_deep_a_body_is_refused_by_its_limit(client: AsyncClient, levels: int) -> None:
    response = await client.post(NOTE, content=nested(levels), headers=JSON)
    check(response, 422, "invalid-input")
    [error] = response.json()["errors"]
    assert error["field"].startswith("body.spec.note")
    assert len(error["field"]) < 50
    assert f"{MAX_DEPTH} levels" in error["detail"]


async def test_a_depth_beyond_the_parser_names_the_limit(client: AsyncClient) -> None:
    for content in (nested(50_000), b"[" * 99_999):
        response = await client.post(NOTE, content=content, headers=JSON)
        problem = check(response, 400, "bad-request")
        assert f"{MAX_DEPTH} levels" in str(problem["detail"])


async def test_as_deep_as_the_limit_is_kept(client: AsyncClient) -> None:
    response = await client.post(NOTE, content=nested(MAX_DEPTH), headers=JSON)
    assert response.status_code == 202, response.text


async def test_brackets_side_by_side_are_not_deep(client: AsyncClient) -> None:
    content = b'{"spec": {"note": [' + b"[]," * 500 + b"{}]}}"
    response = await client.post(NOTE, content=content, headers=JSON)
    assert response.status_code == 202, response.text


async def test_brackets_in_text_are_not_deep(client: AsyncClient) -> None:
    response = await client.post(NOTE, json={"spec": {"note": "[{" * 500}})
    assert response.status_code == 202, response.text


# --- numbers --------------------------------------------------------------------------------------

UNSTORABLE = [
    "1e400", "-1e400", "1E+0400", "9" * 310 + ".0", "1" * 250 + "e99", "NaN", "Infinity",
    "-Infinity", "1" + "0" * 400, str(2**64), str(-(2**63) - 1), "7" * 5000,
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"spec": {"note": NUMBER}}', "body.spec.note"),
        ('{"spec": {"note": {"a": [1, {"b": NUMBER}]}}}', "body.spec.note.a.1.b"),
        ('{"spec": {"note": 1}, "priority": NUMBER}', "body.priority"),
        ("NUMBER", "body"),
    ],
)
async def test_a_number_that_json_has_not_is_refused_by_name(
    client: AsyncClient, body: str, field: str
) -> None:
    for number in UNSTORABLE:
        content = body.replace("NUMBER", number).encode()
        response = await client.post(NOTE, content=content, headers=JSON)
        check(response, 422, "invalid-input")
        [error] = response.json()["errors"]
        assert error["field"] == field, number
        assert "64 bits" in error["detail"] or "finite" in error["detail"], number


async def test_a_number_in_utf_16_is_refused_as_well(client: AsyncClient) -> None:
    content = '{"spec": {"note": 1e400}}'.encode("utf-16")
    response = await client.post(NOTE, content=content, headers=JSON)
    assert check(response, 422, "invalid-input")["errors"] != []


async def test_a_number_that_can_be_kept_is_kept(client: AsyncClient, engine: Engine) -> None:
    """And what only looks like one that can't is text."""
    numbers = ["1e308", "-1.7976931348623157e308", "1e-400", str(2**64 - 1), str(-(2**63)), "0.1"]
    text = ["1e400", "NaN", "9" * 99]
    content = f'{{"spec": {{"note": [{",".join(numbers)}], "more": {json.dumps(text)}}}}}'
    response = await client.post(NOTE, content=content.encode(), headers=JSON)
    assert response.status_code == 202, response.text
    with engine.connect() as connection:
        [kept] = connection.execute(sql("SELECT spec FROM jobs")).scalars()
    # PostgreSQL writes 1e308 as an integer of 309 digits.
    assert [float(number) for number in kept["note"]] == [float(number) for number in numbers]
    assert kept["more"] == text
