"""One account for all spellings of an address, whatever the database's locale makes of letters."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from httpx2 import AsyncClient, Response
from sqlalchemy import make_url, text

from app.core.config import Database, Settings
from app.core.db import direct_engine
from app.core.security import ARGON2ID
from app.main import create_app
from app.migrations import upgrade
from tests.integration.api.conftest import PASSWORD, connect, serving
from tests.integration.api.kinds import KINDS
from tests.servers import POSTGRES, scratch_folder
from tests.system_postgres import SystemPostgres

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

USERS = "/api/v1/users"
ME = f"{USERS}/me"
LOGIN = "/api/v1/auth/login"

# Of the first, as registered; the others are how somebody else may type it.
SPELLINGS = [
    ("émile@example.com", "Émile@example.com", "ÉMILE@EXAMPLE.COM", " e\u0301mile@example.com "),
    ("Émilie@example.com", "émilie@example.com", "E\u0301MILIE@example.com"),
    ("ada@bücher.example", "ADA@xn--bcher-kva.example", "ada@BU\u0308CHER.example"),
    ("INFO@example.com", "info@example.com", "Info@example.com"),
    ("billing@example.com", "BILLING@example.com", "\u3000Billing@example.com"),
]

LOCALES = {
    "C": "LC_COLLATE 'C' LC_CTYPE 'C'",
    # Where an I has a dotless i for its small letter.
    "Turkish": "LOCALE_PROVIDER icu ICU_LOCALE 'tr'",
}


@pytest.fixture(scope="module")
def server_with_icu(postgres_15: Path) -> Iterator[str]:
    """The embedded one has no ICU."""
    with scratch_folder() as folder:
        postgres = SystemPostgres(postgres_15, folder / "pg")
        try:
            postgres.start()
            yield postgres.url()
        finally:
            postgres.stop()


@pytest.fixture(params=["C", pytest.param("Turkish", marks=pytest.mark.postgres15)])
def database(request: pytest.FixtureRequest, test_worker: int) -> Iterator[Database]:
    """A migrated database of that locale."""
    turkish = request.param == "Turkish"
    server = request.getfixturevalue("server_with_icu") if turkish else os.environ[POSTGRES]
    name = f"addresses_{test_worker}"
    with closing(psycopg.connect(server, autocommit=True)) as connection:
        connection.execute(
            f'CREATE DATABASE "{name}" TEMPLATE template0 ENCODING UTF8 {LOCALES[request.param]}'
        )
        try:
            url = make_url(server).set(database=name).render_as_string(hide_password=False)
            found = Database.model_validate({"url": url})
            upgrade(found)
            yield found
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
async def there(settings: Settings, database: Database) -> AsyncIterator[AsyncClient]:
    """A client of an API on that database."""
    app = create_app(settings.model_copy(update={"database": database}), KINDS)
    async with serving(app) as served, connect(served) as client:
        yield client


async def register(client: AsyncClient, email: str) -> Response:
    return await client.post(USERS, json={"email": email, "password": PASSWORD})


async def log_in(client: AsyncClient, email: str, password: str = PASSWORD) -> Response:
    return await client.post(LOGIN, data={"username": email, "password": password})


def add_user(database: Database, email: str, password: str = PASSWORD) -> None:
    """As an older release has left it: in capitals that this database's `lower` may not know."""
    statement = text("INSERT INTO users (email, password_hash) VALUES (:email, :hash)")
    engine = direct_engine(database)
    with engine.begin() as connection:
        connection.execute(statement, {"email": email, "hash": ARGON2ID.hash(password)})
    engine.dispose()


async def test_an_account_is_one_in_every_spelling(there: AsyncClient) -> None:
    for first, *others in SPELLINGS:
        registered = await register(there, first)
        assert registered.status_code == 201, registered.text
        for spelling in (first, *others):
            answer = await log_in(there, spelling)
            assert answer.status_code == 200, spelling
            twin = await register(there, spelling)
            assert (twin.status_code, twin.json().get("type", "")[-11:]) == (409, "email-taken")
    token = (await log_in(there, SPELLINGS[0][0])).json()["access_token"]
    there.headers["Authorization"] = f"Bearer {token}"
    for first, *others in SPELLINGS[1:]:
        for spelling in (first, *others):
            taken = {"email": spelling, "current_password": PASSWORD}
            assert (await there.patch(ME, json=taken)).status_code == 409, spelling
    # Its own, written otherwise, is not taken.
    for spelling in SPELLINGS[0]:
        own = {"email": spelling, "current_password": PASSWORD}
        assert (await there.patch(ME, json=own)).status_code == 200, spelling


async def test_accounts_of_older_releases_stay(there: AsyncClient, database: Database) -> None:
    add_user(database, "Émile@example.com")
    add_user(database, "INFO@example.com")
    for first, *others in (SPELLINGS[0], SPELLINGS[3]):
        for spelling in (first, *others):
            assert (await log_in(there, spelling)).status_code == 200, spelling
            assert (await register(there, spelling)).status_code == 409, spelling


@pytest.mark.parametrize("database", ["C"], indirect=True)
async def test_two_accounts_that_an_older_release_let_in_are_still_two(
    there: AsyncClient, database: Database
) -> None:
    passwords = {"émile@example.com": "the first one's", "Émile@example.com": "the second one's"}
    for email, password in passwords.items():
        add_user(database, email, password)
    for email, password in passwords.items():
        assert (await log_in(there, email, password)).status_code == 200, email


async def test_an_admin_finds_a_user_in_every_spelling(
    there: AsyncClient, database: Database
) -> None:
    add_user(database, "root@example.com")
    engine = direct_engine(database)
    with engine.begin() as connection:
        connection.execute(text("UPDATE users SET is_admin = true"))
    engine.dispose()
    token = (await log_in(there, "root@example.com")).json()["access_token"]
    there.headers["Authorization"] = f"Bearer {token}"
    for first, *others in SPELLINGS:
        user = (await register(there, first)).json()["id"]
        for spelling in (first, *others):
            found = await there.get(USERS, params={"email": spelling})
            assert [one["id"] for one in found.json()["items"]] == [user], spelling
    assert (await there.get(USERS, params={"email": "%"})).json()["items"] == []


async def test_a_reader_is_one_in_every_spelling(there: AsyncClient, database: Database) -> None:
    for spellings in SPELLINGS:
        for spelling in spellings:
            new = {"email": spelling}
            answer = await there.post("/api/v1/newsletter/subscriptions", json=new)
            assert answer.status_code == 202, answer.text
    engine = direct_engine(database)
    with engine.connect() as connection:
        count = text("SELECT count(*) FROM newsletter_subscriptions")
        assert connection.execute(count).scalar_one() == len(SPELLINGS)
    engine.dispose()
