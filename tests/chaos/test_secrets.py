"""A whole system lives a life full of marked values; then all that it wrote and answered is read.

Where a value belongs, it has to be found: a search that finds nothing anywhere would prove nothing.
"""

import base64
import hashlib
import json
import re
import stat
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import httpx2
import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword
from sqlalchemy import text
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app.embedded.stack import command
from tests.chaos.conftest import Stack
from tests.integration.cli.conftest import clean_environment
from tests.integration.newsletter.conftest import PAGE, token
from tests.integration.newsletter.test_mail import Received, mail_server
from tests.otlp import OtlpReceiver
from tests.processes import environment

pytestmark = pytest.mark.anyio

API = "/api/v1"
AUTH = f"{API}/auth"
ME = f"{API}/users/me"
NEWSLETTER = f"{API}/newsletter"

ADA, EVE, ADMIN = "ada@example.com", "eve@example.com", "admin@example.com"
# With what JSON, forms and addresses write otherwise.
PASSWORDS = {
    ADA: 'planted "password" of ada/+%',
    EVE: "planted-password-of-eve",
    ADMIN: "planted-password-of-the-admin",
}
NEXT_PASSWORD = "planted-password-of-ada-from-now-on"
WRONG_PASSWORD = "planted-password-of-nobody"
CRASHED_PASSWORD = "planted-password-that-met-a-crash"

# Of the system's own.
DATABASE_PASSWORD = "planted-password-of-postgresql"
REDIS_PASSWORD = "planted-password-of-redis"
MAIL_PASSWORD = "planted-password-of-the-mail-server"
SIGNING_SECRET = "planted-secret-that-signs-all-tokens"

# What Eve alone may read.
NAME = "planted name of eve"
TITLE = "planted title of eve"
DESCRIPTION = "planted description of eve"
TAG = "planted tag of eve"
FILE_NAME = "planted-file-of-eve.txt"
CONTENT = "planted content of eve"
LABEL = "planted label of eve"
MISSING = "/planted-folder-of-eve/log"
EVES = (NAME, TITLE, DESCRIPTION, TAG, FILE_NAME, CONTENT, LABEL, MISSING, EVE)

NO_NUMBER = "planted-value-that-is-no-number"

STORED = (
    "SELECT password_hash FROM users",
    "SELECT encode(digest, 'hex') FROM sessions",
    "SELECT encode(previous_digest, 'hex') FROM sessions WHERE previous_digest IS NOT NULL",
    "SELECT encode(digest, 'hex') FROM api_keys",
)


def forms(secret: str) -> set[str]:
    """What a log or an answer might make of it."""
    raw = secret.encode()
    return {
        secret,
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
        quote(secret),
        quote(secret, safe=""),
        # Without its end, where padding or what follows shows.
        base64.b64encode(raw).decode().rstrip("=")[:-1],
        base64.urlsafe_b64encode(raw).decode().rstrip("=")[:-1],
        hashlib.sha256(raw).hexdigest(),
    }


def stored_forms(value: str) -> set[str]:
    """Of a hash: PostgreSQL shortens what it quotes of a row."""
    if value.startswith("$"):
        # Its salt, which is in no other.
        return {value, value.split("$")[4]}
    return {value[:32], base64.b64encode(bytes.fromhex(value)).decode()[:20]}


@dataclass(frozen=True)
class Answer:
    to: str
    path: str
    text: str


@dataclass
class Witness:
    """Everything that was answered, and what is secret of it."""

    stack: Stack
    answers: list[Answer] = field(default_factory=list)
    # Secrets that answers give out, each with the paths that do.
    given: dict[str, set[str]] = field(default_factory=dict)
    stored: set[str] = field(default_factory=set)

    def client(self, url: str, who: str) -> httpx2.AsyncClient:
        async def hear(response: httpx2.Response) -> None:
            await response.aread()
            self.hear(who, response.request.url.path, f"{response.headers}\n{response.text}")

        return httpx2.AsyncClient(base_url=url, timeout=60, event_hooks={"response": [hear]})

    def hear(self, who: str, path: str, answer: str) -> None:
        self.answers.append(Answer(who, path, answer))
        for secret in re.findall(r'"(?:access_token|refresh_token|key)":"([^"]+)"', answer):
            self.given.setdefault(secret, set()).add(path)

    def look_into_the_database(self) -> None:
        """What is kept of secrets is one, too."""
        with self.stack.ledger.engine.connect() as connection:
            for statement in STORED:
                self.stored |= set(connection.execute(text(statement)).scalars()) - {"!"}

    def paths(self, *values: str, to: str | None = None) -> set[str]:
        """Of the answers that have one of the values."""
        return {
            answer.path
            for answer in self.answers
            if to in (None, answer.to) and any(value in answer.text for value in values)
        }


