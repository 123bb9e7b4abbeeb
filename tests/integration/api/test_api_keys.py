"""API keys: shown once, kept as a hash, good for all but the account itself."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import anyio
import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy import Engine, event, text
from starlette.types import ASGIApp

from tests.integration.api.conftest import connect
from tests.integration.listening import eventually

pytestmark = pytest.mark.anyio

KEYS = "/api/v1/auth/api-keys"
ME = "/api/v1/users/me"


async def make(client: AsyncClient, **body: object) -> dict[str, Any]:
    response = await client.post(KEYS, json={"name": "ci", **body})
    assert response.status_code == 201, response.text
    assert response.headers["cache-control"] == "private, no-store"
    key: dict[str, Any] = response.json()
    return key


async def status(anonymous: AsyncClient, key: str) -> int:
    response = await anonymous.get(ME, headers={"X-API-Key": key})
    if response.status_code == 401:
        assert response.json()["type"].endswith("/unauthorized")
    return response.status_code


async def test_a_key_is_shown_once_and_opens_what_its_user_may(
    client: AsyncClient, anonymous: AsyncClient, engine: Engine
) -> None:
    made = await make(client)
    assert made["key"].startswith(f"hl_{made['prefix']}_")
    assert (made["name"], made["expires_at"], made["last_used_at"]) == ("ci", None, None)
    key = {"X-API-Key": made["key"]}
    assert (await anonymous.get(ME, headers=key)).json() == (await client.get(ME)).json()
    submitted = await anonymous.post(
        "/api/v1/jobs/word.count", json={"spec": {"words": "a"}}, headers=key
    )
    assert submitted.status_code == 202
    # What streams, too.
    uploaded = await anonymous.post("/api/v1/files?name=a", content=b"a", headers=key)
    assert uploaded.status_code == 201
    [listed] = (await client.get(KEYS)).json()["items"]
    assert listed.keys() == made.keys() - {"key"}
    with engine.connect() as connection:
        [row] = connection.execute(text("SELECT * FROM api_keys"))
    assert made["key"] not in str(row)
    assert sha256(made["key"].encode()).digest() in list(row)


async def test_every_operation_takes_a_token_or_a_key(app: FastAPI) -> None:
    schemes = app.openapi()["components"]["securitySchemes"]
    assert schemes["APIKeyHeader"] | {"description": ""} == {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "",
    }
    secured = [
        operation["security"]
        for methods in app.openapi()["paths"].values()
        for operation in methods.values()
        if "security" in operation
    ]
    assert len(secured) > 20
    for security in secured:
        assert sorted(map(list, security)) == [["APIKeyHeader"], ["OAuth2PasswordBearer"]]


async def test_a_deleted_key_opens_nothing(client: AsyncClient, anonymous: AsyncClient) -> None:
    kept, deleted = await make(client), await make(client)
    assert (await client.delete(f"{KEYS}/{deleted['id']}")).status_code == 204
    assert await status(anonymous, deleted["key"]) == 401
    assert await status(anonymous, kept["key"]) == 200
    assert (await client.delete(f"{KEYS}/{deleted['id']}")).status_code == 404


async def test_a_key_expires(client: AsyncClient, anonymous: AsyncClient, engine: Engine) -> None:
    begun = datetime.now(UTC)
    made = await make(client, expires_in=3600)
    expires_at = datetime.fromisoformat(made["expires_at"])
    assert timedelta(minutes=59) < expires_at - begun < timedelta(minutes=61)
    named = await make(client, expires_at="2999-01-01T01:00:00+01:00")
    assert datetime.fromisoformat(named["expires_at"]) == datetime(2999, 1, 1, tzinfo=UTC)
    assert await status(anonymous, made["key"]) == 200
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE api_keys SET expires_at = clock_timestamp() WHERE id = :id"),
            {"id": made["id"]},
        )
    assert await status(anonymous, made["key"]) == 401
    assert await status(anonymous, named["key"]) == 200
    # It is still listed, so that one sees why.
    assert len((await client.get(KEYS)).json()["items"]) == 2


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "body.name"),
        ({"name": "  "}, "body.name"),
        ({"name": "a" * 101}, "body.name"),
        ({"expires_in": 0}, "body.expires_in"),
        ({"expires_in": 10**10}, "body.expires_in"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "body.expires_at"),
        ({"expires_at": "2999-01-01T00:00:00"}, "body.expires_at"),
        ({"expires_at": "0001-01-01T00:00:00+10:00"}, "body.expires_at"),
        ({"expires_in": 60, "expires_at": "2999-01-01T00:00:00Z"}, "body"),
    ],
)
async def test_what_makes_no_key_is_told_why(
    client: AsyncClient, body: dict[str, object], field: str
) -> None:
    response = await client.post(KEYS, json={"name": "ci", **body})
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]
    assert (await client.get(KEYS)).json()["items"] == []


async def test_only_our_own_keys_open(client: AsyncClient, anonymous: AsyncClient) -> None:
    made, other = await make(client), await make(client)
    secret = made["key"].removeprefix(f"hl_{made['prefix']}_")
    for forged in (
        "",
        "hl_",
        "x",
        made["prefix"],
        made["key"][:-1],
        made["key"] + "A",
        made["key"][:-1] + ("A" if made["key"][-1] != "A" else "B"),
        f"hl_{other['prefix']}_{secret}",
        f"hl_{'0' * 12}_{secret}",
    ):
        assert await status(anonymous, forged) == 401, forged


async def test_a_token_goes_before_a_key(
    client: AsyncClient, stranger: AsyncClient, anonymous: AsyncClient
) -> None:
    key = {"X-API-Key": (await make(client))["key"]}
    response = await stranger.get(ME, headers=key)
    assert response.json()["email"] == "eve@example.com"
    response = await anonymous.get(ME, headers=key | {"Authorization": "Bearer x"})
    assert response.status_code == 401


async def test_a_key_is_its_owners_alone(client: AsyncClient, stranger: AsyncClient) -> None:
    made = await make(client)
    assert (await stranger.get(KEYS)).json()["items"] == []
    assert (await stranger.delete(f"{KEYS}/{made['id']}")).status_code == 404
    assert len((await client.get(KEYS)).json()["items"]) == 1


async def test_a_key_is_as_good_as_its_user(
    client: AsyncClient, anonymous: AsyncClient, engine: Engine
) -> None:
    key = (await make(client))["key"]
    for active, expected in ((False, 401), (True, 200)):
        with engine.begin() as connection:
            connection.execute(text("UPDATE users SET is_active = :a"), {"a": active})
        assert await status(anonymous, key) == expected


async def test_no_key_can_become_the_account(client: AsyncClient, served: ASGIApp) -> None:
    key = (await make(client))["key"]
    password = "correct horse battery staple"
    async with connect(served) as program:
        program.headers["X-API-Key"] = key
        for method, path, body in (
            ("POST", KEYS, {"name": "more"}),
            ("PATCH", ME, {"full_name": "Eve"}),
            ("POST", f"{ME}/password", {"current_password": password, "new_password": password}),
            ("DELETE", ME, {"password": password}),
        ):
            response = await program.request(method, path, json=body)
            assert response.status_code == 403, f"{method} {path}"
            assert response.json()["type"].endswith("/forbidden")
        # It may well give itself up.
        [listed] = (await program.get(KEYS)).json()["items"]
        assert (await program.delete(f"{KEYS}/{listed['id']}")).status_code == 204
        assert (await program.get(ME)).status_code == 401


async def test_its_last_use_is_written_once_a_minute(
    client: AsyncClient, anonymous: AsyncClient, engine: Engine
) -> None:
    made = await make(client)
    writes: list[str] = []

    def note(connection: object, cursor: object, statement: str, *rest: object) -> None:
        if statement.lstrip().startswith("UPDATE api_keys"):
            writes.append(statement)

    def last_used_at() -> datetime | None:
        with engine.connect() as connection:
            statement = "SELECT last_used_at FROM api_keys"
            moment: datetime | None = connection.execute(text(statement)).scalar_one()
        return moment

    event.listen(Engine, "before_cursor_execute", note)
    try:
        await status(anonymous, made["key"])
        await eventually(lambda: last_used_at() is not None)
        first = last_used_at()
        written = len(writes)
        for _ in range(5):
            await status(anonymous, made["key"])
        assert len(writes) == written
        assert last_used_at() == first
        # A minute later it is again.
        with engine.begin() as connection:
            connection.execute(
                text("UPDATE api_keys SET last_used_at = last_used_at - interval '61 s'")
            )
        await status(anonymous, made["key"])
        assert first is not None
        await eventually(lambda: (last_used_at() or first) >= first)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    [listed] = (await client.get(KEYS)).json()["items"]
    assert listed["last_used_at"] is not None


async def test_no_request_waits_for_that_to_be_written(
    client: AsyncClient,
    anonymous: AsyncClient,
    engine: Engine,
    make_owner: Callable[..., object],
) -> None:
    made, other = await make(client), await make(client)
    with engine.begin() as connection:
        # Somebody holds the row: what would be written waits for nobody, either.
        connection.execute(
            text("SELECT FROM api_keys WHERE id = :id FOR UPDATE"), {"id": made["id"]}
        )
        with anyio.fail_after(5):
            assert await status(anonymous, made["key"]) == 200
            assert await status(anonymous, other["key"]) == 200

        def written() -> list[object]:
            with engine.connect() as reading:
                statement = "SELECT id FROM api_keys WHERE last_used_at IS NOT NULL"
                return [str(key) for key in reading.execute(text(statement)).scalars()]

        await eventually(lambda: written() == [other["id"]])
