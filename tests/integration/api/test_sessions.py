"""Refresh tokens: each is good once, and what ends a session ends all that came of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
import structlog
from httpx2 import AsyncClient, Response
from sqlalchemy import Engine, text

from app.core.config import Settings
from app.core.tokens import RefreshToken
from app.main import create_app
from tests.integration.api.conftest import a_statement_waits, connect, serving
from tests.integration.api.kinds import KINDS

pytestmark = pytest.mark.anyio

ME = "/api/v1/users/me"

PASSWORD = "correct horse battery staple"

OLD, NEW = f"old:{'o' * 40}", f"new:{'n' * 40}"


@dataclass
class Person:
    """Who registered and logs in, on one device after the other."""

    http: AsyncClient
    email: str

    async def log_in(self) -> dict[str, Any]:
        form = {"username": self.email, "password": PASSWORD}
        response = await self.http.post("/api/v1/auth/login", data=form)
        assert response.status_code == 200, response.text
        tokens: dict[str, Any] = response.json()
        return tokens

    async def refresh(self, token: str) -> Response:
        body = {"refresh_token": token}
        return await self.http.post("/api/v1/auth/refresh", json=body)

    async def refreshed(self, token: str) -> dict[str, Any]:
        response = await self.refresh(token)
        assert response.status_code == 200, response.text
        assert response.headers["cache-control"] == "private, no-store"
        tokens: dict[str, Any] = response.json()
        return tokens

    async def refused(self, token: str) -> None:
        response = await self.refresh(token)
        assert response.status_code == 401
        assert response.json()["type"].endswith("/invalid-refresh-token")
        assert response.headers["www-authenticate"] == "Bearer"

    async def log_out(self, token: str) -> int:
        body = {"refresh_token": token}
        return (await self.http.post("/api/v1/auth/logout", json=body)).status_code

    async def gets_in(self, tokens: dict[str, Any]) -> bool:
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        response = await self.http.get(ME, headers=headers)
        assert response.status_code in (200, 401)
        return response.status_code == 200


async def registered(http: AsyncClient, email: str) -> Person:
    body = {"email": email, "password": PASSWORD}
    assert (await http.post("/api/v1/users", json=body)).status_code == 201
    return Person(http, email)


@pytest.fixture
async def ada(anonymous: AsyncClient) -> Person:
    return await registered(anonymous, "ada@example.com")


@pytest.fixture
def execute(engine: Engine) -> Callable[[str], Sequence[Any]]:
    def run(statement: str) -> Sequence[Any]:
        with engine.begin() as connection:
            result = connection.execute(text(statement))
            return result.all() if result.returns_rows else []

    return run


Execute = Callable[[str], Sequence[Any]]


async def test_a_session_goes_on_by_refreshing(ada: Person, settings: Settings) -> None:
    first = await ada.log_in()
    second = await ada.refreshed(first["refresh_token"])
    third = await ada.refreshed(second["refresh_token"])
    assert second.keys() == first.keys()
    assert len({first["refresh_token"], second["refresh_token"], third["refresh_token"]}) == 3
    # The session is one, and so access tokens are good until each of them expires.
    assert [await ada.gets_in(tokens) for tokens in (first, second, third)] == [True] * 3
    assert third["expires_in"] == settings.auth.access_token_ttl
    assert 0 <= settings.auth.refresh_token_ttl - third["refresh_expires_in"] < 60


async def test_only_hashes_are_stored(ada: Person, execute: Execute) -> None:
    tokens = [(await ada.log_in())["refresh_token"]]
    tokens.append((await ada.refreshed(tokens[0]))["refresh_token"])
    [row] = execute("SELECT * FROM sessions")
    for token in tokens:
        parsed = RefreshToken.parse(token)
        assert parsed is not None
        assert parsed.code not in list(row)
        assert parsed.digest in list(row)
        assert token not in str(row)


async def test_a_token_used_twice_ends_the_session(ada: Person, execute: Execute) -> None:
    other = await ada.log_in()
    stolen = await ada.log_in()
    thiefs = await ada.refreshed(stolen["refresh_token"])
    thiefs = await ada.refreshed(thiefs["refresh_token"])
    with structlog.testing.capture_logs() as logs:
        await ada.refused(stolen["refresh_token"])
    assert any(line["event"].startswith("refresh token used again") for line in logs)
    # For good: it was not rolled back with the answer.
    await ada.refused(thiefs["refresh_token"])
    assert not await ada.gets_in(thiefs)
    assert not await ada.gets_in(stolen)
    assert await ada.gets_in(other)
    assert len(execute("SELECT id FROM sessions")) == 1


async def test_a_lost_answer_is_given_again(ada: Person) -> None:
    first = await ada.log_in()
    lost = await ada.refreshed(first["refresh_token"])
    again = await ada.refreshed(first["refresh_token"])
    assert again["refresh_token"] == lost["refresh_token"]
    assert await ada.gets_in(again)
    # As long as it was not used.
    third = await ada.refreshed(again["refresh_token"])
    await ada.refused(first["refresh_token"])
    assert not await ada.gets_in(third)


async def test_after_ten_seconds_it_was_no_lost_answer(ada: Person, execute: Execute) -> None:
    first = await ada.log_in()
    second = await ada.refreshed(first["refresh_token"])
    execute("UPDATE sessions SET refreshed_at = refreshed_at - interval '10 s'")
    await ada.refused(first["refresh_token"])
    await ada.refused(second["refresh_token"])
    assert not await ada.gets_in(second)


@pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])
async def test_fifty_uses_at_once_leave_one_session_or_none(
    ada: Person, execute: Execute, late: bool
) -> None:
    token = (await ada.log_in())["refresh_token"]
    if late:
        # All but the first come after the answer could have got lost.
        await ada.refreshed(token)
        execute("UPDATE sessions SET refreshed_at = refreshed_at - interval '10 s'")
    answers: list[Response] = []

    async def use() -> None:
        answers.append(await ada.refresh(token))

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(use)
    assert {answer.status_code for answer in answers} <= {200, 401}
    successors = {answer.json()["refresh_token"] for answer in answers if answer.status_code == 200}
    assert len(successors) == (0 if late else 1)
    # What is there is what was given out, and it goes on.
    assert len(execute("SELECT id FROM sessions")) == len(successors)
    for successor in successors:
        assert len({answer.status_code for answer in answers}) == 1
        await ada.refreshed(successor)


async def test_old_and_new_tokens_at_once_leave_one_session_or_none(
    ada: Person, execute: Execute
) -> None:
    first = (await ada.log_in())["refresh_token"]
    second = (await ada.refreshed(first))["refresh_token"]
    answers: list[Response] = []

    async def use(token: str) -> None:
        answers.append(await ada.refresh(token))

    async with anyio.create_task_group() as tasks:
        for _ in range(25):
            tasks.start_soon(use, first)
            tasks.start_soon(use, second)
    # The old one may be used before the new one is, within its time; after that it ends it all.
    assert {answer.status_code for answer in answers} <= {200, 401}
    left = execute("SELECT id FROM sessions")
    if {answer.status_code for answer in answers} == {200}:
        assert len(left) == 1
        return
    assert left == []
    for answer in answers:
        if answer.status_code == 200:
            await ada.refused(answer.json()["refresh_token"])


async def test_a_refresh_decides_on_what_the_one_before_it_has_left(
    ada: Person, engine: Engine, execute: Execute
) -> None:
    token = (await ada.log_in())["refresh_token"]
    with engine.connect() as connection:
        # Others are about to have used it, and its successor too.
        connection.execute(
            text("UPDATE sessions SET generation = 3, digest = 'third', previous_digest = 'second'")
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ada.refused, token)
            await a_statement_waits(engine)
            connection.commit()
    assert execute("SELECT id FROM sessions") == []


async def test_logging_out_ends_the_session_at_once(ada: Person) -> None:
    stays = await ada.log_in()
    first = await ada.log_in()
    second = await ada.refreshed(first["refresh_token"])
    assert await ada.log_out(second["refresh_token"]) == 204
    assert not await ada.gets_in(first)
    assert not await ada.gets_in(second)
    await ada.refused(second["refresh_token"])
    assert await ada.gets_in(stays)
    # Again, or with what never was one: it is over.
    assert await ada.log_out(second["refresh_token"]) == 204
    assert await ada.log_out("nothing") == 204


@pytest.mark.parametrize("garbage", ["", "x", "hlr_" + "A" * 64, "hlr_" + "é" * 64])
async def test_what_is_no_token_is_refused(ada: Person, garbage: str) -> None:
    await ada.refused(garbage)


async def test_an_access_token_does_not_refresh_and_the_other_way_round(ada: Person) -> None:
    tokens = await ada.log_in()
    body = {"refresh_token": tokens["access_token"][:200]}
    assert (await ada.http.post("/api/v1/auth/refresh", json=body)).status_code == 401
    assert not await ada.gets_in({"access_token": tokens["refresh_token"]})


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE sessions SET expires_at = clock_timestamp()",
        "UPDATE users SET is_active = false",
        "DELETE FROM sessions",
    ],
)
async def test_what_has_ended_is_not_refreshed(ada: Person, execute: Execute, end: str) -> None:
    tokens = await ada.log_in()
    execute(end)
    await ada.refused(tokens["refresh_token"])
    assert not await ada.gets_in(tokens)


async def test_however_often_refreshed_a_session_has_an_end(
    ada: Person, execute: Execute, settings: Settings
) -> None:
    tokens = await ada.log_in()
    execute("UPDATE sessions SET ends_at = clock_timestamp() + interval '60 s'")
    tokens = await ada.refreshed(tokens["refresh_token"])
    assert 50 <= tokens["refresh_expires_in"] <= 60
    # No token is said to last longer.
    assert tokens["expires_in"] == tokens["refresh_expires_in"]


# --- keys rotate ----------------------------------------------------------------------------------


@pytest.fixture
def with_keys(settings: Settings, clean: None) -> Callable[..., Any]:
    """The application with these signing keys."""

    def start(*keys: str) -> Any:
        auth = settings.auth.model_copy(
            update={"signing_keys": type(settings.auth.signing_keys)(",".join(keys))}
        )
        return serving(create_app(settings.model_copy(update={"auth": auth}), KINDS))

    return start


async def test_a_session_outlives_the_keys_of_its_tokens(with_keys: Callable[..., Any]) -> None:
    async with with_keys(OLD) as served, connect(served) as http:
        ada = await registered(http, "ada@example.com")
        first = await ada.log_in()
        lost = await ada.refreshed(first["refresh_token"])
    # The overlap: the new key signs, the old one verifies, and derives what it had derived.
    async with with_keys(NEW, OLD) as served, connect(served) as http:
        ada = Person(http, "ada@example.com")
        assert await ada.gets_in(first)
        again = await ada.refreshed(first["refresh_token"])
        assert again["refresh_token"] == lost["refresh_token"]
    # The old key is gone: with it the access tokens it signed, not the session.
    async with with_keys(NEW) as served, connect(served) as http:
        ada = Person(http, "ada@example.com")
        assert not await ada.gets_in(first)
        third = await ada.refreshed(again["refresh_token"])
        assert await ada.gets_in(third)
        await ada.refreshed(third["refresh_token"])


async def test_an_answer_whose_key_is_gone_is_not_given_again(
    with_keys: Callable[..., Any],
) -> None:
    async with with_keys(OLD) as served, connect(served) as http:
        ada = await registered(http, "ada@example.com")
        first = await ada.log_in()
        lost = await ada.refreshed(first["refresh_token"])
    async with with_keys(NEW) as served, connect(served) as http:
        ada = Person(http, "ada@example.com")
        await ada.refused(first["refresh_token"])
        # It was nobody's second use.
        await ada.refreshed(lost["refresh_token"])
