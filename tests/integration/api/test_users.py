"""One's own account, and other people's for who is an admin."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest
from httpx2 import AsyncClient
from sqlalchemy import Engine, text
from starlette.types import ASGIApp

from app.services.users import PasswordCheck
from tests.integration.api.conftest import a_statement_waits, connect

pytestmark = pytest.mark.anyio

USERS = "/api/v1/users"
ME = f"{USERS}/me"

PASSWORD = "correct horse battery staple"
OTHER_PASSWORD = "wrong donkey battery staple"


async def log_in(http: AsyncClient, email: str, password: str = PASSWORD) -> dict[str, Any] | None:
    form = {"username": email, "password": password}
    response = await http.post("/api/v1/auth/login", data=form)
    assert response.status_code in (200, 401), response.text
    tokens: dict[str, Any] = response.json()
    return tokens if response.status_code == 200 else None


@pytest.fixture
async def ada(served: ASGIApp, anonymous: AsyncClient) -> AsyncIterator[AsyncClient]:
    """Registered, with a password, and logged in."""
    body = {"email": "ada@example.com", "password": PASSWORD}
    assert (await anonymous.post(USERS, json=body)).status_code == 201
    async with logged_in(served) as client:
        yield client


@asynccontextmanager
async def logged_in(served: ASGIApp) -> AsyncIterator[AsyncClient]:
    """Ada, in a session of its own."""
    async with connect(served) as client:
        tokens = await log_in(client, "ada@example.com")
        assert tokens is not None
        client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        yield client


# --- one's own ------------------------------------------------------------------------------------


async def test_a_name_is_given_and_taken_away(ada: AsyncClient) -> None:
    before = (await ada.get(ME)).json()
    changed = await ada.patch(ME, json={"full_name": "  Ada Lovelace "})
    assert changed.json() == before | {"full_name": "Ada Lovelace"}
    assert (await ada.patch(ME, json={})).json() == changed.json()
    assert (await ada.get(ME)).json() == changed.json()
    assert (await ada.patch(ME, json={"full_name": None})).json() == before


async def test_another_address_needs_the_password_that_is_the_users_by_then(
    ada: AsyncClient, served: ASGIApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who had the old password is not to have the account once it has been changed."""
    confirm = PasswordCheck.confirm

    async def confirm_then_change(
        check: PasswordCheck, user_id: UUID, password: str, *, field: str
    ) -> str:
        confirmed = await confirm(check, user_id, password, field=field)
        monkeypatch.undo()
        async with logged_in(served) as other:
            change = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
            assert (await other.post(f"{ME}/password", json=change)).status_code == 204
        return confirmed

    monkeypatch.setattr(PasswordCheck, "confirm", confirm_then_change)
    change = {"email": "thief@example.com", "current_password": PASSWORD}
    response = await ada.patch(ME, json=change)
    assert response.status_code == 403
    assert response.json()["type"].endswith("/wrong-password")


async def test_another_address_needs_the_password(ada: AsyncClient, anonymous: AsyncClient) -> None:
    new = {"email": "countess@example.com"}
    response = await ada.patch(ME, json=new)
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "body.current_password"
    response = await ada.patch(ME, json=new | {"current_password": OTHER_PASSWORD})
    assert response.status_code == 403
    assert response.json()["type"].endswith("/wrong-password")
    assert response.json()["errors"][0]["field"] == "body.current_password"
    assert await log_in(anonymous, "countess@example.com") is None
    response = await ada.patch(ME, json=new | {"current_password": PASSWORD})
    assert response.json()["email"] == "countess@example.com"
    assert await log_in(anonymous, "ada@example.com") is None
    assert await log_in(anonymous, "countess@example.com") is not None


async def test_an_address_that_is_taken_is_not_given_away(
    ada: AsyncClient, anonymous: AsyncClient, make_owner: Callable[..., UUID]
) -> None:
    make_owner(email="bob@example.com")
    body = {"email": "BOB@example.com", "current_password": PASSWORD, "full_name": "Bob"}
    response = await ada.patch(ME, json=body)
    assert response.status_code == 409
    assert response.json()["type"].endswith("/email-taken")
    me = (await ada.get(ME)).json()
    assert (me["email"], me["full_name"]) == ("ada@example.com", None)
    # One's own, written otherwise, is not.
    body = {"email": "Ada@Example.com", "current_password": PASSWORD}
    assert (await ada.patch(ME, json=body)).json()["email"] == "Ada@example.com"


async def test_a_new_password_ends_all_other_sessions(
    ada: AsyncClient, served: ASGIApp, anonymous: AsyncClient
) -> None:
    async with logged_in(served) as phone:
        made = await ada.post("/api/v1/auth/api-keys", json={"name": "ci"})
        change = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
        assert (await ada.post(f"{ME}/password", json=change)).status_code == 204
        assert (await phone.get(ME)).status_code == 401
    assert (await ada.get(ME)).status_code == 200
    key = {"X-API-Key": made.json()["key"]}
    assert (await anonymous.get(ME, headers=key)).status_code == 200
    assert await log_in(anonymous, "ada@example.com") is None
    assert await log_in(anonymous, "ada@example.com", OTHER_PASSWORD) is not None


