"""Uploads: streamed, counted as they are read, and leaving nothing behind when they fail."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import obstore
import pytest
from httpx2 import AsyncClient
from sqlalchemy import Engine, text

from app.core.config import Settings
from app.core.errors import UploadIncomplete, UploadTooSlow
from app.services import files
from app.services.files import IncomingBody
from tests.integration.files.conftest import MAX_BYTES
from tests.integration.listening import Listening, eventually

pytestmark = pytest.mark.anyio


def rows(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT * FROM files")))


def stored(folder: Path) -> list[Path]:
    """Everything that is on disk, also what a store's listing would leave out."""
    return [path for path in folder.rglob("*") if path.is_file()]


async def parts(*sizes: int) -> AsyncIterator[bytes]:
    for size in sizes:
        yield b"x" * size


async def test_a_small_file(client: AsyncClient, folder: Path, owner: UUID) -> None:
    response = await client.post("/files", params={"name": "a b.csv"}, content=b"n\n1\n")
    assert response.status_code == 201, response.text
    file = response.json()
    assert response.headers["Location"] == f"/api/v1/files/{file['id']}"
    assert file | {"id": 0, "created_at": 0, "expires_at": 0} == {
        "id": 0,
        "name": "a b.csv",
        "content_type": "text/csv",
        "size": 4,
        "sha256": hashlib.sha256(b"n\n1\n").hexdigest(),
        "created_at": 0,
        "expires_at": 0,
        "job_id": None,
    }
    assert (await client.get(response.headers["Location"].removeprefix("/api/v1"))).json() == file
    [path] = stored(folder)
    assert path.read_bytes() == b"n\n1\n"
    assert path.parent == folder / "files" / str(owner)


async def test_a_long_chunked_one_is_whole(client: AsyncClient, folder: Path) -> None:
    """Longer than a block and a part, and the limit itself."""
    response = await client.post(
        "/files", params={"name": "x"}, content=parts(100, MAX_BYTES - 200, 100)
    )
    assert response.status_code == 201, response.text
    assert response.json()["size"] == MAX_BYTES
    assert response.json()["sha256"] == hashlib.sha256(b"x" * MAX_BYTES).hexdigest()
    [path] = stored(folder)
    assert path.read_bytes() == b"x" * MAX_BYTES


async def test_an_empty_one(client: AsyncClient) -> None:
    file = (await client.post("/files", params={"name": "nothing"})).json()
    assert file["size"] == 0
    content = await client.get(f"/files/{file['id']}/content")
    assert (content.status_code, content.content) == (200, b"")


@pytest.mark.parametrize("sizes", [(MAX_BYTES + 1,), (100, MAX_BYTES - 100, 1)])
async def test_a_chunked_body_over_the_limit_leaves_nothing(
    client: AsyncClient, engine: Engine, folder: Path, sizes: tuple[int, ...]
) -> None:
    response = await client.post("/files", params={"name": "x"}, content=parts(*sizes))
    assert response.status_code == 413
    assert response.json()["type"].endswith("/file-too-large")
    assert rows(engine) == []
    assert stored(folder) == []


async def test_too_large_a_declaration_is_refused_before_the_body(
    api: Listening, settings: Settings, client: AsyncClient, engine: Engine
) -> None:
    reader, writer = await asyncio.open_connection(api.host, api.port)
    writer.write(
        b"POST /api/v1/files?name=x HTTP/1.1\r\nHost: test\r\n"
        + f"Authorization: {client.headers['Authorization']}\r\n".encode()
        + f"Content-Length: {MAX_BYTES + 1}\r\n\r\n".encode()
    )
    assert b" 413 " in await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert rows(engine) == []


@pytest.mark.parametrize("declared", [4, 6])
async def test_a_body_of_another_length_than_declared(
    api: Listening, engine: Engine, owner: UUID, folder: Path, declared: int
) -> None:
    """No HTTP server lets it through; whoever calls differently is refused as well."""
    body = IncomingBody(parts(2, 3), declared=declared, limit=MAX_BYTES)
    with pytest.raises(UploadIncomplete):
        await upload(api, owner, body)
    assert rows(engine) == []
    assert stored(folder) == []


async def upload(api: Listening, owner: UUID, body: IncomingBody) -> Any:
    state = api.state
    return await files.upload(
        state.sessions, state.store, state.settings.files, owner, name="x", body=body
    )


