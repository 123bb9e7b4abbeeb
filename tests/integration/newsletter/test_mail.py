"""Mails, to a real SMTP server: with TLS or without, and lost without an error."""

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import structlog
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword
from httpx2 import AsyncClient
from pydantic import ValidationError
from structlog.typing import EventDict

from app.api.deps import get_mailer
from app.core import config
from app.core.config import Settings
from app.core.logging import log_renderer
from app.core.mail import LogMailer, SmtpMailer, compose, open_mailer
from app.core.masking import loggable
from app.jobs import KindRegistry
from app.main import create_app
from tests.integration.api.conftest import connect, serving
from tests.integration.newsletter.conftest import token

pytestmark = pytest.mark.anyio

CERTIFICATE = Path(__file__).with_name("localhost.pem")

USER, PASSWORD = "postbox@example.com", "p@ss:w/rd"
LOGIN = f"{quote(USER, safe='')}:{quote(PASSWORD, safe='')}@"


@dataclass
class Received:
    """A mail server's handler."""

    mails: "asyncio.Queue[Envelope]" = field(default_factory=asyncio.Queue)
    refuses: str = ""
    at_once: int = 0
    most: int = 0

    async def handle_RCPT(  # noqa: N802 - the name is aiosmtpd's
        self, server: SMTP, session: object, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address == self.refuses:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: object, envelope: Envelope) -> str:  # noqa: N802
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        # Others come in meanwhile, if they may.
        await asyncio.sleep(0.01)
        self.at_once -= 1
        self.mails.put_nowait(envelope)
        return "250 OK"


def authenticate(
    server: SMTP, session: object, envelope: Envelope, mechanism: str, data: Any
) -> AuthResult:
    fits = data == LoginPassword(USER.encode(), PASSWORD.encode())
    return AuthResult(success=fits, handled=False)


def server_context() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    return context


@asynccontextmanager
async def mail_server(
    handler: Received, *, tls: ssl.SSLContext | None = None, **options: Any
) -> AsyncIterator[str]:
    """Where it listens."""
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(handler, hostname="localhost", **options), "127.0.0.1", 0, ssl=tls
    )
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's certificate; where OpenSSL finds it, as in a container."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))


@pytest.fixture
def received() -> Received:
    return Received()


def mailer(url: str, **settings: Any) -> SmtpMailer:
    mail = config.Mail.model_validate({"url": url, **settings})
    assert mail.server is not None
    return SmtpMailer(mail, mail.server)


def a_mail(to: str = "ada@example.com") -> EmailMessage:
    return compose(config.Mail(), to=to, subject="Grüße", text="Hällo, Ada\n.\n")


async def sent(mailer: SmtpMailer, message: EmailMessage) -> bool:
    """Whether it says so; otherwise that it is lost, in one warning without the password."""
    with structlog.testing.capture_logs() as logs:
        await mailer.send(message)
    (line,) = logs
    assert (line["event"], line["log_level"]) in (("mail sent", "info"), ("mail lost", "warning"))
    assert PASSWORD not in str(line)
    return bool(line["event"] == "mail sent")


async def test_a_mail_arrives_as_it_was_written(received: Received) -> None:
    async with mail_server(received) as place:
        assert await sent(mailer(f"smtp://{place}?starttls=off"), a_mail())
    envelope = received.mails.get_nowait()
    assert (envelope.mail_from, envelope.rcpt_tos) == ("heavylift@localhost", ["ada@example.com"])
    assert isinstance(envelope.content, bytes)
    mail = message_from_bytes(envelope.content, policy=policy.default)
    assert (mail["To"], mail["Subject"]) == ("ada@example.com", "Grüße")
    assert mail.get_content() == "Hällo, Ada\r\n.\r\n"


# aiosmtpd's own, which does not know that all of the connection is in TLS.
@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_with_tls_and_a_password(received: Received, trusted: None, scheme: str) -> None:
    context = server_context()
    options: dict[str, Any] = (
        {"tls_context": context, "require_starttls": True}
        if scheme == "smtp"
        else {"tls": context, "auth_require_tls": False}
    )
    async with mail_server(
        received, authenticator=authenticate, auth_required=True, **options
    ) as place:
        assert await sent(mailer(f"{scheme}://{LOGIN}{place}"), a_mail())
        assert not await sent(mailer(f"{scheme}://{LOGIN.replace('p', 'q')}{place}"), a_mail())
        assert not await sent(mailer(f"{scheme}://{place}"), a_mail())
    assert received.mails.qsize() == 1


