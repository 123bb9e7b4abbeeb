"""What a picture of a dashboard says is wrong."""

from pathlib import Path

import pytest

from monitoring.pictures.browser import Outcome, Picture


@pytest.mark.parametrize(
    ("kind", "expected", "shown", "wrong"),
    [
        ("timeseries", 3, 3, False),
        ("timeseries", 3, 2, True),
        ("timeseries", 0, 0, False),
        ("stat", 1, 0, True),
        ("stat", 40, 25, False),
        ("table", 12, 5, False),
        ("table", 1, 0, True),
    ],
)
def test_a_panel_that_does_not_show_its_series_is_a_problem(
    kind: str, expected: int, shown: int, *, wrong: bool
) -> None:
    outcome = Outcome("Requests", kind, expected, shown, [])
    assert bool(list(outcome.problems())) == wrong


def test_errors_of_panels_and_of_the_browser_are_problems() -> None:
    panels = [Outcome("Requests", "stat", 1, 1, ["no such function"])]
    picture = Picture(Path("api.png"), panels, ["404: /public/icon.svg"])
    assert picture.problems() == ["404: /public/icon.svg", "Requests: no such function"]


def test_a_panel_without_samples_is_empty_and_no_problem() -> None:
    panels = [Outcome("Requests", "stat", 0, 0, []), Outcome("Errors", "stat", 1, 1, [])]
    picture = Picture(Path("api.png"), panels, [])
    assert picture.empty() == ["Requests"]
    assert picture.problems() == []