async def test_the_wrong_password_changes_nothing(
    ada: AsyncClient, served: ASGIApp, anonymous: AsyncClient
) -> None:
    async with logged_in(served) as phone:
        change = {"current_password": OTHER_PASSWORD, "new_password": OTHER_PASSWORD}
        response = await ada.post(f"{ME}/password", json=change)
        assert response.status_code == 403
        assert response.json()["type"].endswith("/wrong-password")
        assert (await phone.get(ME)).status_code == 200
    assert await log_in(anonymous, "ada@example.com") is not None


async def test_of_two_changes_at_once_one_counts(ada: AsyncClient, anonymous: AsyncClient) -> None:
    statuses: dict[str, int] = {}

    async def change(password: str) -> None:
        body = {"current_password": PASSWORD, "new_password": password}
        statuses[password] = (await ada.post(f"{ME}/password", json=body)).status_code

    async with anyio.create_task_group() as tasks:
        for n in range(4):
            tasks.start_soon(change, f"{OTHER_PASSWORD} {n}")
    assert sorted(statuses.values()) == [204, 403, 403, 403]
    for password, status in statuses.items():
        assert (await log_in(anonymous, "ada@example.com", password) is None) == (status == 403)


async def test_a_log_in_under_way_does_not_outlive_a_new_password(
    ada: AsyncClient, anonymous: AsyncClient, engine: Engine
) -> None:
    """It found the old hash; then the password was changed; only then does its session begin."""
    tokens: list[dict[str, Any] | None] = []

    async def log_in_meanwhile() -> None:
        tokens.append(await log_in(anonymous, "ada@example.com"))

    with engine.connect() as connection:
        # As `change_password` does, not committed yet.
        connection.execute(text("UPDATE users SET password_hash = 'another'"))
        connection.execute(text("DELETE FROM sessions"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(log_in_meanwhile)
            await a_statement_waits(engine)
            connection.commit()
    assert tokens == [None]


async def test_who_leaves_is_out_at_once_and_their_address_free(
    ada: AsyncClient, served: ASGIApp, anonymous: AsyncClient, engine: Engine
) -> None:
    key = (await ada.post("/api/v1/auth/api-keys", json={"name": "ci"})).json()["key"]
    await ada.patch(ME, json={"full_name": "Ada Lovelace"})
    response = await ada.request("DELETE", ME, json={"password": OTHER_PASSWORD})
    assert response.status_code == 403
    assert response.json()["errors"][0]["field"] == "body.password"
    async with logged_in(served) as phone:
        response = await ada.request("DELETE", ME, json={"password": PASSWORD})
        assert (response.status_code, response.content) == (204, b"")
        assert (await phone.get(ME)).status_code == 401
    assert (await ada.get(ME)).status_code == 401
    assert (await anonymous.get(ME, headers={"X-API-Key": key})).status_code == 401
    assert await log_in(anonymous, "ada@example.com") is None
    with engine.connect() as connection:
        row = connection.execute(text("SELECT * FROM users")).one()
    # ("ada" alone may be part of an id.)
    for name in ("ada@", "ada lovelace"):
        assert name not in str(row).lower()
    assert "argon2" not in str(row)
    # It is another's now.
    body = {"email": "ada@example.com", "password": PASSWORD}
    assert (await anonymous.post(USERS, json=body)).status_code == 201


async def test_one_leaves_once(ada: AsyncClient) -> None:
    statuses: list[int] = []

    async def leave() -> None:
        response = await ada.request("DELETE", ME, json={"password": PASSWORD})
        statuses.append(response.status_code)

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(leave)
    assert statuses.count(204) == 1
    assert set(statuses) <= {204, 401, 403}


# --- the admin's ----------------------------------------------------------------------------------


async def test_what_is_for_admins_is_for_nobody_else(
    client: AsyncClient, make_owner: Callable[..., UUID]
) -> None:
    other = make_owner()
    for method, path, body in (
        ("GET", USERS, None),
        ("GET", f"{USERS}/{other}", None),
        ("GET", f"{USERS}/{uuid4()}", None),
        ("PATCH", f"{USERS}/{other}", {"is_admin": True}),
    ):
        response = await client.request(method, path, json=body)
        assert response.status_code == 403, f"{method} {path}"
        assert response.json()["type"].endswith("/forbidden")


async def test_an_admin_sees_all_users_by_page_and_filter(
    admin: AsyncClient, make_owner: Callable[..., UUID], engine: Engine
) -> None:
    owners = [str(make_owner(email=f"user{n}@example.com")) for n in range(5)]
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE users SET is_active = false WHERE id = :id"), {"id": owners[1]}
        )
    seen: list[str] = []
    params: dict[str, str | int] = {"limit": 4}
    while True:
        page = (await admin.get(USERS, params=params)).json()
        seen += [user["id"] for user in page["items"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    root = (await admin.get(ME)).json()["id"]
    assert seen == [*reversed(owners), root]
    for query, found in (
        ("email=USER1@example.com", [owners[1]]),
        ("email=user", []),
        ("is_active=false", [owners[1]]),
        ("email=user1@example.com&is_active=true", []),
    ):
        page = (await admin.get(f"{USERS}?{query}")).json()
        assert [user["id"] for user in page["items"]] == found, query
    one = await admin.get(f"{USERS}/{owners[0]}")
    assert one.json().keys() == (await admin.get(ME)).json().keys()
    assert one.json()["email"] == "user0@example.com"
    assert (await admin.get(f"{USERS}/{uuid4()}")).status_code == 404


async def test_who_has_left_is_no_user(admin: AsyncClient, ada: AsyncClient) -> None:
    left = (await ada.get(ME)).json()["id"]
    await ada.request("DELETE", ME, json={"password": PASSWORD})
    assert len((await admin.get(USERS)).json()["items"]) == 1
    assert (await admin.get(f"{USERS}/{left}")).status_code == 404
    response = await admin.patch(f"{USERS}/{left}", json={"is_active": True})
    assert response.status_code == 404
    # Not even if nothing is to be changed.
    assert (await admin.patch(f"{USERS}/{left}", json={})).status_code == 404


async def test_who_is_deactivated_is_out_at_once_and_may_be_let_in_again(
    admin: AsyncClient, ada: AsyncClient, anonymous: AsyncClient
) -> None:
    path = f"{USERS}/{(await ada.get(ME)).json()['id']}"
    key = (await ada.post("/api/v1/auth/api-keys", json={"name": "ci"})).json()["key"]
    response = await admin.patch(path, json={"is_active": False})
    assert (response.status_code, response.json()["is_active"]) == (200, False)
    assert (await ada.get(ME)).status_code == 401
    assert (await anonymous.get(ME, headers={"X-API-Key": key})).status_code == 401
    assert await log_in(anonymous, "ada@example.com") is None
    assert (await admin.patch(path, json={"is_active": True})).json()["is_active"] is True
    # The old sessions stay over.
    assert (await ada.get(ME)).status_code == 401
    assert await log_in(anonymous, "ada@example.com") is not None
    assert (await anonymous.get(ME, headers={"X-API-Key": key})).status_code == 200


async def test_what_a_deactivated_user_submitted_runs_on(
    admin: AsyncClient,
    client: AsyncClient,
    draw: Callable[..., Awaitable[dict[str, Any]]],
    engine: Engine,
) -> None:
    path = f"{USERS}/{(await client.get(ME)).json()['id']}"
    job = await draw()
    await admin.patch(path, json={"is_active": False})
    with engine.connect() as connection:
        row = connection.execute(text("SELECT state, cancel_requested_at FROM job_runs")).one()
    assert tuple(row) == ("queued", None)
    assert job["state"] == "queued"


async def test_an_admin_makes_and_unmakes_admins(admin: AsyncClient, ada: AsyncClient) -> None:
    path = f"{USERS}/{(await ada.get(ME)).json()['id']}"
    assert (await ada.get(USERS)).status_code == 403
    assert (await admin.patch(path, json={"is_admin": True})).json()["is_admin"] is True
    assert (await ada.get(USERS)).status_code == 200
    assert (await admin.patch(path, json={"is_admin": None, "is_active": None})).json()["is_admin"]
    assert (await admin.patch(path, json={"is_admin": False})).json()["is_admin"] is False
    # Nobody has to log in anew for it.
    assert (await ada.get(USERS)).status_code == 403
    assert (await ada.get(ME)).status_code == 200


@pytest.mark.parametrize("change", [{"is_active": False}, {"is_admin": False}])
async def test_the_last_admin_stays(admin: AsyncClient, change: dict[str, bool]) -> None:
    me = (await admin.get(ME)).json()
    response = await admin.patch(f"{USERS}/{me['id']}", json=change)
    assert response.status_code == 409
    assert response.json()["type"].endswith("/last-admin")
    assert (await admin.get(f"{USERS}/{me['id']}")).json() == me


async def test_the_last_admin_does_not_leave(ada: AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE users SET is_admin = true"))
    response = await ada.request("DELETE", ME, json={"password": PASSWORD})
    assert response.status_code == 409
    assert (await ada.get(ME)).status_code == 200


async def test_two_admins_can_not_unmake_each_other(
    admin: AsyncClient, ada: AsyncClient, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE users SET is_admin = true"))
    ids = {client: (await client.get(ME)).json()["id"] for client in (admin, ada)}
    statuses: list[int] = []

    async def unmake(client: AsyncClient, other: AsyncClient) -> None:
        response = await client.patch(f"{USERS}/{ids[other]}", json={"is_admin": False})
        statuses.append(response.status_code)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(unmake, admin, ada)
        tasks.start_soon(unmake, ada, admin)
    with engine.connect() as connection:
        admins = connection.execute(text("SELECT count(*) FROM users WHERE is_admin")).scalar_one()
    assert admins == 1
    assert statuses.count(200) == 1
    assert set(statuses) <= {200, 403, 409}
