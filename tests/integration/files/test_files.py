"""Stored files: read, listed, kept from deletion while a job needs them."""

import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import obstore
import pytest
from httpx2 import AsyncClient
from sqlalchemy import Connection, Engine, text

from app.core.errors import FileInUse
from app.models.job import JobState
from app.services import files, ledger
from app.services.ledger import Outcome, Submission
from tests.integration.files.test_upload import stored
from tests.integration.listening import Listening
from tests.ledger_view import KEEP

pytestmark = pytest.mark.anyio


@pytest.fixture
def add(client: AsyncClient) -> Callable[..., Awaitable[str]]:
    """Upload a file: its id."""

    async def add(content: bytes = b"0123456789", name: str = "x.txt") -> str:
        response = await client.post("/files", params={"name": name}, content=content)
        assert response.status_code == 201, response.text
        file: str = response.json()["id"]
        return file

    return add


def accept(connection: Connection, owner: UUID, *needed: str) -> UUID | None:
    return ledger.accept(
        connection,
        Submission(
            owner_id=owner,
            kind="a.b",
            pool="cpu",
            max_tries=3,
            spec="{}",
            files=[UUID(file) for file in needed],
        ),
    )


def expire(engine: Engine, file: str) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE files SET expires_at = clock_timestamp() WHERE id = :id"), {"id": file}
        )


async def test_a_download_is_an_attachment(
    client: AsyncClient, add: Callable[..., Awaitable[str]]
) -> None:
    response = await client.get(f"/files/{await add(name='Ä “b”.txt')}/content")
    assert response.status_code == 200
    assert response.content == b"0123456789"
    assert response.headers["Content-Length"] == "10"
    assert response.headers["Content-Type"].startswith("text/plain")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["Content-Disposition"] == (
        "attachment; filename=\"_ _b_.txt\"; filename*=UTF-8''%C3%84%20%E2%80%9Cb%E2%80%9D.txt"
    )


@pytest.mark.parametrize(
    ("stored_as", "sent_as", "shown"),
    [
        ("text/html", "application/octet-stream", "attachment"),
        ("text/html; charset=utf-8", "application/octet-stream", "attachment"),
        ("image/svg+xml", "application/octet-stream", "attachment"),
        ("application/pdf", "application/pdf", "attachment"),
        ("text/csv", "text/csv; charset=utf-8", "attachment"),
        ("image/png", "image/png", "inline"),
    ],
)
async def test_a_file_runs_nothing_in_a_browser(
    client: AsyncClient,
    add: Callable[..., Awaitable[str]],
    engine: Engine,
    stored_as: str,
    sent_as: str,
    shown: str,
) -> None:
    """Whatever type its row has: an older release, or a job kind, has given it that."""
    file = await add()
    with engine.begin() as connection:
        connection.execute(text("UPDATE files SET content_type = :type"), {"type": stored_as})
    path = f"/files/{file}/content"
    etag = {"If-None-Match": (await client.get(path)).headers["ETag"]}
    for answer in (
        await client.get(path),
        await client.head(path),
        await client.get(path, headers={"Range": "bytes=0-3"}),
        await client.get(path, headers=etag),
    ):
        policy = answer.headers["Content-Security-Policy"].split("; ")
        assert "sandbox" in policy
        assert "default-src 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Disposition"].partition(";")[0] == shown
        assert answer.headers["Cache-Control"] == "private, no-store"
        if answer.status_code != 304:
            assert answer.headers["Content-Type"] == sent_as


async def test_one_range(client: AsyncClient, add: Callable[..., Awaitable[str]]) -> None:
    path = f"/files/{await add()}/content"
    response = await client.get(path, headers={"Range": "bytes=2-5"})
    assert (response.status_code, response.content) == (206, b"2345")
    assert response.headers["Content-Range"] == "bytes 2-5/10"
    assert response.headers["Content-Length"] == "4"
    response = await client.get(path, headers={"Range": "bytes=10-"})
    assert response.status_code == 416
    assert response.headers["Content-Range"] == "bytes */10"
    assert response.json()["type"].endswith("/range-not-satisfiable")


