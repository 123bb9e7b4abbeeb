"""Draws dashboards in Chromium, takes their pictures, and says what is wrong with them."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import httpx2
import yaml
from playwright.sync_api import BrowserContext, ViewportSize, sync_playwright

from monitoring.pictures.bundle import build
from monitoring.pictures.server import application, serving

WIDTH = 1600

# Milliseconds: some 200 queries, and a browser on a busy machine.
PATIENCE = 120_000

# Kinds of panels that show each series: the others show at least something.
EACH_SERIES = frozenset({"timeseries", "stat"})

# A stat panel of Grafana shows no more values than this.
MOST_VALUES = 25


class NoChromium(Exception):
    """There is no browser on this machine."""


@dataclass(frozen=True, slots=True)
class Span:
    """From and to, in seconds since 1970."""

    begun: float
    ended: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """A panel: the series that have finite samples, and those (or rows) that a reader sees."""

    title: str
    type: str
    expected: int
    shown: int
    errors: Sequence[str]

    def problems(self) -> Iterator[str]:
        for error in self.errors:
            yield f"{self.title}: {error}"
        wanted = min(self.expected, MOST_VALUES if self.type in EACH_SERIES else 1)
        if self.shown < wanted:
            yield f"{self.title}: shows {self.shown} of {self.expected} series"


@dataclass(frozen=True, slots=True)
class Picture:
    path: Path
    panels: Sequence[Outcome]
    complaints: Sequence[str]
    """Errors on the browser's console."""

    def problems(self) -> list[str]:
        return [*self.complaints, *(one for panel in self.panels for one in panel.problems())]

    def empty(self) -> list[str]:
        """Titles of the panels whose queries have no sample."""
        return [panel.title for panel in self.panels if panel.expected == 0]


def scrape_interval(prometheus: str) -> str:
    """The global one, such as 15s: what the data source of a Grafana should have, too."""
    answer = httpx2.get(f"{prometheus}/api/v1/status/config", timeout=10).raise_for_status()
    configuration = yaml.safe_load(answer.json()["data"]["yaml"])
    return str(configuration["global"]["scrape_interval"])


def draw(
    prometheus: str,
    dashboards: Sequence[Path],
    folder: Path,
    *,
    span: Span,
    chosen: dict[str, str],
) -> list[Picture]:
    """Write a PNG for each of the dashboards, all of which are in one folder.

    `chosen` has the values of variables; the others have All, or their first value. Raises
    `NoChromium` or `NoBundle` where a program is missing, `HTTPError` without that Prometheus.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        raise NoChromium("chromium is not on the PATH: apt-get install chromium")
    asked = {
        "from": round(span.begun * 1000),
        "to": round(span.ended * 1000),
        "scrapeInterval": scrape_interval(prometheus),
        "chosen": chosen,
    }
    folder.mkdir(parents=True, exist_ok=True)
    app = application(prometheus, build(), dashboards[0].parent)

    def address(url: str, name: str) -> str:
        return f"{url}/?{urlencode({'request': json.dumps({**asked, 'dashboard': name})})}"

    with serving(app) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        viewport: ViewportSize = {"width": WIDTH, "height": 1000}
        with browser, browser.new_context(viewport=viewport) as context:
            return [
                _draw_one(context, address(url, path.stem), folder / f"{path.stem}.png")
                for path in dashboards
            ]


def _draw_one(context: BrowserContext, url: str, path: Path) -> Picture:
    complaints: list[str] = []
    with context.new_page() as page:
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda message: complaints.append(message.text) if message.type == "error" else None,
        )
        page.on(
            "response",
            lambda answer: (
                complaints.append(f"{answer.status}: {answer.url}") if not answer.ok else None
            ),
        )
        page.goto(url)
        page.wait_for_function(
            "window.outcomes !== undefined || window.failure !== undefined", timeout=PATIENCE
        )
        page.wait_for_load_state("networkidle")
        outcomes = page.evaluate("window.outcomes ?? []")
        # Tables paint only what is in view.
        height = page.evaluate("document.documentElement.scrollHeight")
        page.set_viewport_size({"width": WIDTH, "height": height})
        page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
        page.screenshot(path=path)
    return Picture(path, [Outcome(**one) for one in outcomes], complaints)
