"""Parquet files as one table."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.jobs import JobContext, JobError
from worker.kinds.dataset import parquet_footer
from worker.kinds.dataset.columns import LONG_DECIMAL, Use, Value, check_known, typed, uses
from worker.kinds.dataset.engine import Engine, Row
from worker.kinds.dataset.faults import encrypted, named, parquet_errors
from worker.kinds.dataset.parquet_pages import Chunk, check_pages
from worker.kinds.dataset.spec import MAX_DIGITS, DatasetAggregate, Truncate
from worker.kinds.dataset.values import literal

# The type of a text column whose writer did not say that it is text.
BINARY = "BLOB"
MAX_SCHEMA = 10_000
# The type of a column without values, whose type its writer did not know.
NO_TYPE = '"NULL"'
# The least integer of a time, by type, which numpy and pandas write for a time that is missing.
NOT_A_TIME = {
    "TIMESTAMP": f"make_timestamp({-(2**63)})",
    "TIMESTAMP WITH TIME ZONE": f"CAST(make_timestamp({-(2**63)}) AS TIMESTAMPTZ)",
    "TIMESTAMP_NS": f"make_timestamp_ns({-(2**63)})",
    "TIMESTAMPTZ_NS": f"CAST(make_timestamp_ns({-(2**63)}) AS TIMESTAMPTZ_NS)",
}

Schema = list[tuple[str, str]]


class ParquetTable:
    hint = ""

    def __init__(
        self, paths: list[Path], spec: DatasetAggregate, engine: Engine, job: JobContext
    ) -> None:
        self._paths, self._spec, self._engine, self._job = paths, spec, engine, job
        self._uses = uses(spec)
        self.columns: list[str] = []
        self._types: dict[str, str] = {}
        self._sql: dict[str, str] = {}
        self._encrypted = False
        self.rows = 0
        self.source = ""

    def read(self, start: float, end: float) -> None:
        """Look at the schema, and count the rows by reading one column of each.

        Raises `JobError`: `parquet-broken`, `parquet-encrypted`, `column-unknown`,
        `sources-differ`.
        """
        schemas = []
        for index, path in enumerate(self._paths):
            with named(index, len(self._paths)), parquet_errors():
                schemas.append(self._schema(path))
        first = schemas[0]
        self.columns = [name for name, _ in first]
        check_known(self._spec, self.columns)
        for name in self._uses:
            if self.columns.count(name) > 1:
                raise JobError(
                    "parquet-broken", f"The Parquet file has two columns {name!r}: rename one."
                )
        used = list(self._uses) or [first[_smallest(first)][0]]
        self._types = {name: type_ for name, type_ in first if name in used}
        for name, type_ in self._types.items():
            # A writer can't tell the type of a column that has no values in its file.
            if type_ == NO_TYPE:
                types = [dict(schema).get(name, NO_TYPE) for schema in schemas]
                self._types[name] = next((each for each in types if each != NO_TYPE), NO_TYPE)
        self._sql = {name: f"c{n}" for n, name in enumerate(used)}
        try:
            for index, path in enumerate(self._paths):
                with named(index, len(self._paths)):
                    self._check(path, used)
        except JobError as error:
            # The headers of an encrypted column's pages are encrypted, too.
            raise encrypted() if self._encrypted else error from error
        self.source = " UNION ALL ".join(
            self._scan(index, path, schema)
            for index, (path, schema) in enumerate(zip(self._paths, schemas, strict=True))
        )
        binary = [name for name, type_ in self._types.items() if type_ == BINARY]
        texts = "".join(
            f", count(*) FILTER (WHERE {t} IS NOT NULL AND TRY(decode({t})) IS NULL)"
            for t in (self._sql[name] for name in binary)
        )
        sql = f"SELECT count(*) FILTER (WHERE c0 IS NULL) + count(c0){texts} FROM ({self.source})"
        (row,) = self._run(sql, start, end)
        self.rows = row[0]
        for name, undecodable in zip(binary, row[1:], strict=True):
            if undecodable and self._uses.get(name, {"null"}) != {"null"}:
                raise JobError(
                    "column-type", f"Column {name!r} holds bytes that are not UTF-8 text."
                )

    def _check(self, path: Path, used: list[str]) -> None:
        """Compare the footer's counts and places of the used columns with their pages."""
        where = literal(str(path))
        rows = self._counted(where)
        columns = self._chunks(path)
        groups = {row[0]: row[1] for row in columns}
        if rows is not None and sum(groups.values()) != rows:
            raise JobError(
                "parquet-broken",
                f"The footer counts {rows:,} rows, but its row groups have "
                f"{sum(groups.values()):,}: upload the file again.",
            )
        chunks = [
            Chunk(name, min(filter(None, (dictionary, data)), default=0), size, values)
            for _, group_rows, name, values, dictionary, data, size in columns
            if name in used and self._flat(name, group_rows, values)
        ]
        for _ in check_pages(path, chunks):
            self._job.check()

    def _chunks(self, path: Path) -> list[Row]:
        import duckdb

        try:
            return self._run(
                "SELECT row_group_id, row_group_num_rows, path_in_schema, num_values, "
                "dictionary_page_offset, data_page_offset, total_compressed_size "
                f"FROM parquet_metadata({literal(str(path))})"
            )
        except duckdb.ConversionException:
            # A column's statistics hold a time that DuckDB can't represent.
            return parquet_footer.chunks(path)

    @contextmanager
    def naming_columns(self) -> Iterator[None]:
        """Name the column whose dates or times exceed the range of timestamps.

        Raises `JobError` (`column-type`).
        """
        import duckdb

        try:
            yield
        except duckdb.ConversionException as error:
            for name, column in self._sql.items():
                if typed("", self._types[name]).kind in ("date", "datetime") and (
                    not self._is_readable(column) or self._truncates(name)
                ):
                    raise JobError(
                        "column-type",
                        f"Column {name[:80]!r} holds dates or times beyond the years 290308 BC to "
                        "294247 (or the last of their type), which this job can't represent: "
                        "correct the values, or leave the column out of the specification.",
                    ) from error
            raise

    def _is_readable(self, column: str) -> bool:
        import duckdb

        try:
            self._run(f"SELECT count({column}) FROM ({self.source})")
        except duckdb.ConversionException:
            return False
        return True

    def _truncates(self, name: str) -> bool:
        return any(isinstance(key, Truncate) and key.column == name for key in self._spec.group_by)

    def _counted(self, where: str) -> int | None:
        """The rows that the footer counts, unless it is of a file with encrypted columns."""
        import duckdb

        rows: int | None
        try:
            ((rows, encryption),) = self._run(
                f"SELECT num_rows, encryption_algorithm FROM parquet_file_metadata({where})"
            )
        except duckdb.InvalidInputException:
            # DuckDB (2.0) fails to show the keys' identifiers, which are bytes, as text.
            rows = encryption = None
            self._encrypted = True
        self._encrypted = self._encrypted or encryption is not None
        return rows

    def _flat(self, name: str, rows: int, values: int) -> bool:
        if typed("", self._types[name]).kind == "nested" and self._types[name] != BINARY:
            return False
        if rows != values:
            raise JobError(
                "parquet-broken",
                f"By the file's footer, column {name!r} has {values:,} values in a group of "
                f"{rows:,} rows: upload the file again.",
            )
        return True

    def _scan(self, index: int, path: Path, schema: Schema) -> str:
        """The used columns of one file, by their place: SQL does not tell `a` from `A`."""
        names = [name for name, _ in schema]
        wanted: list[str] = []
        for name, column in self._sql.items():
            found = dict(schema).get(name, "missing")
            if found not in (self._types[name], NO_TYPE):
                raise JobError(
                    "sources-differ",
                    f"Source {index + 1}: column {name!r} is {found}, but {self._types[name]} in "
                    "another source. All sources need the same columns.",
                )
            empty = f"CAST(NULL AS {self._types[name]})"
            value = empty if found == NO_TYPE else _finite(f"f{names.index(name)}", found)
            wanted.append(f"{value} AS {column}")
        return f"SELECT {', '.join(wanted)} FROM {_reader(path, len(names))}"

    def _schema(self, path: Path) -> Schema:
        with path.open("rb") as file:
            if file.read(4) == b"PARE":
                raise encrypted()
        where = literal(str(path))
        elements = self._run(f"SELECT name, num_children, precision FROM parquet_schema({where})")
        columns = list(_top_level(elements))
        if len(columns) > MAX_SCHEMA:
            raise JobError(
                "parquet-broken",
                f"The Parquet file has {len(columns):,} columns; at most {MAX_SCHEMA:,} are read.",
            )
        described = self._run(f"DESCRIBE SELECT * FROM {_reader(path, len(columns))}")
        return [
            (name, f"{LONG_DECIMAL}{digits} DIGITS" if (digits or 0) > MAX_DIGITS else row[1])
            for (name, digits), row in zip(columns, described, strict=True)
        ]

    def _run(self, sql: str, start: float = 0.0, end: float = 0.0) -> list[Row]:
        return self._engine.run(
            sql, start=start, end=end, message="reading the file" if end else ""
        )

    def value(self, name: str, use: Use) -> Value:
        sql, type_ = self._sql[name], self._types[name]
        if type_ == BINARY:
            return Value(sql if use == "null" else f"decode({sql})", "text", "VARCHAR")
        return typed(sql, type_)

    def sorted_by(self, name: str, column: str) -> list[str]:
        del name, column
        return []

    def extreme(self, name: str, op: str) -> Value:
        value = self.value(name, "order")
        return Value(f"{op}({value.sql})", value.kind, value.type)


