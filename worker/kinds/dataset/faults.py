"""DuckDB's errors as faults of the input, in words that name no path and no plan."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.jobs import JobError

# Of the machine, not of the file.
OWN = ("No space left", "Disk quota", "Too many open files", "Input/output error")


@contextmanager
def csv_errors() -> Iterator[None]:
    import duckdb

    with _common():
        try:
            yield
        except (duckdb.InvalidInputException, duckdb.InternalException) as error:
            raise JobError(
                "csv-broken",
                "The CSV file can't be split into rows: check csv.separator, csv.quote and that "
                "all lines end in the same way.",
            ) from error


@contextmanager
def parquet_errors() -> Iterator[None]:
    import duckdb

    with _common():
        try:
            yield
        except (
            duckdb.InvalidInputException,
            duckdb.IOException,
            duckdb.SerializationException,
            duckdb.NotImplementedException,
            duckdb.ConversionException,
            duckdb.InternalException,
            duckdb.NotSupportedError,
            # It looks into the file to learn the types of its columns.
            duckdb.BinderException,
        ) as error:
            said = str(error)
            if any(own in said for own in OWN):
                raise
            if "encrypt" in said:
                raise JobError(
                    "parquet-encrypted", "The Parquet file is encrypted: send it decrypted."
                ) from error
            raise JobError(
                "parquet-broken",
                "The file can't be read as Parquet: it is damaged, cut short, or uses a feature "
                "that is not supported. Upload it again, or write it again with another library.",
            ) from error


@contextmanager
def _common() -> Iterator[None]:
    import duckdb

    try:
        yield
    except duckdb.OutOfRangeException as error:
        raise JobError(
            "integer-overflow",
            "A sum exceeds 38 digits: set csv.types of its column to number, or sum smaller "
            "groups.",
        ) from error
