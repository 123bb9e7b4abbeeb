"""Pictures of all dashboards after a run, and what makes a picture fail."""

import json
import os
from pathlib import Path

import pytest

from app.embedded.monitoring_files import dashboards
from monitoring.pictures.browser import WIDTH
from monitoring.pictures.bundle import npm
from tests.observe.pictures import Drawn, missing
from tests.observe.scenario import Evidence

pytestmark = [pytest.mark.observe, pytest.mark.xdist_group("evidence")]


@pytest.fixture
def drawn(evidence: Evidence) -> Drawn:
    if evidence.drawn is None:
        message = f"not on the PATH: {', '.join(missing())}"
        # Where tests must not be skipped, the programs have to be there.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    return evidence.drawn


def size(png: Path) -> tuple[int, int]:
    """Width and height, from the first chunk of the file."""
    head = png.read_bytes()[:24]
    assert head[12:16] == b"IHDR"
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])


def test_each_dashboard_has_a_picture_that_shows_all_data(drawn: Drawn) -> None:
    assert [picture.path.stem for picture in drawn.pictures] == [path.stem for path in dashboards()]
    for picture in drawn.pictures:
        assert picture.problems() == [], picture.path.stem
        assert len(picture.empty()) < len(picture.panels), picture.path.stem


def test_each_picture_has_the_whole_height_of_its_dashboard(drawn: Drawn) -> None:
    for picture in drawn.pictures:
        page = json.loads((dashboards()[0].parent / f"{picture.path.stem}.json").read_text())
        rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in page["panels"])
        width, height = size(picture.path)
        assert width == WIDTH
        assert height > rows * 38


def test_the_load_test_has_data_in_each_panel(drawn: Drawn) -> None:
    (picture,) = (one for one in drawn.pictures if one.path.stem == "load-test")
    assert picture.empty() == []


def test_a_query_that_fails_is_a_problem(drawn: Drawn) -> None:
    assert any("parse error" in problem for problem in drawn.broken)


def test_a_field_property_that_cannot_be_drawn_is_a_problem(drawn: Drawn) -> None:
    assert any("unheardOf" in problem for problem in drawn.unknown)


def test_the_page_has_no_wrong_types(drawn: Drawn) -> None:
    npm("run", "types")
