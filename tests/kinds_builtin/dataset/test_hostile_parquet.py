"""Parquet files that are damaged or lie: the right answer, or an error that says so.

The numbers of fields are those of https://github.com/apache/parquet-format, parquet.thrift.
"""

import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.jobs import JobError
from tests.kinds_builtin.dataset import thrift
from tests.kinds_builtin.dataset.answers import assert_plain, parquet, refused, run
from tests.kinds_builtin.dataset.thrift import BINARY, I32, I64, LIST, STRUCT, Struct

ROWS = 1000
TABLE = pa.table({"v": pa.array(range(ROWS), pa.int64()), "k": [f"k{n % 5}" for n in range(ROWS)]})
SUM = sum(range(ROWS))
SPEC: dict[str, Any] = {
    "aggregates": [
        {"op": "count", "name": "rows"},
        {"op": "sum", "column": "v", "name": "s"},
        {"op": "n_unique", "column": "k", "name": "n"},
    ]
}
RIGHT = [[ROWS, SUM, 5]]

# FileMetaData, RowGroup, ColumnChunk, ColumnMetaData, PageHeader and their structs
NUM_ROWS, ROW_GROUPS = 3, 4
COLUMNS, TOTAL_SIZE, GROUP_ROWS = 1, 2, 3
META_DATA = 3
NUM_VALUES, UNCOMPRESSED, COMPRESSED, DATA_PAGE, INDEX_PAGE, DICTIONARY_PAGE, STATISTICS = (
    5, 6, 7, 9, 10, 11, 12,
)  # fmt: skip
MAX, MIN, NULL_COUNT, DISTINCT, MAX_VALUE, MIN_VALUE = range(1, 7)
PAGE_TYPE, PAGE_UNCOMPRESSED, PAGE_COMPRESSED, PAGE_CRC, DATA_HEADER, DICTIONARY_HEADER = (
    1,
    2,
    3,
    4,
    5,
    7,
)


def footer_of(content: bytes) -> tuple[bytes, Struct]:
    """The file before its footer, and the footer."""
    size = int.from_bytes(content[-8:-4], "little")
    return content[: -8 - size], thrift.Reader(content[-8 - size : -8]).struct()


def file_of(body: bytes, footer: Struct) -> bytes:
    data = thrift.write(footer)
    return body + data + len(data).to_bytes(4, "little") + b"PAR1"


def groups(footer: Struct) -> list[Struct]:
    found: list[Struct] = footer[ROW_GROUPS][1][1]
    return found


def chunks(footer: Struct) -> list[Struct]:
    return [chunk[META_DATA][1] for group in groups(footer) for chunk in group[COLUMNS][1][1]]


def put(fields: Struct, number: int, kind: int, value: Any) -> None:
    fields[number] = (kind, value)


def lying(change: Callable[[Struct], None], **options: Any) -> bytes:
    """A file whose footer has been changed."""
    body, footer = footer_of(parquet(TABLE, **options))
    change(footer)
    return file_of(body, footer)


def right_or_refused(content: bytes | list[bytes], spec: dict[str, Any], right: Any) -> str:
    try:
        output = run(content, **spec)
    except JobError as raised:
        error = raised
    else:
        assert output.rows == right
        return ""
    assert_plain(error)
    assert error.code.startswith(("parquet-", "column-", "file-")), (error.code, error.detail)
    return error.code


def test_the_editor_keeps_what_it_does_not_change() -> None:
    content = parquet(TABLE, row_group_size=100)
    body, footer = footer_of(content)
    assert pq.read_table(pa.BufferReader(file_of(body, footer))) == TABLE
    assert run(file_of(body, footer), **SPEC).rows == RIGHT


# Checksums


def pages(content: bytes) -> list[tuple[int, int]]:
    """Where the data of each page begins and ends."""
    _, footer = footer_of(content)
    found = []
    for chunk in chunks(footer):
        at = min(chunk[n][1] for n in (DATA_PAGE, DICTIONARY_PAGE) if n in chunk)
        end = at + chunk[COMPRESSED][1]
        while at < end:
            reader = thrift.Reader(content, at)
            header = reader.struct()
            found.append((reader.at, reader.at + header[PAGE_COMPRESSED][1]))
            at = found[-1][1]
    return found


