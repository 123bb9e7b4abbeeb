"""Subscribing, confirming, unsubscribing: by whom the mail reaches, and by nobody else."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any
from uuid import UUID, uuid4

import pytest
import structlog
from fastapi import FastAPI
from httpx2 import AsyncClient, Response
from sqlalchemy import Engine, text
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.types import Message, Receive, Scope, Send

from app.api.deps import get_mailer, get_session
from app.core.config import Settings
from app.core.links import sign_link
from app.core.security import sign_access_token
from app.jobs import KindRegistry
from app.main import create_app
from app.services.newsletter import CONFIRM, UNSUBSCRIBE
from tests.integration.api.conftest import connect, serving
from tests.integration.listening import listening
from tests.integration.newsletter.conftest import Outbox, token

pytestmark = pytest.mark.anyio

SUBSCRIPTIONS = "/api/v1/newsletter/subscriptions"
ADA = {"email": "ada@example.com"}


def subscriptions(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(
            connection.execute(
                text("SELECT email, confirmed_at FROM newsletter_subscriptions ORDER BY id")
            ).all()
        )


def backdate(engine: Engine, interval: str) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE newsletter_subscriptions"
                " SET mailed_at = mailed_at - CAST(:interval AS interval)"
            ),
            {"interval": interval},
        )


async def act(reader: AsyncClient, action: str, token: str) -> Response:
    return await reader.post(f"/api/v1/newsletter/{action}", json={"token": token})


def is_invalid(response: Response) -> bool:
    problem = response.json()
    return (
        response.status_code == 422
        and problem["type"].endswith("/invalid-link")
        and [error["field"] for error in problem["errors"]] == ["body.token"]
    )


async def test_a_reader_subscribes_confirms_and_unsubscribes(
    reader: AsyncClient, outbox: Outbox, engine: Engine
) -> None:
    asked = await reader.post(SUBSCRIPTIONS, json=ADA)
    assert asked.status_code == 202
    assert asked.json() == {"email": "ada@example.com", "confirm_within": 3 * 86400}
    assert subscriptions(engine) == [("ada@example.com", None)]

    (mail,) = outbox.mails
    assert mail["To"] == "ada@example.com"
    assert mail["From"] == "Heavylift <heavylift@localhost>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Message-ID"].endswith("@localhost>")
    assert mail["Date"].datetime.tzinfo is not None

    # Once, and again: a link is opened twice.
    confirmed = [await act(reader, "confirm", token(mail, "confirm")) for _ in range(2)]
    assert [response.status_code for response in confirmed] == [200, 200]
    assert confirmed[0].json() == confirmed[1].json()
    ((email, at),) = subscriptions(engine)
    assert email == confirmed[0].json()["email"] == "ada@example.com"
    assert at == datetime.fromisoformat(confirmed[0].json()["confirmed_at"])

    ended = [await act(reader, "unsubscribe", token(mail, "unsubscribe")) for _ in range(2)]
    assert [(response.status_code, response.content) for response in ended] == [(204, b"")] * 2
    assert subscriptions(engine) == []
    # An old mail subscribes nobody who has left since.
    assert is_invalid(await act(reader, "confirm", token(mail, "confirm")))
    assert subscriptions(engine) == []


async def test_the_answer_is_the_same_for_every_address(
    reader: AsyncClient, outbox: Outbox, engine: Engine
) -> None:
    async def ask() -> tuple[int, bytes, set[str]]:
        response = await reader.post(SUBSCRIPTIONS, json=ADA)
        return response.status_code, response.content, set(response.headers)

    unknown = await ask()
    assert await ask() == unknown  # mailed just now
    backdate(engine, "1 day")
    assert await ask() == unknown  # not confirmed
    assert len(outbox.mails) == 2
    for mail in outbox.mails:
        assert (await act(reader, "confirm", token(mail, "confirm"))).status_code == 200
    backdate(engine, "1 day")
    assert await ask() == unknown  # confirmed
    assert len(outbox.mails) == 2


async def test_an_address_gets_one_mail_in_a_while(
    reader: AsyncClient, outbox: Outbox, engine: Engine
) -> None:
    """In any case, by how many requests at once."""
    spellings = ["ada@example.com", "Ada@example.com", "ADA@EXAMPLE.COM"] * 4
    await asyncio.gather(
        *(reader.post(SUBSCRIPTIONS, json={"email": email}) for email in spellings)
    )
    assert len(outbox.mails) == 1
    backdate(engine, "14 min")
    await reader.post(SUBSCRIPTIONS, json=ADA)
    assert len(outbox.mails) == 1
    backdate(engine, "2 min")
    await reader.post(SUBSCRIPTIONS, json={"email": "Ada@example.com"})
    assert [mail["To"] for mail in outbox.mails[1:]] == ["Ada@example.com"]
    assert subscriptions(engine) == [("Ada@example.com", None)]


@pytest.mark.parametrize(
    "email",
    [
        "ada",
        "ada@example.com, eve@example.com",
        "ada@example.com\r\nBcc: eve@example.com",
        "ada@example.com\x00",
        "",
    ],
)
async def test_what_is_no_address_gets_no_mail(
    reader: AsyncClient, outbox: Outbox, engine: Engine, email: str
) -> None:
    response = await reader.post(SUBSCRIPTIONS, json={"email": email})
    assert response.status_code == 422
    assert (outbox.mails, subscriptions(engine)) == ([], [])


async def test_an_address_with_letters_of_its_own(reader: AsyncClient, outbox: Outbox) -> None:
    await reader.post(SUBSCRIPTIONS, json={"email": "jörg@exämple.com"})
    assert [mail["To"] for mail in outbox.mails] == ["jörg@xn--exmple-cua.com"]


# --- tokens ---------------------------------------------------------------------------------------


async def test_only_the_mails_own_link_does_what_it_is_for(
    reader: AsyncClient, outbox: Outbox, engine: Engine, settings: Settings
) -> None:
    await reader.post(SUBSCRIPTIONS, json=ADA)
    (mail,) = outbox.mails
    confirm, unsubscribe = token(mail, "confirm"), token(mail, "unsubscribe")
    with engine.connect() as connection:
        row: UUID = connection.execute(text("SELECT id FROM newsletter_subscriptions")).scalar_one()
    now = datetime.now(UTC)
    access = sign_access_token(settings.auth, row, row, ttl=900)
    head, claims, signature = confirm.split(".")
    forger = settings.auth.model_validate({"signing_keys": f"sample:{'f' * 64}"})
    for forged in (
        unsubscribe,
        access,
        sign_link(settings.auth, CONFIRM, row, until=now - timedelta(seconds=1)),
        sign_link(settings.auth, CONFIRM, uuid4(), until=now + timedelta(hours=1)),
        sign_link(forger, CONFIRM, row),
        f"{head}.{claims}.{signature[::-1]}",
        f"{head}.{claims}.",
        "a.b.c",
        "é",
    ):
        assert is_invalid(await act(reader, "confirm", forged)), forged
    for forged in (confirm, access, "a.b.c"):
        assert is_invalid(await act(reader, "unsubscribe", forged)), forged
    assert subscriptions(engine) == [("ada@example.com", None)]


async def test_a_links_token_opens_nothing_else(
    reader: AsyncClient, make_owner: Callable[..., UUID], settings: Settings
) -> None:
    user = make_owner()
    until = datetime.now(UTC) + timedelta(hours=1)
    for purpose in (CONFIRM, UNSUBSCRIBE):
        link = sign_link(settings.auth, purpose, user, until=until)
        headers = {"Authorization": f"Bearer {link}"}
        assert (await reader.get("/api/v1/users/me", headers=headers)).status_code == 401


@pytest.mark.slow
async def test_links_outlive_the_key_that_signed_them(
    news_settings: Settings, clean: None, outbox: Outbox
) -> None:
    """While it still verifies."""
    old, new = f"old:{'o' * 40}", f"new:{'n' * 40}"
    mails: list[EmailMessage] = []
    for keys, works in ((old, True), (f"{new},{old}", True), (new, False)):
        auth = news_settings.auth.model_validate({"signing_keys": keys})
        app = create_app(news_settings.model_copy(update={"auth": auth}), KindRegistry([]))
        app.dependency_overrides[get_mailer] = lambda: outbox
        async with serving(app) as served, connect(served) as reader:
            if not mails:
                await reader.post(SUBSCRIPTIONS, json=ADA)
                mails = outbox.mails
            response = await act(reader, "confirm", token(mails[0], "confirm"))
            assert (response.status_code == 200) is works, keys


async def test_nothing_of_a_token_is_stored_logged_or_told(
    reader: AsyncClient, outbox: Outbox, engine: Engine
) -> None:
    with structlog.testing.capture_logs(
        processors=[structlog.contextvars.merge_contextvars]
    ) as logs:
        await reader.post(SUBSCRIPTIONS, json=ADA)
        (mail,) = outbox.mails
        told = [
            await act(reader, action, sent)
            for action in ("confirm", "unsubscribe")
            # The second is one that is refused; the third does not even fit the schema.
            for sent in (token(mail, action), token(mail, action)[:-1], "t" * 1001)
        ]
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM newsletter_subscriptions")).all()
    seen = f"{logs} {[response.text for response in told]} {rows}"
    assert [line["event"] for line in logs].count("request") == 7
    for action in ("confirm", "unsubscribe"):
        for part in token(mail, action).split(".")[1:]:
            assert part[:20] not in seen
    assert "t" * 20 not in seen


# --- mails ----------------------------------------------------------------------------------------


async def test_opening_a_link_confirms_nothing(
    reader: AsyncClient, outbox: Outbox, engine: Engine
) -> None:
    """As mail programs and virus scanners do, which may add parameters of their own."""
    await reader.post(SUBSCRIPTIONS, json=ADA)
    sent = token(outbox.mails[0], "confirm")
    page = await reader.get("/newsletter", params={"utm_source": "mail", "confirm": sent})
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["referrer-policy"] == "no-referrer"
    script = await reader.get("/newsletter.js")
    assert script.headers["content-type"].startswith("text/javascript")
    for action in ("confirm", "unsubscribe"):
        opened = await reader.get(f"/api/v1/newsletter/{action}", params={"token": sent})
        assert opened.status_code == 405
    assert subscriptions(engine) == [("ada@example.com", None)]


async def test_the_mail_is_sent_once_the_answer_is(news_app: FastAPI, engine: Engine) -> None:
    order: list[object] = []

    class Noting:
        async def send(self, message: EmailMessage) -> None:
            order.append("mail")

    news_app.dependency_overrides[get_mailer] = Noting
    async with serving(news_app) as served:

        async def noting(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_and_note(message: Message) -> None:
                order.append(subscriptions(engine))
                await send(message)
                order.append(message["type"])

            await served(scope, receive, send_and_note)

        async with connect(noting) as reader:
            assert (await reader.post(SUBSCRIPTIONS, json=ADA)).status_code == 202
    committed = [("ada@example.com", None)]
    assert order == [
        committed,
        "http.response.start",
        committed,
        "http.response.body",
        "mail",
    ]


async def test_nobody_waits_for_the_mail(news_app: FastAPI) -> None:
    """A mail server that answers only once the client has its own answer."""
    answered = asyncio.Event()
    sent = asyncio.Event()

    class Waiting:
        async def send(self, message: EmailMessage) -> None:
            await answered.wait()
            sent.set()

    news_app.dependency_overrides[get_mailer] = Waiting
    async with asyncio.timeout(10), listening(news_app) as api, api.client() as reader:
        response = await reader.post("/newsletter/subscriptions", json=ADA)
        assert response.status_code == 202
        # The connection is free meanwhile: how long a mail takes says nothing to who asked.
        assert (await reader.post("/newsletter/subscriptions", json=ADA)).status_code == 202
        assert not sent.is_set()
        answered.set()
        await sent.wait()


async def test_without_its_subscription_no_mail_is_sent(
    news_app: FastAPI, outbox: Outbox, engine: Engine
) -> None:
    async def fail_to_commit() -> AsyncIterator[AsyncSession]:
        async for session in get_session(state):
            yield session
            raise ConnectionResetError

    news_app.dependency_overrides[get_session] = fail_to_commit
    async with listening(news_app) as api, api.client() as reader:
        state = api.state
        response = await reader.post("/newsletter/subscriptions", json=ADA)
    assert response.status_code == 503
    assert (outbox.mails, subscriptions(engine)) == ([], [])


@pytest.fixture
def production(settings: Settings) -> Settings:
    return settings.model_copy(update={"environment": "production"})


async def test_production_without_a_mail_server_says_so(
    production: Settings, clean: None, engine: Engine
) -> None:
    with structlog.testing.capture_logs() as logs:
        async with serving(create_app(production, KindRegistry([]))) as served:
            warnings = [line for line in logs if line["log_level"] == "warning"]
            async with connect(served) as reader:
                response = await reader.post(SUBSCRIPTIONS, json=ADA)
                link = sign_link(production.auth, UNSUBSCRIBE, uuid4())
                # Whoever has a link may still leave.
                assert (await act(reader, "unsubscribe", link)).status_code == 204
    assert len(warnings) == 1
    assert "HEAVYLIFT_MAIL_URL" in warnings[0]["event"]
    assert response.status_code == 503
    assert response.json()["type"].endswith("/mail-not-configured")
    assert "HEAVYLIFT_MAIL_URL" in response.json()["detail"]
    assert subscriptions(engine) == []
