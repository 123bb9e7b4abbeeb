"""A real browser on Heavylift: API, controller and worker as processes of their own."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page, Request, Route, sync_playwright

from app.core.config import Settings
from tests.processes import Parts, parts

# Not localhost, for which some pages make exceptions; the browser is told where it is.
HOST = "heavylift.example"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Its path. Where tests must not be skipped (CI), it has to be there."""
    path = shutil.which("chromium")
    if path is None:
        message = "no chromium on the PATH: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


@dataclass(frozen=True)
class Site:
    port: int
    parts: Parts

    @property
    def url(self) -> str:
        """For the browser."""
        return f"http://{HOST}:{self.port}"

    @property
    def local_url(self) -> str:
        """For this process."""
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def site(settings: Settings, clean: None, tmp_path: Path) -> Iterator[Site]:
    """The API with the test kinds, and nothing yet that runs them."""
    with parts(settings, tmp_path) as running:
        yield Site(running.api(), running)


@dataclass
class Visit:
    """A page, and what it asked of others or complained of."""

    page: Page
    strangers: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def _is_ours(request: Request) -> bool:
    url = urlsplit(request.url)
    return url.hostname == HOST or url.scheme in ("blob", "data")


@pytest.fixture
def context(chromium: str) -> Iterator[BrowserContext]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", f"--host-resolver-rules=MAP {HOST} 127.0.0.1"],
        )
        with browser, browser.new_context(viewport={"width": 1280, "height": 1000}) as context:
            yield context


@pytest.fixture
def visit(context: BrowserContext) -> Visit:
    """Whatever is not ours does not get out, and is noted."""
    visit = Visit(context.new_page())

    def note(request: Request) -> None:
        if not _is_ours(request):
            visit.strangers.append(request.url)

    def pass_on(route: Route) -> None:
        if _is_ours(route.request):
            route.continue_()
        else:
            route.abort()

    context.on("request", note)
    context.route("**/*", pass_on)
    context.on("weberror", lambda error: visit.complaints.append(str(error.error)))
    context.on(
        "console",
        lambda message: (
            visit.complaints.append(message.text) if message.type in ("error", "warning") else None
        ),
    )
    visit.page.set_default_timeout(30_000)
    return visit