async def log_in(client: httpx2.AsyncClient, email: str, password: str) -> dict[str, Any]:
    form = {"username": email, "password": password}
    answer = await client.post(f"{AUTH}/login", data=form)
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    return tokens


async def answered(client: httpx2.AsyncClient, url: str) -> None:
    """The database is back, and the process knows."""
    with anyio.fail_after(20):
        while True:
            if (await client.get(url)).status_code != 503:
                return
            await anyio.sleep(0.05)


async def refused(status: int, sent: Any) -> None:
    answer = await sent
    assert answer.status_code == status, answer.text


async def follow(client: httpx2.AsyncClient, job: str) -> dict[str, Any]:
    """To its end, whatever that is."""
    events = await client.get(f"{API}/jobs/{job}/events")
    assert events.status_code == 200, events.text
    ended: dict[str, Any] = (await client.get(f"{API}/jobs/{job}")).json()
    return ended


async def watch(witness: Witness, who: str, url: str, asked: dict[str, str]) -> int:
    """A WebSocket, to its close: that's code."""
    async with connect(url.replace("http:", "ws:"), proxy=None) as socket:
        await socket.send(json.dumps(asked))
        said = []
        try:
            while True:
                said.append(str(await socket.recv()))
        except ConnectionClosed as closed:
            said.append(str(closed))
    witness.hear(who, httpx2.URL(url).path, "\n".join(said))
    assert socket.close_code is not None
    return socket.close_code


async def eve_works(client: httpx2.AsyncClient, witness: Witness) -> list[str]:
    """Has what is hers alone: where it is."""
    await client.post(f"{API}/users", json={"email": EVE, "password": PASSWORDS[EVE]})
    await log_in(client, EVE, PASSWORDS[EVE])
    await client.patch(ME, json={"full_name": NAME})
    item = {"title": TITLE, "description": DESCRIPTION, "tags": [TAG]}
    item_id = (await client.post(f"{API}/items", json=item)).json()["id"]
    file = await client.post(f"{API}/files", params={"name": FILE_NAME}, content=CONTENT)
    file_id = file.json()["id"]
    assert (await client.get(f"{API}/files/{file_id}/content")).text == CONTENT
    spec = {"seconds": 0, "log": MISSING, "label": LABEL}
    job = (await client.post(f"{API}/jobs/test.spin", json={"spec": spec})).json()["id"]
    failed = await follow(client, job)
    assert failed["state"] == "failed"
    # Her own input's fault: she is told all of it.
    assert MISSING in failed["error"]["detail"]
    spec = {"seconds": NO_NUMBER, "label": LABEL, "extra": LABEL}
    await refused(422, client.post(f"{API}/jobs/test.spin", json={"spec": spec}))
    witness.look_into_the_database()
    return [f"{API}/items/{item_id}", f"{API}/files/{file_id}", f"{API}/jobs/{job}"]


async def ada_looks_around(
    client: httpx2.AsyncClient, witness: Witness, access_token: str, eves: list[str]
) -> None:
    item, file, job = eves
    for path in (item, file, job, f"{file}/content", f"{job}/events", f"{job}/result"):
        await refused(404, client.get(path))
    for path in (item, file):
        await refused(404, client.delete(path))
    await refused(404, client.patch(item, json={"title": "mine"}))
    await refused(404, client.post(f"{job}/cancel"))
    spec = {"source": file.rpartition("/")[2], "renditions": [{"name": "a", "width": 10}]}
    answer = await client.post(f"{API}/jobs/image.transform", json={"spec": spec})
    assert 400 <= answer.status_code < 500
    for path in ("items", "files", "jobs", "items?q=planted"):
        assert (await client.get(f"{API}/{path}")).json()["items"] == []
    address = f"{client.base_url}".rstrip("/") + f"{job}/events"
    assert await watch(witness, ADA, address, {"access_token": access_token}) == 4404
    await refused(409, client.post(f"{API}/users", json={"email": EVE, "password": "x" * 8}))


