"""Parquet files whose footer or page headers are changed.

The numbers of fields are those of https://github.com/apache/parquet-format, parquet.thrift.
"""

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from app.jobs import JobError
from tests.kinds_builtin.dataset import thrift
from tests.kinds_builtin.dataset.answers import assert_plain, parquet, run
from tests.kinds_builtin.dataset.thrift import I32, I64, Struct

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
ONE = pa.table({"v": pa.array(range(ROWS), pa.int64())})
ONE_SPEC = {"aggregates": [{"op": "sum", "column": "v", "name": "s"}]}
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


def put(fields: Struct, number: int, kind: int, value: Any) -> None:
    fields[number] = (kind, value)


def edited(change: Callable[[Struct], None], **options: Any) -> bytes:
    """A file whose footer has been changed."""
    body, footer = footer_of(parquet(TABLE, **options))
    change(footer)
    return file_of(body, footer)


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
