"""Tests of the order that a load test requires of lists."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from loadtests._answers import Item, newest_first

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


def item(number: int, seconds: float) -> Item:
    made = NOON + timedelta(seconds=seconds)
    return Item(id=UUID(int=number), title="a", tags=[], version=1, created_at=made)


@pytest.mark.parametrize(
    ("rows", "good"),
    [
        ([], True),
        ([(1, 0)], True),
        ([(4, 9), (3, 5), (2, 5), (1, 0)], True),
        # Made at once by two processes: the later id has the earlier time.
        ([(4, 9), (3, 5), (2, 5.3), (1, 0)], True),
        ([(4, 9), (2, 5.3), (3, 5), (1, 0)], False),
        ([(3, 9), (2, 0), (1, 5)], False),
        ([(1, 0), (2, 5), (3, 9)], False),
        ([(2, 5), (2, 5)], False),
    ],
)
def test_a_list_begins_with_the_row_that_was_made_last(
    rows: list[tuple[int, float]], good: bool
) -> None:
    assert newest_first([item(number, seconds) for number, seconds in rows]) is good
