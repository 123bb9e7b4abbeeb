"""Who may do what: every operation of the document, asked by everybody."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy import Engine, text

from app.core.config import Settings
from app.core.links import sign_link
from app.jobs import load_kinds
from app.main import create_app
from app.services import ledger, newsletter
from tests.integration.api.conftest import PASSWORD, is_ready
from tests.integration.api.kinds import KINDS
from tests.integration.api.test_openapi import PROBLEM, operations
from tests.ledger_view import KEEP

pytestmark = pytest.mark.anyio

# The owner is whom the path's ids belong to; the keys are the owner's and the admin's API keys.
# Where a path names nothing, everybody asks for what is their own. An operation stands for one job
# kind as for another: what submits is one function.
MATRIX = """
operation                                    anonymous  stranger  owner  key  admin  admin's-key
GET    /livez                                      200       200    200  200    200          200
GET    /readyz                                     200       200    200  200    200          200
GET    /startupz                                   200       200    200  200    200          200
POST   /api/v1/auth/login                          200       200    200  200    200          200
POST   /api/v1/auth/refresh                        200       200    200  200    200          200
POST   /api/v1/auth/logout                         204       204    204  204    204          204
POST   /api/v1/auth/api-keys                       401       201    201  403    201          403
GET    /api/v1/auth/api-keys                       401       200    200  200    200          200
DELETE /api/v1/auth/api-keys/{api_key_id}          401       404    204  204    404          404
POST   /api/v1/users                               201       201    201  201    201          201
GET    /api/v1/users                               401       403    403  403    200          200
GET    /api/v1/users/me                            401       200    200  200    200          200
PATCH  /api/v1/users/me                            401       200    200  403    200          403
DELETE /api/v1/users/me                            401       204    204  403    204          403
POST   /api/v1/users/me/password                   401       204    204  403    204          403
GET    /api/v1/users/{user_id}                     401       403    403  403    200          200
PATCH  /api/v1/users/{user_id}                     401       403    403  403    200          403
POST   /api/v1/items                               401       201    201  201    201          201
GET    /api/v1/items                               401       200    200  200    200          200
GET    /api/v1/items/{item_id}                     401       404    200  200    404          404
PATCH  /api/v1/items/{item_id}                     401       404    200  200    404          404
DELETE /api/v1/items/{item_id}                     401       404    204  204    404          404
POST   /api/v1/files                               401       201    201  201    201          201
GET    /api/v1/files                               401       200    200  200    200          200
GET    /api/v1/files/{file_id}                     401       404    200  200    404          404
DELETE /api/v1/files/{file_id}                     401       404    204  204    404          404
GET    /api/v1/files/{file_id}/content             401       404    200  200    404          404
GET    /api/v1/jobs                                401       200    200  200    200          200
POST   /api/v1/jobs/{kind}                         401       202    202  202    202          202
GET    /api/v1/jobs/kinds                          401       200    200  200    200          200
GET    /api/v1/jobs/kinds/{kind}/schema            401       200    200  200    200          200
GET    /api/v1/jobs/{job_id}                       401       404    200  200    404          404
GET    /api/v1/jobs/{job_id}/events                401       404    200  200    404          404
GET    /api/v1/jobs/{job_id}/result                401       404    200  200    404          404
POST   /api/v1/jobs/{job_id}/cancel                401       404    202  202    404          404
POST   /api/v1/newsletter/subscriptions            202       202    202  202    202          202
POST   /api/v1/newsletter/confirm                  200       200    200  200    200          200
POST   /api/v1/newsletter/unsubscribe              204       204    204  204    204          204
"""
(_, *CALLERS), *_ROWS = (line.split() for line in MATRIX.strip().splitlines())
ROWS = {
    (method, path): dict(zip(CALLERS, map(int, statuses), strict=True))
    for method, path, *statuses in _ROWS
}

SUBMIT = ("POST", "/api/v1/jobs/{kind}")


@dataclass(frozen=True, slots=True)
class Cast:
    """An owner, who has a password, a session and a subscription to confirm; and who asks."""

    owner: UUID
    email: str
    refresh_token: str
    confirm: str
    unsubscribe: str
    # The owner's headers, and those of who asks.
    credentials: dict[str, str]
    asks_with: dict[str, str]


def nothing(_: Cast) -> dict[str, Any]:
    return {}


# What an operation takes, right in every way: nothing but who asks is at fault.
CONTENT: dict[tuple[str, str], Callable[[Cast], dict[str, Any]]] = {
    ("POST", "/api/v1/auth/login"): lambda cast: {
        "data": {"username": cast.email, "password": PASSWORD}
    },
    ("POST", "/api/v1/auth/refresh"): lambda cast: {"json": {"refresh_token": cast.refresh_token}},
    ("POST", "/api/v1/auth/logout"): lambda cast: {"json": {"refresh_token": cast.refresh_token}},
    ("POST", "/api/v1/auth/api-keys"): lambda _: {"json": {"name": "another"}},
    ("POST", "/api/v1/users"): lambda cast: {
        "json": {"email": f"new.{cast.email}", "password": PASSWORD}
    },
    ("PATCH", "/api/v1/users/me"): lambda cast: {
        "json": {"email": f"new.{cast.email}", "current_password": PASSWORD}
    },
    ("DELETE", "/api/v1/users/me"): lambda _: {"json": {"password": PASSWORD}},
    ("POST", "/api/v1/users/me/password"): lambda _: {
        "json": {"current_password": PASSWORD, "new_password": f"{PASSWORD}s"}
    },
    ("PATCH", "/api/v1/users/{user_id}"): lambda _: {
        "json": {"is_active": False, "is_admin": True}
    },
    ("POST", "/api/v1/items"): lambda _: {"json": {"title": "b"}},
    ("PATCH", "/api/v1/items/{item_id}"): lambda _: {"json": {"title": "b"}},
    ("POST", "/api/v1/files"): lambda _: {"params": {"name": "b"}, "content": b"b"},
    ("POST", "/api/v1/jobs/shape.draw"): lambda _: {"json": {"spec": {}}},
    ("POST", "/api/v1/jobs/word.count"): lambda _: {"json": {"spec": {"words": "a"}}},
    ("POST", "/api/v1/newsletter/subscriptions"): lambda cast: {
        "json": {"email": f"new.{cast.email}"}
    },
    ("POST", "/api/v1/newsletter/confirm"): lambda cast: {"json": {"token": cast.confirm}},
    ("POST", "/api/v1/newsletter/unsubscribe"): lambda cast: {"json": {"token": cast.unsubscribe}},
}


def test_the_matrix_has_every_operation_and_no_other(built: FastAPI, settings: Settings) -> None:
    for kinds, app in ((KINDS, built), (load_kinds(), create_app(settings, load_kinds()))):
        submissions = {f"/api/v1/jobs/{name}" for name in kinds}
        walked = [
            (method.upper(), SUBMIT[1] if path in submissions else path)
            for method, path, _ in operations(app.openapi())
        ]
        assert set(walked) == ROWS.keys()
        assert len(walked) == len(ROWS) + len(submissions) - 1
    assert len(_ROWS) == len(ROWS)


def test_who_needs_no_credentials_in_the_document_needs_none(built: FastAPI) -> None:
    for method, path, operation in operations(built.openapi()):
        row = (method.upper(), path)
        opens = ROWS.get(row, ROWS[SUBMIT])["anonymous"] != 401
        assert opens == ("security" not in operation), row


MakeCast = Callable[[str], Awaitable[Cast]]
MakeIds = Callable[[str, Cast], Awaitable[dict[str, str]]]


@pytest.fixture
def make_cast(
    anonymous: AsyncClient,
    settings: Settings,
    sign_in: Callable[..., str],
    make_user: Callable[..., UUID],
    make_refresh_token: Callable[[UUID], str],
    make_reader: Callable[[str], UUID],
) -> MakeCast:
    """All of them new: what an earlier case has left behind, nobody finds."""

    def bearer(user: UUID) -> dict[str, str]:
        return {"Authorization": f"Bearer {sign_in(user)}"}

    async def key(user: UUID) -> dict[str, str]:
        path = "/api/v1/auth/api-keys"
        made = await anonymous.post(path, json={"name": "key"}, headers=bearer(user))
        return {"X-API-Key": made.json()["key"]}

    async def make(asks: str) -> Cast:
        name = uuid4().hex
        email = f"ada.{name}@example.com"
        owner, stranger = make_user(email), make_user(f"eve.{name}@example.com")
        admin = make_user(f"root.{name}@example.com", is_admin=True)
        # The admin may leave: there is another one.
        make_user(f"other.{name}@example.com", is_admin=True)
        reader = make_reader(email)
        credentials = bearer(owner)
        asking = {"stranger": stranger, "admin": admin, "admin's-key": admin}.get(asks, owner)
        if asks == "anonymous":
            asks_with = {}
        elif asks.endswith("key"):
            asks_with = await key(asking)
        else:
            asks_with = bearer(asking)
        return Cast(
            owner=owner,
            email=email,
            refresh_token=make_refresh_token(owner),
            confirm=sign_link(settings.auth, newsletter.CONFIRM, reader),
            unsubscribe=sign_link(settings.auth, newsletter.UNSUBSCRIBE, reader),
            credentials=credentials,
            asks_with=asks_with,
        )

    return make


@pytest.fixture
def make_ids(anonymous: AsyncClient, engine: Engine) -> MakeIds:
    """What a path names, made for the owner: of jobs, one that succeeded."""

    async def created(cast: Cast, path: str, **content: Any) -> str:
        response = await anonymous.post(f"/api/v1{path}", headers=cast.credentials, **content)
        assert response.is_success, response.text
        identity: str = response.json()["id"]
        return identity

    async def finished_job(cast: Cast) -> str:
        identity = await created(cast, "/jobs/shape.draw", json={"spec": {}})
        job, worker = UUID(identity), uuid4()
        with engine.begin() as connection:
            ledger.claim(connection, job, worker_id=worker, kinds=["shape.draw"], version="1")
            ledger.succeed(connection, job, 1, result=json.dumps({"shapes": 1}), keep=KEEP)
        return identity

    async def user(cast: Cast) -> str:
        return str(cast.owner)

    makers: dict[str, Callable[[Cast], Awaitable[str]]] = {
        "user_id": user,
        "job_id": finished_job,
        "file_id": lambda cast: created(cast, "/files", params={"name": "a"}, content=b"a"),
        "item_id": lambda cast: created(cast, "/items", json={"title": "a"}),
        "api_key_id": lambda cast: created(cast, "/auth/api-keys", json={"name": "a"}),
    }

    async def make(path: str, cast: Cast) -> dict[str, str]:
        return {name: await maker(cast) for name, maker in makers.items() if f"{{{name}}}" in path}

    return make


def snapshot(engine: Engine) -> list[Any]:
    # Of keys and sessions, that they are there: the former note when they were used.
    selected = {"api_keys": "id", "sessions": "id"}
    tables = ("users", "api_keys", "sessions", "items", "files", "jobs", "job_runs", "job_files")
    with engine.connect() as connection:
        return [
            connection.execute(
                text(f"SELECT {selected.get(table, '*')} FROM {table} ORDER BY 1")
            ).all()
            for table in tables
        ]


WALK = [
    (*row, path)
    for row in ROWS
    for path in ([f"/api/v1/jobs/{kind}" for kind in KINDS] if row == SUBMIT else [row[1]])
]


@pytest.mark.parametrize(("method", "row", "path"), WALK, ids=[f"{m} {p}" for m, _, p in WALK])
@pytest.mark.slow
async def test_each_may_do_what_the_matrix_says_and_nothing_else(
    method: str,
    row: str,
    path: str,
    anonymous: AsyncClient,
    engine: Engine,
    make_cast: MakeCast,
    make_ids: MakeIds,
) -> None:
    if path == "/readyz":
        await is_ready(anonymous)

    async def answer(cast: Cast, ids: dict[str, str]) -> tuple[int, str]:
        """Its status and, of a refusal, its words, which name no id."""
        url = path.format(**ids, kind="word.count")
        sent = CONTENT.get((method, path), nothing)(cast)
        response = await anonymous.request(method, url, headers=cast.asks_with, **sent)
        # Neither it nor what it says of somebody is for a cache.
        assert {"private", "no-store"} <= set(response.headers["cache-control"].split(", "))
        if response.is_success:
            return response.status_code, ""
        assert response.headers["content-type"] == PROBLEM
        if response.status_code == 401:
            assert response.headers["www-authenticate"] == "Bearer"
        words = response.text
        for own in ("request_id", "trace_id"):
            words = words.replace(response.json()[own], "")
        for name, value in ids.items():
            words = words.replace(value, name)
        return response.status_code, words

    answered: dict[str, int] = {}
    for caller in CALLERS:
        cast = await make_cast(caller)
        ids = await make_ids(path, cast)
        before = snapshot(engine)
        answered[caller], words = await answer(cast, ids)
        if words:
            # It has changed nothing, and does not say what there is.
            assert snapshot(engine) == before, caller
            nobodys = {name: str(uuid4()) for name in ids}
            assert await answer(cast, nobodys) == (answered[caller], words), caller
    assert answered == ROWS[method, row]


@pytest.mark.parametrize("caller", ["stranger", "owner", "admin"])
async def test_lists_have_only_ones_own(
    anonymous: AsyncClient, make_cast: MakeCast, make_ids: MakeIds, caller: str
) -> None:
    cast = await make_cast(caller)
    ids = await make_ids("{job_id} {file_id} {item_id} {api_key_id}", cast)
    for path, made in zip(("jobs", "files", "items", "auth/api-keys"), ids.values(), strict=True):
        response = await anonymous.get(f"/api/v1/{path}", headers=cast.asks_with)
        found = [each["id"] for each in response.json()["items"]]
        assert found == ([made] if caller == "owner" else []), path