async def ada_makes_mistakes(
    client: httpx2.AsyncClient, witness: Witness, tokens: dict[str, Any], key: str
) -> None:
    """Secrets where they do not belong: other fields, addresses, and what is not HTTP."""
    access, refresh = tokens["access_token"], tokens["refresh_token"]
    password = PASSWORDS[ADA]
    for wrong in (
        client.post(f"{AUTH}/login", data={"username": ADA, "password": password, "x": password}),
        client.post(f"{AUTH}/refresh", json={"refresh_token": refresh, "x": access}),
        client.post(f"{AUTH}/refresh", json={"refresh_token": [refresh]}),
        client.post(
            f"{AUTH}/refresh",
            content=f'{{"refresh_token": "{refresh}"',
            headers={"Content-Type": "application/json"},
        ),
        client.post(f"{API}/users", json={"email": password, "password": password}),
        client.post(f"{API}/users", json={"email": ADA, "password": [password]}),
        client.post(f"{ME}/password", json={"new_password": password}),
        client.get(ME, params={"access_token": access}),
        client.get(f"{API}/jobs", params={"cursor": key}),
    ):
        await refused(422, wrong)
    for unread in (
        client.post(f"{AUTH}/login", json={"username": ADA, "password": password}),
        client.post(f"{AUTH}/refresh", content=f'{{"refresh_token": "{refresh}"'),
        client.post(f"{AUTH}/refresh", headers={"Content-Type": access}, content=b"{}"),
    ):
        await refused(415, unread)
    await refused(401, client.get(ME, headers={"Authorization": f"Basic {key}"}))
    await refused(401, client.get(ME, headers={"Authorization": f"Bearer {refresh}"}))
    with pytest.raises(InvalidStatus) as raised:
        await watch(
            witness,
            ADA,
            f"{client.base_url}".rstrip("/") + f"{API}/jobs/{NOBODY}/events?access_token={access}",
            {},
        )
    refusal = raised.value.response
    witness.hear(ADA, "handshake", f"{refusal.headers}{(refusal.body or b'').decode()}")
    async with await anyio.connect_tcp("127.0.0.1", client.base_url.port or 0) as stream:
        await stream.send(f"GET /{key} {access}\r\nAuthorization: Bearer {access}\r\n\r\n".encode())
        witness.hear(ADA, "no HTTP", b"".join([part async for part in stream]).decode())


NOBODY = "00000000-0000-0000-0000-000000000000"