WRITINGS: dict[str, dict[str, Any]] = {
    "plain": {"compression": "none", "use_dictionary": False},
    "dictionary": {"compression": "none", "use_dictionary": True},
    "snappy": {"compression": "snappy"},
    "zstd": {"compression": "zstd", "use_dictionary": False},
    "gzip, version 2 pages": {"compression": "gzip", "data_page_version": "2.0"},
    "many pages": {
        "compression": "none",
        "data_page_size": 256,
        "use_dictionary": False,
        "write_batch_size": 20,
    },
    "groups": {"compression": "none", "row_group_size": 300},
}


@pytest.mark.slow
@pytest.mark.parametrize("writing", WRITINGS)
def test_a_page_that_differs_from_its_checksum_is_broken(writing: str) -> None:
    content = parquet(TABLE, write_page_checksum=True, **WRITINGS[writing])
    assert run(content, **SPEC).rows == RIGHT
    found = pages(content)
    for begin, end in {found[0], found[len(found) // 2], found[-1]}:
        damaged = bytearray(content)
        damaged[(begin + end) // 2] ^= 0x01
        assert refused(bytes(damaged), **SPEC).code == "parquet-broken"


def test_a_damaged_page_of_a_column_that_nobody_asks_for_is_not_met() -> None:
    content = bytearray(parquet(TABLE, write_page_checksum=True, compression="none"))
    begin, end = pages(bytes(content))[-1]
    content[(begin + end) // 2] ^= 0xFF
    spec = {"aggregates": [{"op": "sum", "column": "v", "name": "s"}]}
    assert run(bytes(content), **spec).rows == [[SUM]]


def test_a_wrong_checksum_is_an_error_though_the_page_is_whole() -> None:
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


@pytest.mark.slow
@pytest.mark.parametrize("writing", WRITINGS)
def test_no_flipped_byte_under_a_checksum_changes_the_answer(writing: str) -> None:
    content = parquet(TABLE, write_page_checksum=True, **WRITINGS[writing])
    for place in range(4, len(content), max(1, len(content) // 40)):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        try:
            output = run(bytes(damaged), **SPEC)
        except JobError as error:
            assert_plain(error)
        else:
            assert output.rows == RIGHT, place


@pytest.mark.slow
@pytest.mark.parametrize("writing", WRITINGS)
def test_a_flipped_byte_without_a_checksum_is_an_error_or_a_value(writing: str) -> None:
    content = parquet(TABLE, **WRITINGS[writing])
    for place in range(4, len(content), max(1, len(content) // 40)):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        try:
            output = run(bytes(damaged), **SPEC)
        except JobError as error:
            assert_plain(error)
        else:
            assert len(output.rows) == 1
            # The number of rows stands in three places of the file.
            assert output.rows[0][0] == ROWS, place


# Counts in the footer


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
def test_counts_in_the_footer_are_not_believed(
    change: Callable[[Struct, int], None], by: int, group: int
) -> None:
    content = lying(lambda footer: change(footer, by), row_group_size=group)
    right_or_refused(content, SPEC, RIGHT)
    count = {"aggregates": [{"op": "count", "name": "rows"}]}
    right_or_refused(content, count, [[ROWS]])
    last = {"aggregates": [{"op": "last", "column": "v", "name": "l"}]}
    right_or_refused(content, last, [[ROWS - 1]])


def test_a_count_in_the_footer_that_is_wrong_is_an_error() -> None:
    content = lying(lambda footer: change_rows(footer, 7))
    assert refused(content).code == "parquet-broken"
    content = lying(lambda footer: change_group_rows(footer, 7))
    assert refused(content, **SPEC).code == "parquet-broken"


def test_a_missing_row_group_is_an_error() -> None:
    def drop(footer: Struct) -> None:
        groups(footer).pop()

    assert refused(lying(drop, row_group_size=100), **SPEC).code == "parquet-broken"


# Statistics


def lie_about_range(low: int, high: int) -> Callable[[Struct], None]:
    def change(footer: Struct) -> None:
        for chunk in chunks(footer)[::2]:
            statistics = chunk[STATISTICS][1]
            for number in (MAX, MAX_VALUE):
                put(statistics, number, BINARY, high.to_bytes(8, "little", signed=True))
            for number in (MIN, MIN_VALUE):
                put(statistics, number, BINARY, low.to_bytes(8, "little", signed=True))

    return change


QUESTIONS: list[tuple[dict[str, Any], list[list[Any]]]] = [
    ({"aggregates": [{"op": "min", "column": "v", "name": "m"}]}, [[0]]),
    ({"aggregates": [{"op": "max", "column": "v", "name": "m"}]}, [[ROWS - 1]]),
    ({"filters": [{"op": "eq", "column": "v", "value": 500}]}, [[1]]),
    ({"filters": [{"op": "gt", "column": "v", "value": 900}]}, [[99]]),
    ({"filters": [{"op": "lt", "column": "v", "value": 100}]}, [[100]]),
    ({"filters": [{"op": "between", "column": "v", "low": 10, "high": 19}]}, [[10]]),
    ({"filters": [{"op": "in", "column": "v", "values": [1, 999, 5000]}]}, [[2]]),
    ({"filters": [{"op": "ne", "column": "v", "value": 5}]}, [[999]]),
    ({"filters": [{"op": "is_null", "column": "v"}]}, [[0]]),
    ({"filters": [{"op": "is_not_null", "column": "v"}]}, [[ROWS]]),
    ({"aggregates": [{"op": "count", "column": "v", "name": "n"}]}, [[ROWS]]),
    ({"aggregates": [{"op": "n_unique", "column": "v", "name": "n"}]}, [[ROWS]]),
    (
        {"group_by": [{"op": "bin", "column": "v", "width": 500, "name": "b"}]},
        [[0, 500], [500, 500]],
    ),
    ({"sort": [{"column": "v", "descending": True}], "limit": 1, "group_by": ["v"]}, [[999, 1]]),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [lie_about_range(5, 5), lie_about_range(10**6, 10**7), lie_about_range(-5, -1),
    lie_about_range(999, 0)],
    ids=["one value", "too high", "too low", "turned round"],
)  # fmt: skip
@pytest.mark.parametrize("group", [ROWS, 100])
def test_statistics_that_lie_change_no_answer(change: Callable[[Struct], None], group: int) -> None:
    content = lying(change, row_group_size=group)
    for spec, right in QUESTIONS:
        right_or_refused(content, spec, right)


@pytest.mark.slow
@pytest.mark.parametrize("nulls", [0, 1, ROWS, 10**9, -1])
def test_counts_of_nulls_that_lie_change_no_answer(nulls: int) -> None:
    table = pa.table(
        {"v": pa.array([n if n % 10 else None for n in range(ROWS)]), "w": range(ROWS)}
    )
    body, footer = footer_of(parquet(table, row_group_size=250))
    for chunk in chunks(footer)[::2]:
        put(chunk[STATISTICS][1], NULL_COUNT, I64, nulls)
    content = file_of(body, footer)
    questions: list[tuple[dict[str, Any], list[list[Any]]]] = [
        ({"filters": [{"op": "is_null", "column": "v"}]}, [[100]]),
        ({"filters": [{"op": "is_not_null", "column": "v"}]}, [[900]]),
        ({"aggregates": [{"op": "count", "column": "v", "name": "n"}]}, [[900]]),
        ({"filters": [{"op": "eq", "column": "v", "value": 11}]}, [[1]]),
        ({"aggregates": [{"op": "n_unique", "column": "v", "name": "n"}]}, [[900]]),
    ]
    for spec, right in questions:
        right_or_refused(content, spec, right)


@pytest.mark.slow
@pytest.mark.parametrize("value", [b"", b"\x01", b"x" * 9, b"x" * 100_000])
def test_statistics_of_the_wrong_size_are_bounded(value: bytes) -> None:
    def change(footer: Struct) -> None:
        for chunk in chunks(footer):
            for number in (MAX, MIN, MAX_VALUE, MIN_VALUE):
                put(chunk[STATISTICS][1], number, BINARY, value)

    for spec, right in QUESTIONS[:6]:
        right_or_refused(lying(change), spec, right)


def test_statistics_of_texts_that_lie() -> None:
    def change(footer: Struct) -> None:
        for chunk in chunks(footer)[1::2]:
            put(chunk[STATISTICS][1], MAX_VALUE, BINARY, b"k0")
            put(chunk[STATISTICS][1], MIN_VALUE, BINARY, b"k0")

    content = lying(change, row_group_size=100)
    for spec, right in [
        ({"filters": [{"op": "eq", "column": "k", "value": "k3"}]}, [[200]]),
        ({"filters": [{"op": "ge", "column": "k", "value": "k3"}]}, [[400]]),
        ({"filters": [{"op": "starts_with", "column": "k", "value": "k4"}]}, [[200]]),
        ({"aggregates": [{"op": "max", "column": "k", "name": "m"}]}, [["k4"]]),
    ]:
        right_or_refused(content, spec, right)


# Places and sizes


def place(number: int, value: int) -> Callable[[Struct], None]:
    def change(footer: Struct) -> None:
        put(chunks(footer)[0], number, I64, value)

    return change


@pytest.mark.slow
@pytest.mark.parametrize("number", [DATA_PAGE, DICTIONARY_PAGE])
@pytest.mark.parametrize("value", [0, 1, 5, -1, 10**6, 2**31, 2**40, 2**62, -(2**62)])
def test_a_page_beyond_the_file(number: int, value: int) -> None:
    right_or_refused(lying(place(number, value)), SPEC, RIGHT)


@pytest.mark.slow
@pytest.mark.parametrize("number", [UNCOMPRESSED, COMPRESSED])
@pytest.mark.parametrize("value", [0, 1, -1, 2**31, 2**40, 2**62])
def test_sizes_of_chunks_that_lie(number: int, value: int) -> None:
    right_or_refused(lying(place(number, value)), SPEC, RIGHT)


def test_chunks_that_overlap() -> None:
    def change(footer: Struct) -> None:
        first, second = groups(footer)[0][COLUMNS][1][1][0], groups(footer)[1][COLUMNS][1][1]
        second[0] = first

    content = lying(change, row_group_size=500)
    try:
        # Each group reads whole pages: nothing in the file says which is the second one's.
        output = run(content, **SPEC)
    except JobError as error:
        assert_plain(error)
    else:
        assert output.rows[0][0] == ROWS


def with_first_header(content: bytes, change: Callable[[Struct], None]) -> bytes:
    """A file whose first page has another header; the file has one column and one page."""
    body, footer = footer_of(content)
    reader = thrift.Reader(body, 4)
    header = reader.struct()
    rest = body[reader.at :]
    change(header)
    fresh = thrift.write(header)
    grown = len(fresh) - (reader.at - 4)
    (chunk,) = chunks(footer)
    for number in (UNCOMPRESSED, COMPRESSED):
        put(chunk, number, I64, chunk[number][1] + grown)
    if DICTIONARY_PAGE in chunk:
        put(chunk, DATA_PAGE, I64, chunk[DATA_PAGE][1] + grown)
    for number in list(groups(footer)[0]):
        if number in (5, 6):
            del groups(footer)[0][number]
    return file_of(b"PAR1" + fresh + rest, footer)


ONE = pa.table({"v": pa.array(range(ROWS), pa.int64())})
ONE_SPEC = {"aggregates": [{"op": "sum", "column": "v", "name": "s"}]}
HEADERS: dict[str, Callable[[Struct], None]] = {
    "uncompressed 2 GiB": lambda header: put(header, PAGE_UNCOMPRESSED, I32, 2**31 - 1),
    "uncompressed -1": lambda header: put(header, PAGE_UNCOMPRESSED, I32, -1),
    "uncompressed 0": lambda header: put(header, PAGE_UNCOMPRESSED, I32, 0),
    "compressed 2 GiB": lambda header: put(header, PAGE_COMPRESSED, I32, 2**31 - 1),
    "compressed -1": lambda header: put(header, PAGE_COMPRESSED, I32, -1),
    "compressed 0": lambda header: put(header, PAGE_COMPRESSED, I32, 0),
    "values 2 G": lambda header: put(header[DATA_HEADER][1], 1, I32, 2**31 - 1),
    "values -1": lambda header: put(header[DATA_HEADER][1], 1, I32, -1),
    "values 0": lambda header: put(header[DATA_HEADER][1], 1, I32, 0),
    "values 999": lambda header: put(header[DATA_HEADER][1], 1, I32, 999),
    "values 1001": lambda header: put(header[DATA_HEADER][1], 1, I32, 1001),
    "unknown encoding": lambda header: put(header[DATA_HEADER][1], 2, I32, 99),
    "RLE encoding": lambda header: put(header[DATA_HEADER][1], 2, I32, 3),
    "unknown type": lambda header: put(header, PAGE_TYPE, I32, 77),
    "index page": lambda header: put(header, PAGE_TYPE, I32, 1),
    "no header": lambda header: header.__delitem__(DATA_HEADER),
}


@pytest.mark.slow
@pytest.mark.parametrize("lie", HEADERS)
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip", "lz4", "brotli"])
def test_page_headers_that_lie(lie: str, compression: str) -> None:
    content = parquet(ONE, compression=compression, use_dictionary=False)
    right_or_refused(with_first_header(content, HEADERS[lie]), ONE_SPEC, [[SUM]])


def test_an_index_beyond_the_dictionary() -> None:
    """Bits of the indices are turned, so that they point behind the dictionary's last entry."""
    table = pa.table({"v": pa.array([n % 33 for n in range(ROWS)], pa.int64())})
    content = parquet(table, compression="none", use_dictionary=True)
    (_, data) = pages(content)
    damaged = bytearray(content)
    damaged[data[1] - 40 : data[1]] = b"\xff" * 40
    assert refused(bytes(damaged), **ONE_SPEC).code == "parquet-broken"


@pytest.mark.slow
def test_a_dictionary_that_is_shorter_than_its_header_says() -> None:
    content = parquet(
        pa.table({"v": pa.array([n % 33 for n in range(ROWS)], pa.int64())}), compression="none"
    )
    for size in (0, 1, 32, 34, 2**31 - 1, -1):

        def change(header: Struct, size: int = size) -> None:
            put(header[DICTIONARY_HEADER][1], 1, I32, size)

        lie = with_first_header(content, change)
        right_or_refused(lie, ONE_SPEC, [[sum(n % 33 for n in range(ROWS))]])


# Footers


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 1, 7, 2**31 - 1, 2**32 - 1, 10**6])
def test_lengths_of_the_footer_that_lie(size: int) -> None:
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
def test_footers_of_rubbish(content: bytes) -> None:
    assert refused(content, **SPEC).code == "parquet-broken"


@pytest.mark.slow
def test_a_schema_without_columns_or_with_too_many_children() -> None:
    for children in (0, 1, 3, 2**31 - 1, -1):

        def change(footer: Struct, children: int = children) -> None:
            put(footer[2][1][1][0], 5, I32, children)

        right_or_refused(lying(change), SPEC, RIGHT)


@pytest.mark.slow
def test_a_column_that_changes_its_type_in_the_footer() -> None:
    for physical in (0, 1, 4, 5, 6, 7, 99):

        def change(footer: Struct, physical: int = physical) -> None:
            put(footer[2][1][1][1], 1, I32, physical)

        try:
            output = run(lying(change), aggregates=[{"op": "count", "column": "v", "name": "n"}])
        except JobError as error:
            assert_plain(error)
        else:
            assert output.rows == [[ROWS]]


MEASURE = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from worker.threads import limit_threads
limit_threads(1)
from app.jobs import JobError
from tests.kinds_builtin.dataset.answers import run
content = Path({path!r}).read_bytes()
run(b"a\\n1\\n")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print(run(content, **{spec!r}).rows)
except JobError as error:
    print(error.code)
    print(error.detail, file=sys.stderr)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def measured(path: Path, spec: dict[str, Any]) -> tuple[str, int]:
    """The answer or the error's code, and the memory that it took, in a process of its own."""
    root = str(Path(__file__).parents[3])
    code = MEASURE.format(root=root, path=str(path), spec=spec)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    answer, memory = done.stdout.strip().splitlines()[-2:]
    return answer, int(memory)


@pytest.mark.slow
@pytest.mark.parametrize("lie", ["uncompressed 2 GiB", "compressed 2 GiB", "values 2 G"])
def test_a_huge_page_in_the_header_takes_no_memory(lie: str, tmp_path: Path) -> None:
    content = parquet(ONE, compression="zstd", use_dictionary=False)
    path = tmp_path / "lie.parquet"
    path.write_bytes(with_first_header(content, HEADERS[lie]))
    answer, memory = measured(path, ONE_SPEC)
    assert answer in ("parquet-broken", str([[SUM]]))
    assert memory < 600 << 20


@pytest.mark.slow
def test_a_bomb_of_a_page_is_bounded(tmp_path: Path) -> None:
    """A billion zeros in a few kilobytes: runs of one value."""
    table = pa.table({"v": pa.array([0] * 1_000_000, pa.int64())})
    writer_path = tmp_path / "bomb.parquet"
    with pq.ParquetWriter(writer_path, table.schema, compression="zstd") as writer:
        for _ in range(200):
            writer.write_table(table)
    answer, memory = measured(writer_path, ONE_SPEC)
    assert answer == "[[0]]"
    assert memory < 600 << 20


@pytest.mark.slow
def test_a_footer_of_100_megabytes(tmp_path: Path) -> None:
    body, footer = footer_of(parquet(TABLE))
    pair: Struct = {1: (BINARY, b"key"), 2: (BINARY, b"x" * 100_000_000)}
    put(footer, 5, LIST, (STRUCT, [pair]))
    path = tmp_path / "large.parquet"
    path.write_bytes(file_of(body, footer))
    answer, memory = measured(path, SPEC)
    assert answer in ("parquet-broken", "parquet-footer", "file-too-large", str(RIGHT)), answer
    assert memory < 700 << 20


@pytest.mark.slow
@pytest.mark.parametrize("columns", [1000, 100_000])
def test_a_hundred_thousand_columns(tmp_path: Path, columns: int) -> None:
    one = pa.array([1])
    path = tmp_path / "wide.parquet"
    pq.write_table(pa.table({f"c{n}": one for n in range(columns)}), path, write_statistics=False)
    answer, memory = measured(path, {"aggregates": [{"op": "sum", "column": "c7", "name": "s"}]})
    if columns == 1000:
        assert answer == "[[1]]"
    else:
        assert answer == "[[1]]" or answer.startswith(("parquet-", "column-")), answer
    assert memory < 900 << 20


@pytest.mark.slow
@pytest.mark.parametrize("writing", ["snappy", "plain"])
def test_a_file_cut_anywhere_is_broken(writing: str) -> None:
    content = parquet(TABLE, **WRITINGS[writing])
    for size in range(4, len(content), 64):
        assert refused(content[:size], **SPEC).code == "parquet-broken", size
    for size in range(len(content) - 12, len(content)):
        assert refused(content[:size], **SPEC).code == "parquet-broken", size


# Encryption


def encrypted(*, plaintext_footer: bool, columns: list[str]) -> bytes:
    import pyarrow.parquet.encryption as pe

    class Keys(pe.KmsClient):  # type: ignore[misc]
        def wrap_key(self, key: bytes, master: str) -> bytes:
            return key

        def unwrap_key(self, wrapped: bytes, master: str) -> bytes:
            return wrapped

    factory = pe.CryptoFactory(lambda configuration: Keys())
    configuration = pe.EncryptionConfiguration(
        footer_key="footer", column_keys={"column": columns}, plaintext_footer=plaintext_footer
    )
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), configuration)
    return parquet(TABLE, encryption_properties=properties)


def test_an_encrypted_file_is_named_as_such() -> None:
    content = encrypted(plaintext_footer=False, columns=["v"])
    assert content.endswith(b"PARE")
    error = refused(content, **SPEC)
    assert error.code == "parquet-encrypted"
    assert "encrypted" in error.detail
    assert refused(content, format="parquet", **SPEC).code == "parquet-encrypted"


def test_an_encrypted_column_is_named_and_the_others_can_be_read() -> None:
    content = encrypted(plaintext_footer=True, columns=["v"])
    assert content.endswith(b"PAR1")
    error = refused(content, aggregates=[{"op": "sum", "column": "v", "name": "s"}])
    assert error.code == "parquet-encrypted"
    assert "encrypted" in error.detail


@pytest.mark.parametrize("name", ["PAR1", "PARENT_ID", "PARE", "ORCID", "BZh"])
def test_a_header_may_begin_like_another_format(name: str) -> None:
    assert run(f"{name},v\na,1\n".encode(), group_by=[name]).rows == [["a", 1]]
