"""Reading order and the geometry of lines, without a recogniser."""

import math
import time
from collections.abc import Sequence
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.jobs import JobCancelled, JobError
from worker.kinds.text.extract import chosen
from worker.kinds.text.lines import Line, Quad, Turn, ordered, turn_of, upright
from worker.kinds.text.order import Box, reading_order
from worker.kinds.text.spec import MAX_PAGES, TextExtract

WIDTH, HEIGHT = 1000.0, 1400.0
LINE, PITCH = 28.0, 34.0


def column(left: float, top: float, widths: Sequence[float]) -> list[Box]:
    return [
        Box(left, top + index * PITCH, left + width, top + index * PITCH + LINE)
        for index, width in enumerate(widths)
    ]


def quad(box: Box) -> Quad:
    return (
        (box.left, box.top),
        (box.right, box.top),
        (box.right, box.bottom),
        (box.left, box.bottom),
    )


def cells(top: float, rows: int, places: list[tuple[float, float]]) -> list[Box]:
    return [
        Box(left, top + row * PITCH, left + width, top + row * PITCH + LINE)
        for row in range(rows)
        for left, width in places
    ]


# The boxes of each page, in the order in which a person reads them.
PAGES: dict[str, list[Box]] = {
    "one column": column(50, 100, [900, 880, 890, 400]),
    "two columns": column(50, 100, [430] * 6 + [200]) + column(520, 100, [430] * 7),
    "two columns on other baselines": column(50, 100, [430] * 8) + column(520, 115, [430] * 7),
    "three columns": [
        *column(50, 100, [280, 270, 280, 275, 150]),
        *column(370, 100, [280, 270, 280, 275, 150]),
        *column(690, 100, [280, 270, 280, 275, 150]),
    ],
    "a heading over two columns": [
        Box(200, 40, 800, 90),
        *column(50, 120, [430] * 6),
        *column(520, 120, [430] * 6),
    ],
    "a footnote under two columns": [
        *column(50, 120, [430] * 6),
        *column(520, 120, [430] * 5),
        *column(50, 400, [880, 860]),
    ],
    "sections with two columns each": [
        Box(100, 40, 900, 80),
        *column(50, 100, [430] * 4),
        *column(520, 100, [430] * 4),
        Box(100, 260, 900, 300),
        *column(50, 320, [430] * 4),
        *column(520, 320, [430] * 4),
    ],
    "a short heading above the line below two columns": [
        *column(50, 100, [430] * 6),
        *column(520, 100, [430] * 6),
        Box(50, 340, 250, 368),
        Box(50, 372, 900, 400),
    ],
    "white space between paragraphs at the same height": [
        *column(50, 100, [430] * 4),
        *column(50, 300, [430] * 4),
        *column(520, 100, [430] * 4),
        *column(520, 300, [430] * 4),
    ],
    "a running head over two columns": [
        Box(50, 20, 250, 48),
        Box(850, 20, 950, 48),
        *column(50, 120, [430] * 6),
        *column(520, 120, [430] * 6),
    ],
    "a table of short cells": cells(100, 6, [(50, 160), (400, 60), (600, 90), (850, 80)]),
    "labels and values": cells(100, 5, [(50, 130), (300, 500)]),
    "a table under two columns": [
        *column(50, 100, [430] * 7),
        *column(520, 100, [430] * 7),
        *cells(420, 4, [(50, 100), (300, 100), (600, 100), (850, 100)]),
    ],
}


@pytest.mark.parametrize("name", PAGES)
def test_lines_are_read_in_the_order_of_a_person(name: str) -> None:
    boxes = PAGES[name]
    shuffled = list(range(len(boxes)))
    Random(1).shuffle(shuffled)
    order = reading_order([boxes[index] for index in shuffled])
    assert [shuffled[index] for index in order] == list(range(len(boxes)))


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("skew", [-4.0, 0.0, 3.0])
def test_a_turned_or_skewed_page_keeps_its_order(turn: Turn, skew: float) -> None:
    boxes = PAGES["sections with two columns each"]
    slope = math.radians(skew)
    back = turn_of(-turn)
    quads = []
    for box in boxes:
        corners = [
            upright(
                (
                    x * math.cos(slope) - y * math.sin(slope),
                    x * math.sin(slope) + y * math.cos(slope),
                ),
                back,
                WIDTH,
                HEIGHT,
            )
            for x, y in quad(box)
        ]
        quads.append((corners[0], corners[1], corners[2], corners[3]))
    size = (HEIGHT, WIDTH) if turn in (90, 270) else (WIDTH, HEIGHT)
    order, found = ordered(quads, turn, *size)
    assert order == list(range(len(boxes)))
    assert found == pytest.approx(skew, abs=0.01)