def _reader(path: Path, width: int) -> str:
    names = ", ".join(f"f{n}" for n in range(width))
    return (
        f"read_parquet({literal(str(path))}, binary_as_string = false, "
        f"hive_partitioning = false, union_by_name = false) AS t({names})"
    )


def _finite(value: str, type_: str) -> str:
    """A column's value, unless DuckDB takes it for an infinite time: then the job fails."""
    if type_ not in NOT_A_TIME:
        return value
    failing = f"CAST(CAST({value} AS VARCHAR) || ' time' AS {type_})"
    # DuckDB (2.0) has no isinf for this type.
    moment = typed(value, type_).sql if type_ == "TIMESTAMPTZ_NS" else value
    return f"CASE WHEN isinf({moment}) THEN {failing} ELSE NULLIF({value}, {NOT_A_TIME[type_]}) END"


def _smallest(schema: Schema) -> int:
    """Choose a column that is cheap to read, for counting rows."""
    for wanted in ("integer", "boolean", "date", "float", "datetime", "decimal", "text"):
        for n, (_, type_) in enumerate(schema):
            if typed("", type_).kind == wanted:
                return n
    return 0


def _top_level(elements: list[Row]) -> list[tuple[str, int | None]]:
    """Names of the columns, the children of the schema's root, and digits of decimals."""
    columns: list[tuple[str, int | None]] = []
    # Elements whose children are still to come, of each level.
    left: list[int] = []
    for position, (name, children, digits) in enumerate(elements):
        if position == 0:
            left = [children or 0]
            continue
        while len(left) > 1 and left[-1] == 0:
            left.pop()
        if len(left) == 1:
            columns.append((name, digits))
        left[-1] -= 1
        if children:
            left.append(children)
    return columns