async def test_nothing_is_said_in_clear_to_a_server_without_tls(received: Received) -> None:
    """A password would be read on the way, and an answer that offers no TLS may be forged."""
    seen: list[object] = []

    def note(server: SMTP, session: object, envelope: Envelope, mechanism: str, data: Any) -> Any:
        seen.append(data)
        return AuthResult(success=True)

    async with mail_server(received, authenticator=note, auth_require_tls=False) as place:
        assert not await sent(mailer(f"smtp://{LOGIN}{place}"), a_mail())
        assert seen == []
        # It is how it was asked for, or the test shows nothing.
        assert await sent(mailer(f"smtp://{LOGIN}{place}?starttls=off"), a_mail())
        assert len(seen) == 1


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_a_certificate_that_nobody_trusts(received: Received, scheme: str) -> None:
    context = server_context()
    options = {"tls_context": context} if scheme == "smtp" else {"tls": context}
    async with mail_server(received, **options) as place:
        assert not await sent(mailer(f"{scheme}://{place}"), a_mail())
    assert received.mails.empty()


async def test_what_can_not_be_sent_is_lost(received: Received) -> None:
    received.refuses = "nobody@example.com"
    async with mail_server(received) as place:
        to = mailer(f"smtp://{place}?starttls=off")
        assert not await sent(to, a_mail("nobody@example.com"))
        # The server does not say that it takes such addresses.
        assert not await sent(to, a_mail("jörg@example.com"))
        assert await sent(to, a_mail())
    # Nobody listens any more.
    assert not await sent(to, a_mail())
    assert not await sent(mailer("smtp://127.0.0.1:1"), a_mail())


async def test_letters_of_its_own_where_the_server_takes_them(received: Received) -> None:
    async with mail_server(received, enable_SMTPUTF8=True) as place:
        assert await sent(mailer(f"smtp://{place}?starttls=off"), a_mail("jörg@example.com"))
    assert received.mails.get_nowait().rcpt_tos == ["jörg@example.com"]


@pytest.mark.parametrize(
    ("address", "utf8", "sent_to"),
    [
        ("ada@bücher.example", False, "ada@xn--bcher-kva.example"),
        ("ada@例え.テスト", False, "ada@xn--r8jz45g.xn--zckzah"),
        ("ada@faß.example", False, "ada@xn--fa-hia.example"),
        ("jörg@bücher.example", True, "jörg@xn--bcher-kva.example"),
    ],
)
async def test_a_domain_is_sent_in_ascii(
    received: Received, address: str, utf8: bool, sent_to: str
) -> None:
    """Every server takes that; only other letters before the @ need one with SMTPUTF8."""
    async with mail_server(received, enable_SMTPUTF8=utf8) as place:
        assert await sent(mailer(f"smtp://{place}?starttls=off"), a_mail(address))
    envelope = received.mails.get_nowait()
    assert envelope.rcpt_tos == [sent_to]
    assert envelope.smtp_utf8 is utf8
    assert isinstance(envelope.content, bytes)
    assert message_from_bytes(envelope.content, policy=policy.default)["To"] == sent_to


async def test_a_sender_from_a_domain_with_letters_of_its_own(received: Received) -> None:
    sender = "Die Gräfin <news@bücher.example>"
    message = compose(config.Mail(sender=sender), to="ada@example.com", subject="x", text="y")
    async with mail_server(received) as place:
        assert await sent(mailer(f"smtp://{place}?starttls=off"), message)
    envelope = received.mails.get_nowait()
    assert envelope.mail_from == "news@xn--bcher-kva.example"
    assert isinstance(envelope.content, bytes)
    assert envelope.content.split(b"\r\n\r\n")[0].isascii()
    mail = message_from_bytes(envelope.content, policy=policy.default)
    assert mail["From"] == "Die Gräfin <news@xn--bcher-kva.example>"
    assert mail["Message-ID"].endswith("@xn--bcher-kva.example>")


@pytest.mark.parametrize("domain", ["é" * 80 + ".example", "a..é", "\N{SNOWMAN}.example"])
def test_a_sender_whose_domain_has_no_ascii_form_is_refused(domain: str) -> None:
    with pytest.raises(ValidationError, match="write it as Name <name@host>"):
        config.Mail(sender=f"News <news@{domain}>")


