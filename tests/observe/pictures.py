"""Pictures of the dashboards from the data of a run."""

import os
import shutil
import time
from pathlib import Path

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


def draw(
    prometheus: str, folder: Path, *, begun: float, pages: list[Path] | None = None
) -> list[Picture]:
    """Draw all dashboards, from `begun` until now, while the Prometheus of the run is up."""
    return draw_pages(
        prometheus,
        pages or dashboards(),
        folder,
        span=Span(begun, time.time()),
        chosen=LABELS,
    )