async def ada_lives(client: httpx2.AsyncClient, witness: Witness, eves: list[str]) -> list[str]:
    """All that there is to do with an account, right and wrong: her keys."""
    await client.post(f"{API}/users", json={"email": ADA, "password": PASSWORDS[ADA]})
    wrong = {"username": ADA, "password": WRONG_PASSWORD}
    await refused(401, client.post(f"{AUTH}/login", data=wrong))
    tokens = await log_in(client, ADA, PASSWORDS[ADA])
    witness.look_into_the_database()
    await ada_looks_around(client, witness, tokens["access_token"], eves)

    first = {"refresh_token": tokens["refresh_token"]}
    second = (await client.post(f"{AUTH}/refresh", json=first)).json()
    witness.look_into_the_database()
    # The answer got lost.
    assert (await client.post(f"{AUTH}/refresh", json=first)).status_code == 200
    third = await client.post(f"{AUTH}/refresh", json={"refresh_token": second["refresh_token"]})
    assert third.status_code == 200
    witness.look_into_the_database()
    await refused(401, client.post(f"{AUTH}/refresh", json=first))
    await refused(401, client.get(ME))
    ended = await log_in(client, ADA, PASSWORDS[ADA])
    witness.look_into_the_database()
    await client.post(f"{AUTH}/logout", json={"refresh_token": ended["refresh_token"]})
    await refused(401, client.get(ME))
    tokens = await log_in(client, ADA, PASSWORDS[ADA])

    made = (await client.post(f"{AUTH}/api-keys", json={"name": "ci"})).json()
    key: str = made["key"]
    witness.look_into_the_database()
    assert (await client.get(f"{AUTH}/api-keys")).status_code == 200
    bearer = client.headers.pop("Authorization")
    with_key = {"X-API-Key": key}
    assert (await client.get(ME, headers=with_key)).status_code == 200
    await refused(403, client.post(f"{AUTH}/api-keys", json={"name": "x"}, headers=with_key))
    await refused(401, client.get(ME, headers={"X-API-Key": f"{key[:-1]}!"}))
    client.headers["Authorization"] = bearer
    await ada_makes_mistakes(client, witness, tokens, key)

    spec = {"spec": {"seconds": 0.2, "label": "planted label of ada"}}
    job = (await client.post(f"{API}/jobs/test.nap", json=spec)).json()["id"]
    address = f"{client.base_url}".rstrip("/") + f"{API}/jobs/{job}/events"
    assert await watch(witness, ADA, address, {"access_token": tokens["access_token"]}) == 1000
    assert await watch(witness, ADA, address, {"api_key": key}) == 1000
    assert await watch(witness, ADA, address, {"access_token": tokens["refresh_token"]}) == 4401
    assert await watch(witness, ADA, address, {"access_token": key, "x": key}) == 4422
    assert (await follow(client, job))["state"] == "succeeded"

    for current, status in ((WRONG_PASSWORD, 403), (PASSWORDS[ADA], 204)):
        change = {"current_password": current, "new_password": NEXT_PASSWORD}
        await refused(status, client.post(f"{ME}/password", json=change))
    witness.look_into_the_database()
    # The key where its id belongs: what is deleted is asked for by either.
    await refused(422, client.delete(f"{AUTH}/api-keys/{key}"))
    await refused(404, client.get(f"{API}/{tokens['refresh_token']}/{tokens['access_token']}"))
    await refused(204, client.delete(f"{AUTH}/api-keys/{made['id']}"))
    del client.headers["Authorization"]
    await refused(401, client.get(ME, headers=with_key))
    return [key, tokens["refresh_token"], tokens["access_token"]]


async def a_reader_subscribes(client: httpx2.AsyncClient, received: Received) -> list[str]:
    """The tokens of the mail's links."""
    reader = {"email": "reader@example.com"}
    await refused(202, client.post(f"{NEWSLETTER}/subscriptions", json=reader))
    with anyio.fail_after(30):
        envelope = await received.mails.get()
    assert isinstance(envelope.content, bytes)
    mail = message_from_bytes(envelope.content, policy=policy.default)
    assert isinstance(mail, EmailMessage)
    links = [token(mail, "confirm"), token(mail, "unsubscribe")]
    for path, link, status in (
        ("confirm", links[1], 422),
        ("confirm", links[0], 200),
        ("unsubscribe", links[0], 422),
        ("unsubscribe", links[1], 204),
    ):
        await refused(status, client.post(f"{NEWSLETTER}/{path}", json={"token": link}))
    return links


async def it_breaks(client: httpx2.AsyncClient, witness: Witness) -> None:
    """Rows that the database refuses, with all that is in them, and then a database that is away.

    In this order: a bug, then an outage.
    """
    crash = {"email": "crash@example.com", "password": CRASHED_PASSWORD}
    engine = witness.stack.ledger.engine

    def execute(*statements: str) -> None:
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))

    tables = ("users", "sessions", "api_keys")
    await log_in(client, EVE, PASSWORDS[EVE])
    for table in tables:
        execute(f"ALTER TABLE {table} ADD CONSTRAINT planted CHECK (false) NOT VALID")
    eves = {"username": EVE, "password": PASSWORDS[EVE]}
    await refused(500, client.post(f"{API}/users", json=crash))
    await refused(500, client.post(f"{AUTH}/login", data=eves))
    await refused(500, client.post(f"{AUTH}/api-keys", json={"name": "x"}))
    for table in tables:
        execute(f"ALTER TABLE {table} DROP CONSTRAINT planted")
    witness.look_into_the_database()
    engine.dispose()
    witness.stack.postgres.stop()
    await refused(503, client.post(f"{API}/users", json=crash))
    await refused(503, client.post(f"{AUTH}/login", data=eves))
    await refused(503, client.get(ME, headers={"X-API-Key": f"hl_{'0' * 12}_{'x' * 43}"}))
    witness.stack.postgres.start()
    await answered(client, ME)
    witness.stack.redis.stop()
    await refused(401, client.post(f"{AUTH}/login", data={**eves, "password": WRONG_PASSWORD}))
    witness.stack.redis.start()


