"""DuckDB's errors as faults of the input, in words that name no path and no plan."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.jobs import JobError, RetryableJobError

NO_ROOM = ("No space left", "Disk quota")
# A query's own words for a number of more than 38 digits, and for one beyond a double's range,
# which the column follows.
OVERFLOW, DOUBLE_OVERFLOW = "decimal overflow", "double overflow in "


@contextmanager
def csv_errors() -> Iterator[None]:
    with _translated(
        JobError(
            "csv-broken",
            "The CSV file can't be split into rows: check csv.separator, csv.quote and that all "
            "lines end in the same way.",
        ),
        overflow="declare its column as number in csv.types, or sum smaller groups",
    ):
        yield


@contextmanager
def parquet_errors() -> Iterator[None]:
    with _translated(
        JobError(
            "parquet-broken",
            "The file can't be read as Parquet: it is damaged, cut short, or uses a feature that "
            "is not supported. Upload it again, write it again with another library, or set format "
            "to csv if that is what it is.",
        ),
        overflow="sum smaller groups",
    ):
        yield


@contextmanager
def _translated(broken: JobError, overflow: str) -> Iterator[None]:
    import duckdb

    # Faults of a statement, or of its environment, and not of the data that it reads.
    own = (
        duckdb.PermissionException,
        duckdb.ParserException,
        duckdb.CatalogException,
        duckdb.InterruptException,
    )
    try:
        yield
    except own:
        raise
    except duckdb.Error as error:
        said = str(error)
        if isinstance(error, duckdb.OutOfRangeException) or OVERFLOW in said:
            raise JobError(
                "integer-overflow",
                f"A sum or a bin exceeds 38 digits: {overflow}.",
            ) from error
        if DOUBLE_OVERFLOW in said:
            column = said.rpartition(DOUBLE_OVERFLOW)[2]
            raise JobError(
                "number-overflow",
                f"A sum, mean or standard deviation of column {column} exceeds the range of "
                "numbers in double precision (1.8e308): filter out the largest values, or divide "
                "them by a constant.",
            ) from error
        if any(words in said for words in NO_ROOM):
            raise RetryableJobError(
                "scratch-full", "The worker has no room left for temporary files."
            ) from None
        if "non-root column" in said:
            raise JobError("file-empty", "The Parquet file has no columns.") from error
        if "encrypt" in said:
            raise encrypted() from error
        raise broken from error


@contextmanager
def named(index: int, count: int) -> Iterator[None]:
    """Name the source in its errors, if there are several."""
    try:
        yield
    except JobError as error:
        if count == 1:
            raise
        detail = error.detail[:1].lower() + error.detail[1:]
        raise JobError(error.code, f"Source {index + 1}: {detail}") from error


def encrypted() -> JobError:
    return JobError("parquet-encrypted", "The Parquet file is encrypted: send it decrypted.")