async def test_validators(client: AsyncClient, add: Callable[..., Awaitable[str]]) -> None:
    path = f"/files/{await add()}/content"
    etag = (await client.get(path)).headers["ETag"]
    part = {"Range": "bytes=0-3"}
    assert (await client.get(path, headers=part | {"If-Range": etag})).content == b"0123"
    whole = await client.get(path, headers=part | {"If-Range": '"another"'})
    assert (whole.status_code, whole.content) == (200, b"0123456789")
    known = await client.get(path, headers={"If-None-Match": f'"other", W/{etag}'})
    assert (known.status_code, known.content) == (304, b"")
    assert (await client.get(path, headers={"If-None-Match": '"other"'})).status_code == 200


async def test_head(client: AsyncClient, add: Callable[..., Awaitable[str]]) -> None:
    path = f"/files/{await add()}/content"
    whole = await client.head(path)
    assert (whole.status_code, whole.content) == (200, b"")
    assert whole.headers["Content-Length"] == "10"


@pytest.mark.parametrize("asked", ["bytes=-4", "bytes=2-5", "bytes=0-", "bytes=10-", "bytes=99-"])
async def test_head_ignores_range(
    client: AsyncClient, add: Callable[..., Awaitable[str]], asked: str
) -> None:
    """RFC 9110, section 14.2: Range is defined for GET alone."""
    whole = await client.head(f"/files/{await add()}/content", headers={"Range": asked})
    assert (whole.status_code, whole.content) == (200, b"")
    assert whole.headers["Content-Length"] == "10"
    assert "Content-Range" not in whole.headers


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_if_match_on_content(
    client: AsyncClient, add: Callable[..., Awaitable[str]], method: str
) -> None:
    path = f"/files/{await add()}/content"
    etag = (await client.head(path)).headers["ETag"]

    async def status(**headers: str) -> int:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        response = await client.request(method, path, headers=sent)
        if method == "GET" and response.status_code == 412:
            assert response.json()["type"].endswith("/precondition-failed")
        return response.status_code

    assert await status(If_Match=etag) == 200
    assert await status(If_Match=f'"other", {etag}') == 200
    assert await status(If_Match="*") == 200
    assert await status(If_Match='"other"') == 412
    # Strong comparison; and a broken list matches nothing.
    assert await status(If_Match=f"W/{etag}") == 412
    assert await status(If_Match="other") == 412
    # RFC 9110, section 13.2.2: before If-None-Match, and before Range.
    assert await status(If_Match='"other"', If_None_Match=etag) == 412
    assert await status(If_Match=etag, If_None_Match=etag) == 304
    assert await status(If_Match='"other"', Range="bytes=10-") == 412
    assert await status(If_Match=etag, Range="bytes=0-3") == (206 if method == "GET" else 200)
    # Section 13.1.4: content has no modification date, so its condition is ignored.
    assert await status(If_Unmodified_Since="Thu, 01 Jan 1970 00:00:00 GMT") == 200


async def test_the_lines_of_a_condition_on_content_are_one_list(
    client: AsyncClient, add: Callable[..., Awaitable[str]]
) -> None:
    """RFC 9110, section 5.3."""
    path = f"/files/{await add()}/content"
    etag = (await client.head(path)).headers["ETag"]

    async def status(name: str, *lines: str) -> int:
        return (await client.get(path, headers=[(name, line) for line in lines])).status_code

    assert await status("If-Match", '"other"', etag) == 200
    assert await status("If-Match", '"other"', '"another"') == 412
    assert await status("If-None-Match", '"other"', f"W/{etag}") == 304
    assert await status("If-None-Match", '"other"', '"another"') == 200


async def test_no_connection_is_held_while_a_file_streams(
    api: Listening, client: AsyncClient, add: Callable[..., Awaitable[str]]
) -> None:
    file = await add(b"x" * 8_000_000)
    async with client.stream("GET", f"/files/{file}/content") as response:
        held = [
            api.state.engine.pool.checkedout()  # type: ignore[attr-defined]
            async for _ in response.aiter_bytes()
        ]
    assert len(held) > 10
    assert set(held) == {0}


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"012")])
async def test_lost_bytes_are_said_before_the_first_one(
    client: AsyncClient,
    add: Callable[..., Awaitable[str]],
    folder: Path,
    damage: Callable[[Path], object],
) -> None:
    file = await add()
    damage(stored(folder)[0])
    for method in ("GET", "HEAD"):
        response = await client.request(method, f"/files/{file}/content")
        assert response.status_code == 410


async def test_an_expired_file_is_gone_and_not_listed(
    client: AsyncClient, engine: Engine, add: Callable[..., Awaitable[str]]
) -> None:
    file = await add()
    expire(engine, file)
    assert (await client.get(f"/files/{file}")).status_code == 410
    assert (await client.get(f"/files/{file}/content")).status_code == 410
    assert (await client.get("/files")).json()["items"] == []


