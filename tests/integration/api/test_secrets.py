"""What is secret is in no log line, and in no answer but the one that gives it out."""

import logging
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import pytest
import structlog
from fastapi import FastAPI
from httpx2 import AsyncClient, Response
from sqlalchemy import Connection, Engine, text
from structlog.typing import Processor

from app.core.config import Settings
from tests.integration.api.conftest import connect, serving

pytestmark = pytest.mark.anyio

USERS = "/api/v1/users"
ME = f"{USERS}/me"
AUTH = "/api/v1/auth"

ADAS_PASSWORD = "planted-password-of-ada"
ADAS_NEXT_PASSWORD = "planted-password-of-ada-from-now-on"
EVES_PASSWORD = "planted-password-of-eve"
WRONG_PASSWORD = "planted-password-of-nobody"


class Witness:
    """Everything that was answered and logged, and what is secret of it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.answers: list[str] = []
        self.secrets: set[str] = set()

    async def hear(self, response: Response) -> None:
        await response.aread()
        gives_out = response.request.url.path in (
            f"{AUTH}/login",
            f"{AUTH}/refresh",
            f"{AUTH}/api-keys",
        )
        if gives_out and response.request.method == "POST" and response.is_success:
            body = response.json()
            self.secrets |= {
                body.pop(name) for name in ("access_token", "refresh_token", "key") if name in body
            }
            self.answers.append(f"{body} {response.headers}")
        else:
            self.answers.append(f"{response.text} {response.headers}")

    def look_into_the_database(self) -> None:
        """What is kept of secrets is one, too."""
        with self._engine.connect() as connection:
            for statement in (
                "SELECT password_hash FROM users WHERE password_hash <> '!'",
                "SELECT encode(digest, 'hex') FROM sessions",
                "SELECT encode(previous_digest, 'hex') FROM sessions WHERE generation > 1",
                "SELECT encode(digest, 'hex') FROM api_keys",
            ):
                self.secrets |= set(connection.execute(text(statement)).scalars())


@contextmanager
def all_logs(caplog: pytest.LogCaptureFixture) -> Iterator[list[MutableMapping[str, Any]]]:
    """As they are printed, tracebacks with them; the standard library's are in `caplog`."""
    caplog.set_level(logging.INFO)
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.format_exc_info,
    ]
    with structlog.testing.capture_logs(processors) as logs:
        yield logs


async def live(client: AsyncClient, witness: Witness, other: AsyncClient) -> None:
    """All that there is to do with an account, right and wrong."""
    tokens: dict[str, str] = {}
    for http, email, password in (
        (client, "ada@example.com", ADAS_PASSWORD),
        (other, "planted-eve@example.com", EVES_PASSWORD),
    ):
        await http.post(USERS, json={"email": email, "password": password})
        await http.post(USERS, json={"email": email, "password": password, "extra": password})
        login = {"username": email, "password": WRONG_PASSWORD}
        await http.post(f"{AUTH}/login", data=login)
        await http.post(f"{AUTH}/login", data={**login, "extra": WRONG_PASSWORD})
        login["password"] = password
        tokens = (await http.post(f"{AUTH}/login", data=login)).json()
        http.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    await other.patch(ME, json={"full_name": "planted name of eve"})
    witness.look_into_the_database()

    refresh = {"refresh_token": tokens["refresh_token"]}
    refreshed = (await other.post(f"{AUTH}/refresh", json=refresh)).json()
    witness.look_into_the_database()
    await other.post(f"{AUTH}/refresh", json={**refresh, "extra": refreshed["refresh_token"]})
    await other.post(f"{AUTH}/refresh", json={"refresh_token": refreshed["refresh_token"]})
    # Used twice, with what follows of it.
    await other.post(f"{AUTH}/refresh", json=refresh)
    await other.post(f"{AUTH}/logout", json=refresh)
    await other.get(ME)

    made = (await client.post(f"{AUTH}/api-keys", json={"name": "ci"})).json()
    witness.look_into_the_database()
    await client.get(f"{AUTH}/api-keys")
    await other.get(ME, headers={"X-API-Key": made["key"]})
    del other.headers["Authorization"]
    for key in (made["key"], made["key"] + "x"):
        await other.get(ME, headers={"X-API-Key": key})
        await other.post(f"{AUTH}/api-keys", json={"name": "x"}, headers={"X-API-Key": key})

    await client.get(ME)
    await client.get(USERS)
    for current in (WRONG_PASSWORD, ADAS_PASSWORD):
        passwords = {"current_password": current, "new_password": ADAS_NEXT_PASSWORD}
        await client.post(f"{ME}/password", json={**passwords, "extra": current})
        await client.post(f"{ME}/password", json=passwords)
    witness.look_into_the_database()
    change = {"email": "planted-eve@example.com", "current_password": ADAS_NEXT_PASSWORD}
    await client.patch(ME, json=change)
    await client.patch(ME, json={**change, "email": "countess@example.com"})
    await client.delete(f"{AUTH}/api-keys/{made['id']}")
    await client.request("DELETE", ME, json={"password": WRONG_PASSWORD})
    await client.request("DELETE", ME, json={"password": ADAS_NEXT_PASSWORD})


