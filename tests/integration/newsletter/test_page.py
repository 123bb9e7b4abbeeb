"""The page that mails link to, in a real browser."""

import os
import shutil
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from playwright.async_api import Page, async_playwright, expect
from sqlalchemy import Engine, text

from tests.integration.listening import Listening, listening
from tests.integration.newsletter.conftest import Outbox, token

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture(scope="session")
def chromium() -> str:
    found = shutil.which("chromium")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("no chromium: apt-get install chromium")
        pytest.skip("no chromium: apt-get install chromium")
    return found


@pytest.fixture
async def api(news_app: FastAPI) -> AsyncIterator[Listening]:
    async with listening(news_app) as api:
        yield api


@pytest.fixture
async def page(chromium: str) -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = await browser.new_page()
        yield page
        await browser.close()


def states(engine: Engine) -> list[bool]:
    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT confirmed_at IS NOT NULL FROM newsletter_subscriptions")
        )
        return list(rows.scalars())


async def test_a_reader_confirms_and_unsubscribes(
    api: Listening, page: Page, outbox: Outbox, engine: Engine
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    broken: list[str] = []
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.on("console", lambda message: broken.append(message.text))
    async with api.client() as reader:
        await reader.post("/newsletter/subscriptions", json={"email": "ada@example.com"})
    (mail,) = outbox.mails
    address = f"http://{api.host}:{api.port}/newsletter"
    message = page.get_by_role("status")

    await page.goto(f"{address}#confirm={token(mail, 'confirm')}")
    await expect(message).to_contain_text("about to subscribe")
    # Opened, scripts and all, and nothing has happened.
    assert states(engine) == [False]
    await page.get_by_role("button", name="Subscribe").click()
    await expect(message).to_contain_text("You are subscribed")
    await expect(page.get_by_role("button")).to_have_count(0)
    assert states(engine) == [True]

    # Another fragment of the same page: the browser loads nothing.
    await page.goto(f"{address}#unsubscribe={token(mail, 'unsubscribe')}")
    await page.get_by_role("button", name="Unsubscribe").click()
    await expect(message).to_contain_text("You are unsubscribed")
    assert states(engine) == []
    assert broken == []
    for url in asked:
        assert url.startswith(f"http://{api.host}:{api.port}/")
        assert token(mail, "confirm") not in url
        assert token(mail, "unsubscribe") not in url

    await page.goto(f"{address}?again#confirm={token(mail, 'confirm')}")
    await page.get_by_role("button").click()
    await expect(message).to_contain_text("The link is not good, or no longer")


async def test_a_page_without_a_token_does_nothing(api: Listening, page: Page) -> None:
    for fragment in ("", "#", "#confirm=", "#constructor=x", "#confirm"):
        await page.goto(f"http://{api.host}:{api.port}/newsletter?{len(fragment)}{fragment}")
        await expect(page.get_by_role("button")).to_have_count(0)
