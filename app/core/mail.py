"""Mail that may be lost: sent over SMTP, or printed to the log where no server is set."""

import asyncio
import re
from collections.abc import Callable
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import localtime, make_msgid
from typing import Protocol

import aiosmtplib
import structlog

from app.core import config
from app.core.config import Settings, SmtpServer
from app.core.domains import ascii_domain
from app.core.masking import showing

log = structlog.get_logger(__name__)

# Hands a mail on, to be sent later.
Post = Callable[[EmailMessage], None]


# The token in a mail's link: `#confirm=…`.
LINK_TOKEN = re.compile(r"#\w+=(\S+)")


class Mailer(Protocol):
    async def send(self, message: EmailMessage) -> None:
        """Send it, or say in the log that it is lost; raises nothing."""


class SmtpMailer:
    """A connection for each mail, a few of them at once."""

    def __init__(self, mail: config.Mail, server: SmtpServer) -> None:
        self._server = server
        self._timeout = mail.timeout
        self._connections = asyncio.Semaphore(mail.connections)

    async def send(self, message: EmailMessage) -> None:
        server = self._server
        try:
            # What waits for a connection is given up as well: behind a server that hangs, mails
            # do not pile up.
            async with asyncio.timeout(self._timeout), self._connections:
                await aiosmtplib.send(
                    message,
                    hostname=server.host,
                    port=server.port,
                    username=server.user,
                    password=server.password,
                    use_tls=server.tls,
                    start_tls=server.starttls,
                    timeout=self._timeout,
                )
        # Whatever it is, nobody waits for an answer.
        except Exception as error:
            log.warning("mail lost", subject=message["Subject"], error=f"{error!r}")
        else:
            log.info("mail sent", subject=message["Subject"])


class LogMailer:
    """For development: the log has the whole mail, its links included."""

    async def send(self, message: EmailMessage) -> None:
        text = message.get_content()
        with showing(LINK_TOKEN.findall(text)):
            log.info(
                "mail, not sent: HEAVYLIFT_MAIL_URL is not set",
                to=message["To"],
                subject=message["Subject"],
                text=text,
            )


def open_mailer(settings: Settings) -> Mailer | None:
    """None in production without a mail server: links are not for its log."""
    server = settings.mail.server
    if server is not None:
        return SmtpMailer(settings.mail, server)
    return LogMailer() if settings.environment == "development" else None


def compose(mail: config.Mail, *, to: str, subject: str, text: str) -> EmailMessage:
    """Headers are structured, not glued: no address and no subject makes another one.

    Domains are in ASCII, which every mail server takes: only a local part with other letters needs
    SMTPUTF8 (RFC 6531).
    """
    message = EmailMessage()
    message["From"] = mail.sender
    sender = message["From"].addresses[0]
    message.replace_header(
        "From", Address(sender.display_name, sender.username, ascii_domain(sender.domain))
    )
    # In its parts: whole, it would be parsed, and refused with letters that are not ASCII.
    local, _, domain = to.rpartition("@")
    message["To"] = Address(username=local, domain=ascii_domain(domain))
    message["Subject"] = subject
    message["Date"] = localtime()
    # The domain given: found out, it may ask a DNS server and wait.
    message["Message-ID"] = make_msgid(domain=message["From"].addresses[0].domain)
    # RFC 3834: no "out of office" in answer.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    return message