def authenticate(
    server: SMTP, session: object, envelope: Envelope, mechanism: str, data: Any
) -> AuthResult:
    fits = data == LoginPassword(b"postbox", MAIL_PASSWORD.encode())
    return AuthResult(success=fits, handled=False)


@dataclass
class System:
    """Real parts, each with secrets of its own, and what commands said."""

    stack: Stack
    folder: Path
    variables: dict[str, str]
    said: list[str] = field(default_factory=list)

    def start(self) -> str:
        """The API's URL."""
        parts = self.stack.parts
        parts.start("worker", "--concurrency", "1", **self.variables).ready()
        parts.controller(**self.variables).ready()
        return f"http://127.0.0.1:{parts.api(**self.variables)}"

    async def _run(self, variables: dict[str, str], arguments: tuple[str, ...], stdin: str) -> int:
        done = await anyio.run_process(
            command(*arguments),
            input=stdin.encode(),
            check=False,
            env=clean_environment(**variables),
            stderr=subprocess.STDOUT,
        )
        self.said.append(done.stdout.decode())
        return done.returncode

    async def operate(self, *arguments: str, stdin: str = "") -> int:
        """`heavylift <arguments>` where the servers are."""
        return await self._run(environment(self.stack.settings, **self.variables), arguments, stdin)

    async def use(self, url: str, *arguments: str, stdin: str = "") -> int:
        """`heavylift <arguments>` where a person is."""
        person = {"HEAVYLIFT_CLIENT_URL": url, "XDG_CONFIG_HOME": str(self.folder / "config")}
        return await self._run(person, arguments, stdin)

    def credentials(self) -> dict[str, Any]:
        """The person's tokens, which nobody else can read."""
        file = self.folder / "config" / "heavylift" / "credentials.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        (login,) = json.loads(file.read_text())["logins"].values()
        return {name: login[name] for name in ("access_token", "refresh_token")}

    def logs(self) -> dict[str, str]:
        """Of each part and each server, and `heavylift`: what commands said."""
        servers = self.stack.postgres.folder.parent
        files = [*self.folder.glob("*.log"), *servers.rglob("*.log")]
        found = {re.split(r"-|\.", file.name)[0]: file.read_text() for file in files}
        return {**found, "heavylift": "\n".join(self.said)}


@asynccontextmanager
async def receiving() -> AsyncIterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


async def everybody_lives(
    system: System, witness: Witness, received: Received
) -> tuple[list[str], list[str]]:
    """What was asked for as a path by mistake; the tokens of mailed links."""
    url = system.start()
    create = ("user", "create", ADMIN, "--admin")
    assert await system.operate(*create, stdin=PASSWORDS[ADMIN]) == 0
    assert await system.operate(*create, stdin=PASSWORDS[ADMIN]) != 0
    assert await system.operate("config") == 0
    async with (
        witness.client(url, EVE) as eve,
        witness.client(url, ADA) as ada,
        witness.client(url, ADMIN) as admin,
    ):
        eves = await eve_works(eve, witness)
        misplaced = await ada_lives(ada, witness, eves)
        links = await a_reader_subscribes(ada, received)
        await log_in(admin, ADMIN, PASSWORDS[ADMIN])
        users = (await admin.get(f"{API}/users")).json()["items"]
        assert {user["email"] for user in users} >= {ADA, EVE, ADMIN}
        login = ("login", "--email", EVE, "--password-stdin")
        assert await system.use(url, *login, stdin=WRONG_PASSWORD) != 0
        assert await system.use(url, *login, stdin=PASSWORDS[EVE]) == 0
        assert await system.use(url, "jobs", "list", "--json") == 0
        witness.look_into_the_database()
        await it_breaks(eve, witness)
    return misplaced, links


# What shows that a log is the one that was to be read, and that what it is read for has happened.
WRITTEN = {
    "api": (
        "request crashed",
        "dependency is away",
        "mail sent",
        "used again",
        "request refused",
    ),
    "worker": ("job raised", MISSING),
    "controller": ("ready",),
    "postgres": ("violates check constraint",),
    "redis": ("Server initialized",),
    "heavylift": ("***", "logged in", EVE),
    "spans": ("POST /api/v1/auth/login", "run test.nap", "INSERT users", "***"),
}