REFUSE = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'this statement fails'; END
    $$;
    CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {table} EXECUTE FUNCTION refuse()
"""
ALLOW = "DROP TRIGGER refuse ON {table}; DROP FUNCTION refuse()"


def run_all(connection: Connection, statements: str) -> None:
    # With parameters, even none, it would be a prepared statement, which is only one.
    connection.exec_driver_sql(statements, execution_options={"no_parameters": True})


@contextmanager
def refusing(engine: Engine, table: str) -> Iterator[None]:
    """Every write to the table fails, with its parameters at hand."""
    with engine.begin() as connection:
        run_all(connection, REFUSE.format(table=table))
    try:
        yield
    finally:
        with engine.begin() as connection:
            run_all(connection, ALLOW.format(table=table))


async def test_no_log_line_and_no_answer_carries_a_secret(
    app: FastAPI, engine: Engine, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    witness = Witness(engine)
    hooks = {"response": [witness.hear]}
    with all_logs(caplog) as logs:
        async with serving(app) as served, connect(served) as client, connect(served) as other:
            client.event_hooks = other.event_hooks = hooks
            await live(client, witness, other)
            # And where it crashes.
            crashed = {"email": "bob@example.com", "password": ADAS_PASSWORD}
            with refusing(engine, "users"):
                assert (await other.post(USERS, json=crashed)).status_code == 500
            assert (await other.post(USERS, json=crashed)).status_code == 201
            login = {"username": "bob@example.com", "password": ADAS_PASSWORD}
            with refusing(engine, "sessions"):
                assert (await other.post(f"{AUTH}/login", data=login)).status_code == 500
            witness.look_into_the_database()
    assert len(witness.answers) > 35
    # Three log-ins, two refreshes and one key; hashes of three passwords, and of what else is kept.
    assert len(witness.secrets) >= 8 + 6
    planted = {ADAS_PASSWORD, ADAS_NEXT_PASSWORD, EVES_PASSWORD, WRONG_PASSWORD, "argon2id"}
    secrets = witness.secrets | planted | set(settings.auth.keys.values())
    logged = [str(line) for line in logs] + [record.getMessage() for record in caplog.records]
    assert sum("this statement fails" in line for line in logged) == 2
    for lines in (logged, witness.answers):
        for line in lines:
            assert [secret for secret in secrets if secret in line] == [], line


async def test_no_answer_carries_what_is_anothers(app: FastAPI, engine: Engine) -> None:
    witness = Witness(engine)
    async with serving(app) as served, connect(served) as client, connect(served) as other:
        client.event_hooks = {"response": [witness.hear]}
        await live(client, witness, other)
    assert len(witness.answers) > 15
    for answer in witness.answers:
        # But the address that Ada herself wanted to have.
        assert "planted name of eve" not in answer
        assert "planted-eve@example.com" not in answer
