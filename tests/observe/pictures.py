"""Pictures of the dashboards from the data of a run."""

import os
import shutil
import time
from pathlib import Path

import httpx2
import pytest

from app.embedded.monitoring_files import dashboards
from app.embedded.prometheus import LABELS
from monitoring.pictures.browser import Picture, Span
from monitoring.pictures.browser import draw as draw_pages

# Kept as output of CI.
REPORT = Path(__file__).parents[2] / "observe-report"


def require_programs() -> None:
    """Where tests must not be skipped (CI), they have to be there."""
    for program in ("chromium", "npm"):
        if shutil.which(program) is None:
            message = f"no {program} on the PATH"
            if os.environ.get("CI"):
                pytest.fail(message)
            pytest.skip(message)


def last_sample(prometheus: str, expression: str) -> float:
    """When the expression had a sample last, in seconds since 1970."""
    query = f"max(max_over_time(timestamp({expression})[10m:1s]))"
    answer = httpx2.get(f"{prometheus}/api/v1/query", params={"query": query}, timeout=30)
    return float(answer.json()["data"]["result"][0]["value"][1])


def draw(
    prometheus: str,
    folder: Path,
    *,
    begun: float,
    ended: float | None = None,
    pages: list[Path] | None = None,
) -> list[Picture]:
    """Draw all dashboards, until now by default, while the Prometheus of the run is up."""
    return draw_pages(
        prometheus,
        pages or dashboards(),
        folder,
        span=Span(begun, ended or time.time()),
        chosen=LABELS,
    )
