"""Pictures of the dashboards from the data of a run."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from app.embedded.monitoring_files import dashboards
from app.embedded.prometheus import LABELS
from monitoring.pictures.browser import Picture, Span, draw

# Kept as output of CI.
REPORT = Path(__file__).parents[2] / "observe-report"

PROGRAMS = "chromium", "npm"


@dataclass
class Drawn:
    pictures: list[Picture]
    broken: list[str]
    """Problems of a page with a query that fails."""
    unknown: list[str]
    """Problems of a page with a field property that the page cannot draw."""


def missing() -> list[str]:
    """The programs that drawing needs and that are not on the PATH."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


def last_sample(prometheus: str, expression: str) -> float:
    """When the expression had a sample last, in seconds since 1970."""
    query = f"max(max_over_time(timestamp({expression})[10m:1s]))"
    answer = httpx2.get(f"{prometheus}/api/v1/query", params={"query": query}, timeout=30)
    return float(answer.json()["data"]["result"][0]["value"][1])


def changed(folder: Path, name: str, panel: dict[str, Any]) -> Path:
    """A copy of the first dashboard, with its first panel changed."""
    page = json.loads(dashboards()[0].read_text())
    first = next(one for one in page["panels"] if one["type"] != "row")
    first.update(panel)
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(page))
    return path


def pictures(prometheus: str, scratch: Path, *, begun: float) -> Drawn:
    """All dashboards into REPORT, and the two bad pages, while the Prometheus of the run is up."""
    # After its end, the load test has no current values.
    span = Span(begun, last_sample(prometheus, "heavylift_loadtest_users > 0"))
    query = {"targets": [{"refId": "A", "expr": "rate(", "instant": True}]}
    field = {"fieldConfig": {"defaults": {"custom": {"unheardOf": 1}}, "overrides": []}}
    bad = [
        changed(scratch / "pages", "broken", query),
        changed(scratch / "pages", "unknown", field),
    ]
    drawn = draw(prometheus, dashboards(), REPORT, span=span, chosen=LABELS)
    broken, unknown = draw(prometheus, bad, scratch / "bad", span=span, chosen=LABELS)
    return Drawn(drawn, broken.problems(), unknown.problems())
