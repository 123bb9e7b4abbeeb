"""What scenarios take for wrong content."""

from datetime import UTC, datetime, timedelta

import pytest

from loadtests._answers import newest_first

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "good"),
    [
        ([], True),
        ([0], True),
        ([9, 5, 5, 0], True),
        # Made at the same time by two processes: their ids are in the other order.
        ([9, 5, 5.3, 0], True),
        ([9, 0, 5], False),
        ([0, 5, 9], False),
    ],
)
def test_a_list_begins_with_what_was_made_last(seconds: list[float], good: bool) -> None:
    assert newest_first([NOON + timedelta(seconds=each) for each in seconds]) is good