async def test_a_client_that_leaves_midway_leaves_nothing(
    api: Listening, client: AsyncClient, engine: Engine, folder: Path
) -> None:
    _, writer = await asyncio.open_connection(api.host, api.port)
    writer.write(
        b"POST /api/v1/files?name=x HTTP/1.1\r\nHost: test\r\n"
        + f"Authorization: {client.headers['Authorization']}\r\n".encode()
        + f"Content-Length: {MAX_BYTES}\r\n\r\n".encode()
    )
    writer.write(b"x" * (MAX_BYTES - 1))
    await writer.drain()
    await eventually(lambda: stored(folder))
    [row] = rows(engine)
    assert row.state == "pending"
    # The row was there before the first byte, and nobody holds a connection while it streams.
    assert api.state.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    writer.close()
    await writer.wait_closed()
    await eventually(lambda: not rows(engine) and not stored(folder))


async def test_no_connection_is_held_while_a_body_streams(
    api: Listening, client: AsyncClient
) -> None:
    held: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        for _ in range(7):
            yield b"x" * 1_000_000
            held.append(api.state.engine.pool.checkedout())  # type: ignore[attr-defined]

    response = await client.post("/files", params={"name": "x"}, content=body())
    assert response.status_code == 201
    # Server and client share the loop: the one transaction that the upload begins with may be
    # seen, one that stays open would be seen to the end.
    assert held[-1] == 0


async def test_an_upload_that_was_swept_meanwhile(
    api: Listening, engine: Engine, owner: UUID, folder: Path
) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        await eventually(lambda: rows(engine))
        with engine.begin() as connection:
            connection.execute(text("UPDATE files SET state = 'deleting'"))
        yield b"x" * 2_000_000

    with pytest.raises(UploadTooSlow):
        await upload(api, owner, IncomingBody(body(), declared=None, limit=MAX_BYTES))
    assert rows(engine) == []
    assert stored(folder) == []


async def test_a_store_that_fails(
    client: AsyncClient, engine: Engine, owner: UUID, folder: Path
) -> None:
    # No folder can be made where a file is.
    (folder / "files").touch()
    response = await client.post("/files", params={"name": "x"}, content=b"1")
    assert response.status_code == 503
    assert response.json()["type"].endswith("/unavailable")
    # What could not be removed is named by a row, which is swept when it expires.
    assert [row.state for row in rows(engine)] == ["pending"]


async def test_a_failure_after_the_bytes_are_there(
    api: Listening,
    engine: Engine,
    owner: UUID,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = obstore.put_async

    async def put_and_lose_the_row(*args: Any, **options: Any) -> Any:
        result = await real(*args, **options)
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE files RENAME COLUMN size TO gone"))
        return result

    monkeypatch.setattr(obstore, "put_async", put_and_lose_the_row)
    try:
        with pytest.raises(Exception, match="size"):
            await upload(api, owner, IncomingBody(parts(5), declared=5, limit=MAX_BYTES))
    finally:
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE files RENAME COLUMN gone TO size"))
    assert rows(engine) == []
    assert stored(folder) == []


async def test_a_name_that_is_a_path(client: AsyncClient, engine: Engine) -> None:
    response = await client.post("/files", params={"name": "a/b"}, content=b"1")
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "query.name"
    assert rows(engine) == []


async def test_without_a_token(api: Listening, engine: Engine) -> None:
    async with api.client() as anonymous:
        response = await anonymous.post("/files", params={"name": "x"}, content=b"1")
    assert response.status_code == 401
    assert rows(engine) == []


async def test_the_content_type_is_read_off_the_bytes(client: AsyncClient) -> None:
    response = await client.post(
        "/files",
        params={"name": "evil.html"},
        content=b"\x89PNG\r\n\x1a\n" + bytes(20),
        headers={"Content-Type": "text/html"},
    )
    assert response.json()["content_type"] == "image/png"


async def test_a_stranger_sees_nothing(
    client: AsyncClient, stranger: AsyncClient, make_owner: Callable[..., UUID]
) -> None:
    file = (await client.post("/files", params={"name": "x"}, content=b"1")).json()
    for method, path in [
        ("GET", f"/files/{file['id']}"),
        ("GET", f"/files/{file['id']}/content"),
        ("HEAD", f"/files/{file['id']}/content"),
        ("DELETE", f"/files/{file['id']}"),
    ]:
        assert (await stranger.request(method, path)).status_code == 404
    assert (await stranger.get("/files")).json() == {"items": [], "next_cursor": None}
    assert (await client.get(f"/files/{file['id']}")).status_code == 200
