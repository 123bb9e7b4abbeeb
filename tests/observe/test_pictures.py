"""Pictures of all dashboards after a load test, and what makes a picture fail."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.core.sockets import listen
from app.embedded import monitoring_files
from app.embedded.monitoring_files import dashboards
from app.embedded.stack import Stack, all_parts
from loadtests.__main__ import UNLIMITED
from monitoring.pictures.browser import WIDTH, Picture
from monitoring.pictures.bundle import npm
from tests.observe.faults import compressed
from tests.observe.pictures import REPORT, draw, last_sample, require_programs
from tests.observe.scenario import variables
from tests.otlp import OtlpReceiver
from tests.servers import scratch_folder

pytestmark = pytest.mark.observe

USERS, SECONDS = 10, 90

# Of the rules: error budgets have data within the minute.
PACE = 10


@dataclass
class Drawn:
    pictures: dict[str, Picture]
    broken: list[str]
    """Problems of a page with a query that fails."""
    unknown: list[str]
    """Problems of a page with a field property that the page cannot draw."""


def changed(folder: Path, name: str, panel: dict[str, Any]) -> Path:
    """A copy of the first dashboard, with its first panel changed."""
    page = json.loads(dashboards()[0].read_text())
    first = next(one for one in page["panels"] if one["type"] != "row")
    first.update(panel)
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(page))
    return path


def load(stack: Stack, port: int) -> None:
    """What `make load` does on a stack of its own, on this one."""
    command = [sys.executable, "-m", "loadtests", "--host", stack.base_url]
    command += ["--users", str(USERS), "--run-time", str(SECONDS)]
    ran = subprocess.run(
        [*command, "--report", str(stack.folder / "report")],
        env={**os.environ, "LOADTEST_METRICS_PORT": str(port)},
        capture_output=True,
        text=True,
        timeout=SECONDS + 120,
    )
    # 1: an objective was missed, which a picture may show.
    assert ran.returncode in (0, 1), ran.stderr


@pytest.fixture(scope="module")
def drawn() -> Iterator[Drawn]:
    require_programs()
    with scratch_folder() as folder, OtlpReceiver() as receiver:
        with listen("127.0.0.1", 0) as free:
            port: int = free.getsockname()[1]
        stack = Stack(
            folder / "stack",
            parts=all_parts(concurrency=2),
            settings=UNLIMITED,
            durable=False,
            sink=lambda *_: None,
            observe=True,
            targets={"loadtest": {"loadtest": port}},
            rules=compressed(monitoring_files.rules(), PACE),
        )
        traced = variables(
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, OTEL_TRACES_SAMPLER="parentbased_always_on"
        )
        with traced, stack:
            assert stack.wait_ready()
            assert stack.prometheus is not None, "apt-get install prometheus"
            begun = time.time()
            load(stack, port)
            url = stack.prometheus.url
            # Afterwards the load test has no current values.
            ended = last_sample(url, "heavylift_loadtest_users > 0")
            pictures = draw(url, REPORT, begun=begun, ended=ended)
            query = {"targets": [{"refId": "A", "expr": "rate(", "instant": True}]}
            field = {"fieldConfig": {"defaults": {"custom": {"unheardOf": 1}}, "overrides": []}}
            pages = [
                changed(folder / "pages", "broken", query),
                changed(folder / "pages", "unknown", field),
            ]
            broken, unknown = draw(url, folder / "broken", begun=begun, pages=pages)
        yield Drawn(
            {picture.path.stem: picture for picture in pictures},
            broken.problems(),
            unknown.problems(),
        )


def size(png: Path) -> tuple[int, int]:
    """Width and height, from the first chunk of the file."""
    head = png.read_bytes()[:24]
    assert head[12:16] == b"IHDR"
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])


def test_each_dashboard_has_a_picture_that_shows_all_data(drawn: Drawn) -> None:
    assert sorted(drawn.pictures) == [path.stem for path in dashboards()]
    for name, picture in drawn.pictures.items():
        assert picture.problems() == [], name
        assert len(picture.empty()) < len(picture.panels), name


def test_each_picture_has_the_whole_height_of_its_dashboard(drawn: Drawn) -> None:
    for picture in drawn.pictures.values():
        page = json.loads((dashboards()[0].parent / f"{picture.path.stem}.json").read_text())
        rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in page["panels"])
        width, height = size(picture.path)
        assert width == WIDTH
        assert height > rows * 38


def test_the_load_test_has_data_in_each_panel(drawn: Drawn) -> None:
    assert drawn.pictures["load-test"].empty() == []


def test_a_query_that_fails_is_a_problem(drawn: Drawn) -> None:
    assert any("parse error" in problem for problem in drawn.broken)


def test_a_field_property_that_cannot_be_drawn_is_a_problem(drawn: Drawn) -> None:
    assert any("unheardOf" in problem for problem in drawn.unknown)


def test_the_page_has_no_wrong_types(drawn: Drawn) -> None:
    npm("run", "types")
