"""The application with a mailer that keeps what it is given."""

import re
from collections.abc import AsyncIterator
from email.message import EmailMessage

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient

from app.api.deps import get_mailer
from app.core.config import Settings
from app.jobs import KindRegistry
from app.main import create_app
from tests.integration.api.conftest import connect, serving
from tests.integration.listening import as_new

PAGE = "https://heavylift.example/newsletter"


class Outbox:
    """What was sent."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []

    async def send(self, message: EmailMessage) -> None:
        self.mails.append(message)


def token(mail: EmailMessage, action: str) -> str:
    """Out of the mail's link."""
    text = mail.get_content().replace("\r\n", "\n")
    match = re.search(rf"^{re.escape(PAGE)}#{action}=(\S+)$", text, re.MULTILINE)
    assert match is not None, text
    return match[1]


@pytest.fixture(scope="session")
def news_settings(settings: Settings) -> Settings:
    newsletter = settings.newsletter.model_copy(update={"page_url": PAGE})
    return settings.model_copy(update={"newsletter": newsletter})


@pytest.fixture
def outbox() -> Outbox:
    return Outbox()


@pytest.fixture(scope="session")
def built(news_settings: Settings) -> FastAPI:
    return create_app(news_settings, KindRegistry([]))


@pytest.fixture
def news_app(built: FastAPI, clean: None, outbox: Outbox) -> FastAPI:
    app = as_new(built)
    app.dependency_overrides[get_mailer] = lambda: outbox
    return app


@pytest.fixture
async def reader(news_app: FastAPI) -> AsyncIterator[AsyncClient]:
    async with serving(news_app) as served, connect(served) as client:
        yield client
