"""Pages of Parquet files that differ from their checksums."""

import zlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.jobs import JobError
from tests.kinds_builtin.dataset import thrift
from tests.kinds_builtin.dataset.answers import assert_plain, parquet, refused, run
from tests.kinds_builtin.dataset.parquet_edits import (
    RIGHT,
    ROWS,
    SPEC,
    SUM,
    TABLE,
    WRITINGS,
    file_of,
    footer_of,
    pages,
)


def test_a_footer_is_written_as_it_was_read() -> None:
    content = parquet(TABLE, row_group_size=100)
    body, footer = footer_of(content)
    assert pq.read_table(pa.BufferReader(file_of(body, footer))) == TABLE
    assert run(file_of(body, footer), **SPEC).rows == RIGHT


@pytest.mark.slow
@pytest.mark.parametrize("writing", WRITINGS)
def test_a_page_that_differs_from_its_checksum_is_refused(writing: str) -> None:
    content = parquet(TABLE, write_page_checksum=True, **WRITINGS[writing])
    assert run(content, **SPEC).rows == RIGHT
    found = pages(content)
    for begin, end in {found[0], found[len(found) // 2], found[-1]}:
        damaged = bytearray(content)
        damaged[(begin + end) // 2] ^= 0x01
        assert refused(bytes(damaged), **SPEC).code == "parquet-broken"


def test_a_damaged_page_of_an_unused_column_does_not_matter() -> None:
    content = bytearray(parquet(TABLE, write_page_checksum=True, compression="none"))
    begin, end = pages(bytes(content))[-1]
    content[(begin + end) // 2] ^= 0xFF
    spec = {"aggregates": [{"op": "sum", "column": "v", "name": "s"}]}
    assert run(bytes(content), **spec).rows == [[SUM]]


def test_a_wrong_checksum_of_an_intact_page_is_refused() -> None:
    content = parquet(TABLE, write_page_checksum=True, compression="none", use_dictionary=False)
    begin, end = pages(content)[0]
    good = zlib.crc32(content[begin:end])
    good -= (good & 0x80000000) << 1
    bad = good ^ 0x10000 or 1
    encoded = thrift.zigzag(good)
    at = content.rfind(encoded, 0, begin)
    assert at > 0
    replaced = thrift.zigzag(bad)
    assert len(replaced) == len(encoded)
    assert (
        refused(content[:at] + replaced + content[at + len(encoded) :], **SPEC).code
        == "parquet-broken"
    )


def flipped(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Copies with one flipped bit each, and the place of its byte."""
    for place in range(4, len(content), max(1, len(content) // 40)):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        yield place, bytes(damaged)


@pytest.mark.slow
@pytest.mark.parametrize("writing", WRITINGS)
def test_no_flipped_byte_under_a_checksum_changes_the_answer(writing: str) -> None:
    content = parquet(TABLE, write_page_checksum=True, **WRITINGS[writing])
    for place, damaged in flipped(content):
        try:
            output = run(damaged, **SPEC)
        except JobError as error:
            assert_plain(error)
        else:
            assert output.rows == RIGHT, place


@pytest.mark.slow
@pytest.mark.parametrize("writing", WRITINGS)
def test_a_flipped_byte_without_a_checksum_is_an_error_or_a_value(writing: str) -> None:
    content = parquet(TABLE, **WRITINGS[writing])
    for place, damaged in flipped(content):
        try:
            output = run(damaged, **SPEC)
        except JobError as error:
            assert_plain(error)
        else:
            assert len(output.rows) == 1
            # The number of rows stands in three places of the file.
            assert output.rows[0][0] == ROWS, place