async def test_a_file_that_a_job_needs_neither_expires_nor_goes(
    client: AsyncClient, engine: Engine, owner: UUID, add: Callable[..., Awaitable[str]]
) -> None:
    file = await add()
    with engine.begin() as connection:
        job = accept(connection, owner, file)
    assert job is not None
    expire(engine, file)
    assert (await client.get(f"/files/{file}/content")).status_code == 200
    assert [item["id"] for item in (await client.get("/files")).json()["items"]] == [file]
    refused = await client.delete(f"/files/{file}")
    assert refused.status_code == 409
    assert refused.json()["type"].endswith("/file-in-use")
    with engine.begin() as connection:
        ledger.finish(
            connection,
            job,
            Outcome(JobState.CANCELLED),
            attempt=None,
            from_states=[JobState.QUEUED],
            keep=KEEP,
        )
    assert (await client.delete(f"/files/{file}")).status_code == 204


async def test_a_deleted_file_is_not_there(
    client: AsyncClient, engine: Engine, owner: UUID, add: Callable[..., Awaitable[str]]
) -> None:
    file = await add()
    assert (await client.delete(f"/files/{file}")).status_code == 204
    assert (await client.get(f"/files/{file}")).status_code == 404
    assert (await client.get(f"/files/{file}/content")).status_code == 404
    assert (await client.delete(f"/files/{file}")).status_code == 404
    assert (await client.get("/files")).json()["items"] == []
    with engine.begin() as connection:
        assert accept(connection, owner, file) is None


async def test_a_delete_waits_for_a_job_that_is_being_accepted(
    api: Listening, engine: Engine, owner: UUID, add: Callable[..., Awaitable[str]]
) -> None:
    """The delete's first statement began before the job's commit, and must still see its hold."""
    file = await add()
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND datname = current_database()"
    )
    held = threading.Event()

    def hold() -> None:
        with engine.begin() as connection:
            assert accept(connection, owner, file) is not None
            held.set()
            with engine.connect() as other:
                while not other.execute(waiting).scalar_one():
                    other.rollback()

    job = threading.Thread(target=hold)
    job.start()
    held.wait()
    with pytest.raises(FileInUse):
        async with api.state.sessions.begin() as session:
            await files.remove_file(session, owner, UUID(file))
    job.join()


async def test_pages_newest_first(client: AsyncClient, add: Callable[..., Awaitable[str]]) -> None:
    added = [await add(bytes([i]), f"{i}") for i in range(5)]
    seen: list[str] = []
    page: dict[str, Any] = {"next_cursor": None}
    while True:
        cursor = {} if page["next_cursor"] is None else {"cursor": page["next_cursor"]}
        page = (await client.get("/files", params={"limit": 2, **cursor})).json()
        assert len(page["items"]) <= 2
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
    assert seen == added[::-1]


async def test_the_outputs_of_one_job(
    client: AsyncClient, engine: Engine, owner: UUID, add: Callable[..., Awaitable[str]]
) -> None:
    await add()
    output = await add()
    with engine.begin() as connection:
        job = accept(connection, owner)
        connection.execute(
            text("UPDATE files SET job_id = :job, attempt = 1 WHERE id = :id"),
            {"job": job, "id": output},
        )
    response = await client.get("/files", params={"job_id": str(job)})
    assert [(item["id"], item["job_id"]) for item in response.json()["items"]] == [
        (output, str(job))
    ]
    unknown = await client.get("/files", params={"nmae": "x"})
    assert unknown.status_code == 422


async def test_a_pending_file_is_nobodys(
    api: Listening, client: AsyncClient, engine: Engine, owner: UUID
) -> None:
    with engine.begin() as connection:
        file = connection.execute(
            text(
                "INSERT INTO files (owner_id, key, name, content_type, expires_at) VALUES"
                " (:owner, 'files/k', 'n', 't', clock_timestamp() + interval '1 h') RETURNING id"
            ),
            {"owner": owner},
        ).scalar_one()
    await obstore.put_async(api.state.store, "files/k", b"half")
    for method, path in [
        ("GET", f"/files/{file}"),
        ("GET", f"/files/{file}/content"),
        ("DELETE", f"/files/{file}"),
    ]:
        assert (await client.request(method, path)).status_code == 404
    assert (await client.get("/files")).json()["items"] == []