async def test_a_server_that_says_nothing_is_given_up() -> None:
    """And with it what waits for a connection: they do not all try, one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        to = mailer(f"smtp://{place}", timeout=0.2, connections=1)
        with structlog.testing.capture_logs() as logs:
            await asyncio.gather(*(to.send(a_mail()) for _ in range(5)))
        assert [line["event"] for line in logs] == ["mail lost"] * 5
        silent.setblocking(False)
        connections = 0
        with suppress(BlockingIOError):
            while True:
                silent.accept()[0].close()
                connections += 1
        # One more may get its turn in its last moment.
        assert connections < 5


async def test_few_connections_at_once(received: Received) -> None:
    async with mail_server(received) as place:
        to = mailer(f"smtp://{place}?starttls=off", connections=2)
        await asyncio.gather(*(to.send(a_mail()) for _ in range(8)))
    assert received.mails.qsize() == 8
    assert received.most <= 2


# --- from the API to the server -------------------------------------------------------------------


@asynccontextmanager
async def reader_of(settings: Settings, **mail: str) -> AsyncIterator[AsyncClient]:
    update = {
        "mail": config.Mail.model_validate(mail),
        "newsletter": settings.newsletter.model_validate(
            {"page_url": "https://heavylift.example/newsletter"}
        ),
    }
    app = create_app(settings.model_copy(update=update), KindRegistry([]))
    assert get_mailer not in app.dependency_overrides
    async with serving(app) as served, connect(served) as client:
        yield client


async def test_a_confirmation_goes_over_smtp(
    settings: Settings, clean: None, received: Received
) -> None:
    async with (
        mail_server(received) as place,
        reader_of(
            settings,
            url=f"smtp://{place}?starttls=off",
            sender="Die Gräfin <news@heavylift.example>",
        ) as reader,
    ):
        path = "/api/v1/newsletter"
        await reader.post(f"{path}/subscriptions", json={"email": "ada@example.com"})
        envelope = received.mails.get_nowait()
        assert envelope.mail_from == "news@heavylift.example"
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        assert mail["From"] == "Die Gräfin <news@heavylift.example>"
        body = {"token": token(mail, "confirm")}
        assert (await reader.post(f"{path}/confirm", json=body)).status_code == 200


async def test_a_dead_mail_server_fails_no_request(settings: Settings, clean: None) -> None:
    async with reader_of(settings, url="smtp://127.0.0.1:1") as reader:
        with structlog.testing.capture_logs() as logs:
            response = await reader.post(
                "/api/v1/newsletter/subscriptions", json={"email": "ada@example.com"}
            )
    assert response.status_code == 202
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["mail lost"]


async def test_development_prints_its_mails(settings: Settings, clean: None) -> None:
    async with reader_of(settings) as reader:
        with structlog.testing.capture_logs() as logs:
            await reader.post("/api/v1/newsletter/subscriptions", json={"email": "ada@example.com"})
    (line,) = [line for line in logs if "mail" in line["event"]]
    assert line["to"] == "ada@example.com"
    assert "https://heavylift.example/newsletter#confirm=" in line["text"]


def as_printed(logger: object, method: str, line: EventDict) -> EventDict:
    """A processor that makes of a captured line what reaches stdout."""
    return {"printed": loggable(str(log_renderer(as_text=False)(logger, method, line)))}


async def test_a_printed_mails_links_work_and_other_secrets_are_masked(
    settings: Settings, clean: None
) -> None:
    """As it is printed: what is logged is masked on its way there."""
    secret = f"hl_{'0' * 12}_{'x' * 20}"
    processors = [structlog.contextvars.merge_contextvars, as_printed]
    async with reader_of(settings) as reader:
        with structlog.testing.capture_logs(processors) as logs:
            new = {"email": f"{secret}@example.com"}
            headers = {"X-Request-Id": secret}
            await reader.post("/api/v1/newsletter/subscriptions", json=new, headers=headers)
        out = [line["printed"] for line in logs]
        (mail,) = [line for line in out if "mail, not sent" in line]
        assert f"hl_{'0' * 12}_***" in mail
        assert secret not in str(out)
        links = dict(re.findall(r"#(confirm|unsubscribe)=([\w.-]+)", mail))
        for action, status in (("confirm", 200), ("unsubscribe", 204)):
            asked = {"token": links[action]}
            answer = await reader.post(f"/api/v1/newsletter/{action}", json=asked)
            assert answer.status_code == status
        # The same token on any other line is masked.
        with structlog.testing.capture_logs(processors) as logs:
            structlog.get_logger().info("asked for", url=f"/newsletter#confirm={links['confirm']}")
        assert links["confirm"] not in logs[0]["printed"]


def test_what_sends_the_mails(settings: Settings) -> None:
    production = settings.model_copy(update={"environment": "production"})
    mail = config.Mail.model_validate({"url": "smtp://mail.example"})
    assert isinstance(open_mailer(settings), LogMailer)
    assert open_mailer(production) is None
    for environment in (settings, production):
        assert isinstance(open_mailer(environment.model_copy(update={"mail": mail})), SmtpMailer)