coordinates = st.floats(0, 2000, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(coordinates, coordinates, coordinates, coordinates), max_size=40))
def test_no_line_is_lost_or_repeated(edges: list[tuple[float, float, float, float]]) -> None:
    boxes = [Box(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in edges]
    assert sorted(reading_order(boxes)) == list(range(len(boxes)))


def test_words_end_half_way_to_the_next_character() -> None:
    line = Line("ab c", ((0, 0), (80, 0), (80, 10), (0, 10)), 0.9, (0.125, 0.375, 0.625, 0.875))
    first, second = line.words()
    assert (first.text, second.text) == ("ab", "c")
    assert first.box == ((0, 0), (40, 0), (40, 10), (0, 10))
    assert second.box == ((60, 0), (80, 0), (80, 10), (60, 10))


@pytest.mark.parametrize(
    ("pages", "count", "numbers"),
    [
        (None, 3, [1, 2, 3]),
        ("2", 3, [2]),
        ("3,1-2,2", 3, [1, 2, 3]),
        ("2-", 4, [2, 3, 4]),
        ("99999-100000", 100_000, [99_999, 100_000]),
    ],
)
def test_pages_are_read_once_and_in_order(
    pages: str | None, count: int, numbers: list[int]
) -> None:
    assert chosen(pages, count) == numbers
    assert all(first < second for first, second in pairwise(chosen(pages, count)))


@pytest.mark.parametrize(
    ("pages", "count", "code"),
    [
        ("4", 3, "page-not-found"),
        ("2-9", 3, "page-not-found"),
        (None, 100_000, "too-many-pages"),
        ("1-501", 100_000, "too-many-pages"),
        ("1-300,400-999999999", 100_000, "page-not-found"),
    ],
)
def test_pages_that_are_missing_or_too_many_are_refused(
    pages: str | None, count: int, code: str
) -> None:
    assert MAX_PAGES == 500
    with pytest.raises(JobError) as caught:
        chosen(pages, count)
    assert caught.value.code == code


@pytest.mark.parametrize("pages", ["", "0", "3-1", "a", "1,,2", "-3", "1;2"])
def test_a_malformed_choice_of_pages_is_refused(pages: str) -> None:
    with pytest.raises(ValueError, match="pages"):
        TextExtract.model_validate(
            {"source": "3fa85f64-5717-4562-b3fc-2c963f66afa6", "pages": pages}
        )


def grid(rows: int, columns: int) -> list[Box]:
    return [
        Box(column * 30, row * 12, column * 30 + 22, row * 12 + 10)
        for row in range(rows)
        for column in range(columns)
    ]


def labels(count: int) -> list[Box]:
    """Labels of a map: boxes at random places."""
    random = Random(2)
    corners = [(random.random() * 2000, random.random() * 2000) for _ in range(count)]
    return [Box(x, y, x + 60, y + 10) for x, y in corners]


def staircase(count: int) -> list[Box]:
    """Columns of four lines, each a little lower than the last: every gutter is as good."""
    return [
        Box(i // 4 * 100, i % 4 * 11 + i // 4 * 5, i // 4 * 100 + 80, i % 4 * 11 + 10 + i // 4 * 5)
        for i in range(count)
    ]


@pytest.mark.parametrize("rows", [60, 100, 1000])
def test_large_table_is_read_row_by_row(rows: int) -> None:
    assert reading_order(grid(rows, 20)) == list(range(rows * 20))


def test_letterspaced_columns_of_thousands_of_letters_are_read_one_by_one() -> None:
    letters = [
        Box(x + 14 * i, 16 * row, x + 14 * i + 8, 16 * row + 10)
        for x in (0, 700)
        for row in range(20)
        for i in range(40)
    ]
    lines = [
        Box(x, 700 + 16 * row, x + 550, 710 + 16 * row) for x in (0, 700) for row in range(200)
    ]
    order = reading_order(letters + lines)
    assert [i - len(letters) for i in order if i >= len(letters)] == list(range(400))


@pytest.mark.slow
@pytest.mark.parametrize(
    "boxes",
    [labels(300), labels(4000), grid(250, 20), staircase(5000), [Box(0, 0, 9, 9)] * 5000,
     labels(20_000)],
    ids=["300 labels", "4,000 labels", "table", "staircase", "one place", "20,000 labels"],
)  # fmt: skip
def test_order_of_very_many_boxes_takes_a_bounded_number_of_comparisons(boxes: list[Box]) -> None:
    started = time.process_time()
    assert sorted(reading_order(boxes)) == list(range(len(boxes)))
    assert time.process_time() - started < 15  # of the CPU: 5 at most, 14 and more before


def test_order_of_many_lines_ends_when_the_job_is_cancelled() -> None:
    looks = 0

    def cancel() -> None:
        nonlocal looks
        looks += 1
        if looks == 30:
            raise JobCancelled

    with pytest.raises(JobCancelled):
        reading_order(labels(1000), cancel)
    assert looks == 30
