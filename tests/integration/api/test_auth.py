"""Registering, logging in, and what a token opens."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import jwt
import pytest
from httpx2 import AsyncClient
from sqlalchemy import Engine, text

from app.core.config import Settings
from app.core.security import PasswordHashing
from app.services.auth import Caller

pytestmark = pytest.mark.anyio

ME = "/api/v1/users/me"
LOGIN = "/api/v1/auth/login"

PASSWORD = "correct horse battery staple"


@pytest.fixture
async def ada(anonymous: AsyncClient) -> dict[str, object]:
    """Registered."""
    credentials = {"email": "ada@example.com", "password": PASSWORD}
    response = await anonymous.post("/api/v1/users", json=credentials)
    assert response.status_code == 201
    user: dict[str, object] = response.json()
    return user


async def test_a_user_registers_logs_in_and_is_known(
    anonymous: AsyncClient, ada: dict[str, object]
) -> None:
    assert ada.keys() == {"id", "email", "full_name", "is_active", "is_admin", "created_at"}
    assert (ada["email"], ada["is_active"], ada["is_admin"]) == ("ada@example.com", True, False)
    form = {"username": "ada@example.com", "password": PASSWORD}
    response = await anonymous.post(LOGIN, data=form)
    assert response.status_code == 200
    token = response.json()
    assert token.keys() == {
        "access_token",
        "token_type",
        "expires_in",
        "refresh_token",
        "refresh_expires_in",
    }
    assert (token["token_type"], token["expires_in"]) == ("bearer", 900)
    assert response.headers["cache-control"] == "private, no-store"
    me = await anonymous.get(ME, headers={"Authorization": f"Bearer {token['access_token']}"})
    assert me.json() == ada


async def test_an_address_registers_once_in_any_case(
    anonymous: AsyncClient, ada: dict[str, object]
) -> None:
    twin = {"email": "ADA@example.com", "password": PASSWORD}
    response = await anonymous.post("/api/v1/users", json=twin)
    assert response.status_code == 409
    assert response.json()["type"].endswith("/email-taken")
    assert response.json()["errors"][0]["field"] == "body.email"
    form = {"username": "ADA@EXAMPLE.COM", "password": PASSWORD}
    assert (await anonymous.post(LOGIN, data=form)).status_code == 200


async def test_a_login_does_not_say_who_is_registered(
    anonymous: AsyncClient, ada: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[bool] = []
    verify = PasswordHashing.verify

    async def counted(self: PasswordHashing, password: str, password_hash: str | None) -> bool:
        matches = await verify(self, password, password_hash)
        hashed.append(password_hash is not None)
        return matches

    monkeypatch.setattr(PasswordHashing, "verify", counted)
    answers = []
    for username in ("ada@example.com", "nobody@example.com"):
        form = {"username": username, "password": "wrong password"}
        response = await anonymous.post(LOGIN, data=form)
        assert response.headers["www-authenticate"] == "Bearer"
        answers.append(
            (response.status_code, {**response.json(), "request_id": "", "trace_id": ""})
        )
    assert answers[0] == answers[1]
    assert answers[0][0] == 401
    # Both cost a hash.
    assert hashed == [True, False]


@pytest.mark.parametrize("username", ["nobody@example.com", "bob@example.com"])
async def test_the_dummy_hash_opens_nothing(
    anonymous: AsyncClient, make_owner: Callable[..., UUID], username: str
) -> None:
    # He has no password.
    make_owner(email="bob@example.com")
    form = {"username": username, "password": "nobody"}
    assert (await anonymous.post(LOGIN, data=form)).status_code == 401


async def test_an_inactive_user_is_out_at_once(
    anonymous: AsyncClient, ada: dict[str, object], engine: Engine
) -> None:
    form = {"username": "ada@example.com", "password": PASSWORD}
    token = (await anonymous.post(LOGIN, data=form)).json()["access_token"]
    with engine.begin() as connection:
        connection.execute(text("UPDATE users SET is_active = false"))
    response = await anonymous.get(ME, headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert (await anonymous.post(LOGIN, data=form)).status_code == 401


def forge(settings: Settings, caller: Caller, **changes: object) -> str:
    kid, secret = next(iter(settings.auth.keys.items()))
    now = datetime.now(UTC)
    claims: dict[str, object] = {
        "sub": str(caller.id),
        "sid": str(caller.credential),
        "iat": now,
        "exp": now + timedelta(hours=1),
    }
    kid = str(changes.pop("kid", kid))
    secret = str(changes.pop("secret", secret))
    algorithm = str(changes.pop("algorithm", "HS256"))
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode(claims, secret, algorithm=algorithm, headers={"kid": kid})


# The forger's own warning, of a key too short for HS512.
@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 200),
        ({"exp": datetime(2020, 1, 1, tzinfo=UTC)}, 401),
        ({"exp": None}, 401),
        ({"iat": None}, 401),
        ({"sub": None}, 401),
        ({"sub": "me"}, 401),
        ({"sub": "00000000-0000-0000-0000-000000000000"}, 401),
        ({"sid": None}, 401),
        ({"sid": "00000000-0000-0000-0000-000000000000"}, 401),
        ({"secret": "x" * 64}, 401),
        ({"kid": "unknown"}, 401),
        ({"algorithm": "HS512"}, 401),
        ({"algorithm": "none", "secret": ""}, 401),
    ],
)
async def test_only_our_own_tokens_open(
    anonymous: AsyncClient,
    settings: Settings,
    make_owner: Callable[..., UUID],
    open_session: Callable[[UUID], Caller],
    changes: dict[str, object],
    status: int,
) -> None:
    token = forge(settings, open_session(make_owner()), **changes)
    response = await anonymous.get(ME, headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == status


async def test_a_session_opens_for_its_own_user_only(
    anonymous: AsyncClient,
    settings: Settings,
    make_owner: Callable[..., UUID],
    open_session: Callable[[UUID], Caller],
) -> None:
    anothers = replace(open_session(make_owner()), id=make_owner())
    headers = {"Authorization": f"Bearer {forge(settings, anothers)}"}
    assert (await anonymous.get(ME, headers=headers)).status_code == 401


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer a.b.c", "Bearer é", "Basic YTpi"])
async def test_what_is_no_token_is_a_401(anonymous: AsyncClient, header: str | None) -> None:
    headers = {} if header is None else {b"Authorization": header.encode()}
    response = await anonymous.get(ME, headers=headers)
    assert response.status_code == 401
    assert response.json()["type"].endswith("/unauthorized")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": "ada@example.com"}, "body.password"),
        ({"email": "ada@example.com", "password": "short"}, "body.password"),
        ({"email": "not an address", "password": PASSWORD}, "body.email"),
        ({"email": "a@example.com", "password": PASSWORD, "is_admin": True}, "body.is_admin"),
    ],
)
async def test_what_can_not_register_is_told_why(
    anonymous: AsyncClient, body: dict[str, object], field: str
) -> None:
    response = await anonymous.post("/api/v1/users", json=body)
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]
    assert "short" not in response.json()["detail"].replace("too short", "")


async def test_a_login_form_has_no_other_fields(anonymous: AsyncClient) -> None:
    form = {"username": "a", "password": "b", "totp": "1"}
    response = await anonymous.post(LOGIN, data=form)
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == ["body.totp"]