@pytest.mark.parametrize("mode", ["development", "production"])
async def test_no_line_and_no_answer_carries_what_it_must_not(
    stack: Stack, tmp_path: Path, mode: str
) -> None:
    witness, received = Witness(stack), Received()
    async with (
        mail_server(received, authenticator=authenticate, auth_require_tls=False) as place,
        receiving() as collector,
    ):
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_TRACES_SAMPLER": "always_on",
            "HEAVYLIFT_ENVIRONMENT": mode,
            "HEAVYLIFT_LOG_FORMAT": "json" if mode == "production" else "text",
            "HEAVYLIFT_DATABASE_URL": stack.postgres.url().replace(
                "postgres@", f"postgres:{DATABASE_PASSWORD}@"
            ),
            "HEAVYLIFT_REDIS_URL": stack.redis.url().replace(
                "unix://", f"unix://default:{REDIS_PASSWORD}@"
            ),
            "HEAVYLIFT_AUTH_SIGNING_KEYS": f"first:{SIGNING_SECRET}",
            "HEAVYLIFT_MAIL_URL": f"smtp://postbox:{MAIL_PASSWORD}@{place}?starttls=off",
            "HEAVYLIFT_MAIL_SENDER": "Heavylift <heavylift@localhost>",
            "HEAVYLIFT_NEWSLETTER_PAGE_URL": PAGE,
        }
        system = System(stack, tmp_path, variables)
        misplaced, links = await everybody_lives(system, witness, received)
        stack.parts.stop()

    logs = system.logs()
    # What spans say is read as a log's lines are.
    logs["spans"] = "\n".join(map(repr, collector.spans))
    for log, texts in WRITTEN.items():
        assert [text for text in texts if text not in logs[log]] == [], logs[log]
    assert logs["api"].startswith("{") == (mode == "production")
    check_secrets(witness, logs, [*system.credentials().values(), *links], misplaced)
    check_eves(witness, logs)


def check_secrets(
    witness: Witness, logs: dict[str, str], held: list[str], misplaced: list[str]
) -> None:
    """None is anywhere but in the answers that give it out."""
    # Access tokens of one session and one second are the same; the repeated refresh's answer is.
    lasting = [(secret, path) for secret, paths in witness.given.items() for path in paths]
    assert Counter(path for secret, path in lasting if secret.startswith("hl")) == {
        f"{AUTH}/login": 6,
        f"{AUTH}/refresh": 2,
        f"{AUTH}/api-keys": 1,
    }
    # Of users, of sessions as they were begun and refreshed, and of a key.
    assert len(witness.stored) >= 4 + 7 + 1
    passwords = {*PASSWORDS.values(), NEXT_PASSWORD, WRONG_PASSWORD, CRASHED_PASSWORD}
    own = {DATABASE_PASSWORD, REDIS_PASSWORD, MAIL_PASSWORD, SIGNING_SECRET}
    shapes = {value: forms(value) for value in passwords | own | {*held} | {*witness.given}}
    shapes |= {value: stored_forms(value) for value in witness.stored} | {"argon2": {"argon2id"}}
    leaks = [
        (name, secret, line)
        for secret, looks in shapes.items()
        for name, log in logs.items()
        for line in log.splitlines()
        if any(look in line for look in looks)
    ]
    assert leaks == []
    for secret, looks in shapes.items():
        # An answer names the path that was asked for.
        echoes = {answer.path for answer in witness.answers if secret in answer.path}
        assert bool(echoes) == (secret in misplaced)
        assert witness.paths(*looks) == witness.given.get(secret, set()) | echoes, secret


def check_eves(witness: Witness, logs: dict[str, str]) -> None:
    """What is hers is in her answers and in no other's; in no log but where her job was run.

    And on her own terminal.
    """
    for own in EVES:
        # The label is the job's alone: no answer has specifications.
        assert bool(witness.paths(own, to=EVE)) == (own != LABEL), own
        assert witness.paths(own, to=ADA) == set(), own
    assert witness.paths(NO_NUMBER) == set()
    known = {"worker": {MISSING}, "heavylift": {EVE, MISSING}}
    for name, log in logs.items():
        hidden = {*EVES, NO_NUMBER} - known.get(name, set())
        assert [own for own in hidden if own in log] == [], name
