"""Footers of Parquet files with wrong counts, places and sizes: the right answer, or an error."""

from collections.abc import Callable

import pytest

from app.jobs import JobError
from tests.kinds_builtin.dataset.answers import assert_plain, parquet, refused, run
from tests.kinds_builtin.dataset.parquet_edits import (
    COLUMNS,
    COMPRESSED,
    DATA_PAGE,
    DICTIONARY_PAGE,
    GROUP_ROWS,
    NUM_ROWS,
    NUM_VALUES,
    RIGHT,
    ROWS,
    SPEC,
    TABLE,
    UNCOMPRESSED,
    chunks,
    edited,
    groups,
    put,
    right_or_refused,
)
from tests.kinds_builtin.dataset.thrift import I32, I64, Struct


def change_rows(footer: Struct, by: int) -> None:
    put(footer, NUM_ROWS, I64, footer[NUM_ROWS][1] + by)


def change_group_rows(footer: Struct, by: int) -> None:
    put(groups(footer)[0], GROUP_ROWS, I64, groups(footer)[0][GROUP_ROWS][1] + by)


def change_values(footer: Struct, by: int) -> None:
    put(chunks(footer)[0], NUM_VALUES, I64, chunks(footer)[0][NUM_VALUES][1] + by)


def change_all(footer: Struct, by: int) -> None:
    change_rows(footer, by)
    change_group_rows(footer, by)
    for chunk in chunks(footer):
        put(chunk, NUM_VALUES, I64, chunk[NUM_VALUES][1] + by)


@pytest.mark.slow
@pytest.mark.parametrize("by", [1, -1, 10**6, -ROWS, -ROWS - 1, 2**62])
@pytest.mark.parametrize("change", [change_rows, change_group_rows, change_values, change_all])
@pytest.mark.parametrize("group", [ROWS, 300])
def test_wrong_counts_in_the_footer_change_no_answer(
    change: Callable[[Struct, int], None], by: int, group: int
) -> None:
    content = edited(lambda footer: change(footer, by), row_group_size=group)
    right_or_refused(content, SPEC, RIGHT)
    count = {"aggregates": [{"op": "count", "name": "rows"}]}
    right_or_refused(content, count, [[ROWS]])
    last = {"aggregates": [{"op": "last", "column": "v", "name": "l"}]}
    right_or_refused(content, last, [[ROWS - 1]])


def test_a_wrong_count_of_rows_in_the_footer_is_refused() -> None:
    content = edited(lambda footer: change_rows(footer, 7))
    assert refused(content).code == "parquet-broken"
    content = edited(lambda footer: change_group_rows(footer, 7))
    assert refused(content, **SPEC).code == "parquet-broken"


def test_a_missing_row_group_is_refused() -> None:
    def drop(footer: Struct) -> None:
        groups(footer).pop()

    assert refused(edited(drop, row_group_size=100), **SPEC).code == "parquet-broken"


def place(number: int, value: int) -> Callable[[Struct], None]:
    def change(footer: Struct) -> None:
        put(chunks(footer)[0], number, I64, value)

    return change


@pytest.mark.slow
@pytest.mark.parametrize("number", [DATA_PAGE, DICTIONARY_PAGE])
@pytest.mark.parametrize("value", [0, 1, 5, -1, 10**6, 2**31, 2**40, 2**62, -(2**62)])
def test_wrong_places_of_pages_change_no_answer(number: int, value: int) -> None:
    right_or_refused(edited(place(number, value)), SPEC, RIGHT)


@pytest.mark.slow
@pytest.mark.parametrize("number", [UNCOMPRESSED, COMPRESSED])
@pytest.mark.parametrize("value", [0, 1, -1, 2**31, 2**40, 2**62])
def test_wrong_sizes_of_chunks_change_no_answer(number: int, value: int) -> None:
    right_or_refused(edited(place(number, value)), SPEC, RIGHT)


def test_overlapping_chunks_change_no_count() -> None:
    def change(footer: Struct) -> None:
        first, second = groups(footer)[0][COLUMNS][1][1][0], groups(footer)[1][COLUMNS][1][1]
        second[0] = first

    content = edited(change, row_group_size=500)
    try:
        # Each group reads whole pages: nothing in the file says which is the second one's.
        output = run(content, **SPEC)
    except JobError as error:
        assert_plain(error)
    else:
        assert output.rows[0][0] == ROWS


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 1, 7, 2**31 - 1, 2**32 - 1, 10**6])
def test_a_wrong_length_of_the_footer_is_refused(size: int) -> None:
    content = parquet(TABLE)
    damaged = content[:-8] + size.to_bytes(4, "little") + b"PAR1"
    assert refused(damaged, **SPEC).code == "parquet-broken"


@pytest.mark.parametrize(
    "content",
    [b"PAR1", b"PAR1PAR1", b"PAR1" + bytes(4) + b"PAR1",
    b"PAR1" + b"\xff" * 100 + b"\x64\0\0\0PAR1",
     b"PAR1" + bytes(100) + b"\x64\0\0\0PAR1", b"PAR1" + b"\x1c" * 10_000 + (10_000).to_bytes(4,
     "little") + b"PAR1",
     b"PAR1" + b"\x19\xfc\xff\xff\xff\xff\x0f" * 10 + (70).to_bytes(4, "little") + b"PAR1"],
    ids=["magic", "two magics", "empty", "ones", "zeros", "deep", "long lists"],
)  # fmt: skip
def test_a_meaningless_footer_is_refused(content: bytes) -> None:
    assert refused(content, **SPEC).code == "parquet-broken"


@pytest.mark.slow
def test_a_wrong_number_of_columns_in_the_schema_changes_no_answer() -> None:
    for children in (0, 1, 3, 2**31 - 1, -1):

        def change(footer: Struct, children: int = children) -> None:
            put(footer[2][1][1][0], 5, I32, children)

        right_or_refused(edited(change), SPEC, RIGHT)


@pytest.mark.slow
def test_a_wrong_type_in_the_footer_changes_no_count() -> None:
    for physical in (0, 1, 4, 5, 6, 7, 99):

        def change(footer: Struct, physical: int = physical) -> None:
            put(footer[2][1][1][1], 1, I32, physical)

        try:
            output = run(edited(change), aggregates=[{"op": "count", "column": "v", "name": "n"}])
        except JobError as error:
            assert_plain(error)
        else:
            assert output.rows == [[ROWS]]
