"""Makes a CSV file readable as it stands: uncompressed UTF-8 with one kind of line end."""

import codecs
import csv
import gzip
import io
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple, cast

from app.jobs import JobError
from worker.kinds.dataset.spec import MAX_COLUMNS, Compression, CsvOptions

BLOCK = 1 << 20
# Bytes of a record; DuckDB keeps 16 of them in memory.
MAX_RECORD = 2_000_000
# Bytes of a file's text once it is uncompressed: gzip shrinks zeros to a thousandth.
MAX_TEXT = 3 << 30
# Characters in which the separator and the header are looked for.
SAMPLE = 1 << 20
SAMPLE_RECORDS = 100
SEPARATORS = (",", ";", "\t", "|")

MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook: export the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook: export the sheet as CSV"),
    (b"%PDF", "a PDF: export the table as CSV"),
    (b"BZh", "compressed with bzip2: use gzip or zstd"),
    (b"\xfd7zXZ\x00", "compressed with xz: use gzip or zstd"),
    (b"7z\xbc\xaf", "a 7-Zip archive: use gzip or zstd"),
    (b"ARROW1", "an Arrow file: convert it to Parquet"),
    (b"PAR1", "a Parquet file: leave out format, or set it to parquet"),
    (b"Obj\x01", "an Avro file: convert it to Parquet"),
    (b"ORC", "an ORC file: convert it to Parquet"),
    (b"SQLite format 3", "a SQLite database: export the table as CSV"),
)
MARKUP = re.compile(r"\s*<(!doctype|html|\?xml|head|body|table|svg|!--)", re.IGNORECASE)
JSON = re.compile(r'\s*(\{\s*["}]|\[\s*[\[{])')

# A field may be as long as its record; csv's own bound is 128 KiB.
csv.field_size_limit(2**31 - 1)


@dataclass(frozen=True, slots=True)
class CsvText:
    """A file in UTF-8 whose rows begin in line `body`, counted from 1."""

    path: Path
    columns: list[str]
    body: int
    separator: str
    quote: str
    line_end: str
    compression: Compression

    def records(self) -> "Iterator[Record]":
        with self.path.open(encoding="utf-8-sig", newline="\n") as file:
            for _ in range(self.body - 1):
                file.readline()
            yield from _records(file, self.body, self.separator, self.quote)

    def line_at(self, offset: int) -> int:
        """The line of the record at a byte."""
        line, left = 1, offset
        with self.path.open("rb") as file:
            while left > 0 and (block := file.read(min(BLOCK, left))):
                line += block.count(b"\n")
                left -= len(block)
            # DuckDB counts blank lines to the record that they precede.
            while file.readline(3) in (b"\n", b"\r\n"):
                line += 1
        return line


class Record(NamedTuple):
    first_line: int
    last_line: int
    fields: list[str]


def read_csv_text(
    path: Path, options: CsvOptions, scratch: Path, watch: Callable[[int], None]
) -> CsvText:
    """Check a file's bytes, and rewrite them into `scratch` where DuckDB would misread them.

    `watch` is called with the bytes read so far. 1 GB takes 1 s of CPU where nothing is rewritten.

    Raises `JobError`: `file-empty`, `file-too-large`, `not-a-table`, `csv-compression`,
    `csv-encoding`, `csv-header`, `csv-quote`, `csv-ragged`.
    """
    with path.open("rb") as file:
        head = file.read(16)
    compression = options.compression or _compression(head)
    if compression == "none":
        _reject_other_formats(head)
    copy = scratch / f"{path.name}.utf8"
    ends = _decoded(path, compression, options.encoding, copy, watch)
    plain = copy if copy.exists() else path
    quote = "" if options.quote == "none" else options.quote
    with plain.open(encoding="utf-8-sig", newline="") as text:
        sample = text.read(SAMPLE)
    _reject_markup(sample)
    head_lines = _Head(sample, quote, options)
    separator = options.separator or head_lines.separator()
    columns, body, simple = head_lines.header(separator)
    uniform_ends = ends <= {"\n"} or ends == {"\r\n"}
    if options.comment or not (simple and uniform_ends):
        uniform = scratch / f"{path.name}.lines"
        blank = 0 if simple else body - 1
        _uniform(plain, uniform, _tokens(separator, quote, options.comment), blank)
        copy.unlink(missing_ok=True)
        plain, ends = uniform, {"\n"}
        body = body if simple else 1
    line_end = "\r\n" if "\r\n" in ends else "\n"
    return CsvText(plain, columns, body, separator, quote, line_end, compression)


def _compression(head: bytes) -> Compression:
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    return "zstd" if head.startswith(b"\x28\xb5\x2f\xfd") else "none"


def _reject_other_formats(head: bytes) -> None:
    for magic, what in MAGIC:
        if head.startswith(magic):
            raise JobError("not-a-table", f"The file is {what}.")


def _reject_markup(sample: str) -> None:
    if MARKUP.match(sample):
        raise JobError("not-a-table", "The file is HTML or XML, not a table: send CSV or Parquet.")
    if JSON.match(sample):
        raise JobError("not-a-table", "The file is JSON, not a table: send CSV or Parquet.")


def _opened(path: Path, compression: Compression) -> IO[bytes]:
    match compression:
        case "gzip":
            return cast("IO[bytes]", gzip.open(path, "rb"))
        case "zstd":
            if sys.version_info >= (3, 14):
                from compression import zstd
            else:
                from backports import zstd
            return cast("IO[bytes]", zstd.open(path, "rb"))
        case "none":
            return path.open("rb")


def _decoded(
    path: Path,
    compression: Compression,
    encoding: str,
    copy: Path,
    watch: Callable[[int], None],
) -> set[str]:
    """Read a file once: write its text to `copy` if it isn't plain UTF-8, return its line ends."""
    ends: Counter[str] = Counter()
    decoder = codecs.getincrementaldecoder(encoding)()
    plain = compression == "none" and encoding == "utf-8"
    size, last = 0, ""
    with io.BytesIO() if plain else copy.open("wb") as target:
        for block in _blocks(path, compression):
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                line = _line_after(path, compression, encoding, size)
                raise _undecodable(error, encoding, line) from error
            size += len(block)
            watch(size)
            if size > MAX_TEXT and not plain:
                raise JobError(
                    "file-too-large",
                    f"The table's text has more than {MAX_TEXT >> 30} GiB: split the file, or send "
                    "it as Parquet.",
                )
            # A CR at the end of the last block is the first half of a CRLF, perhaps.
            _count_ends("\r" * last.endswith("\r") + text, ends, final=not block)
            last = text
            if not plain:
                target.write(text.encode())
    if encoding == "utf-8" and size == 0:
        raise JobError("file-empty", "The file is empty: a CSV file has a header and rows.")
    return set(ends)


def _blocks(path: Path, compression: Compression) -> Iterator[bytes]:
    """The uncompressed file, an empty block last."""
    with _opened(path, compression) as file:
        block = b"begin"
        while block:
            try:
                block = file.read(BLOCK)
            except Exception as error:
                # The system's errors have a number: those are no fault of the file.
                if compression == "none" or getattr(error, "errno", None) is not None:
                    raise
                raise JobError(
                    "csv-compression",
                    f"The file's {compression} data is damaged or cut short: upload it again.",
                ) from error
            yield block


def _count_ends(text: str, ends: "Counter[str]", *, final: bool) -> None:
    """Count line ends; a CR at the end of a block is counted with the next one."""
    returns = text.count("\r")
    if not returns:
        if "\n" in text:
            ends["\n"] += 1
        return
    pairs = text.count("\r\n")
    pending = not final and text.endswith("\r")
    if pairs:
        ends["\r\n"] += 1
    if text.count("\n") > pairs:
        ends["\n"] += 1
    if returns - pairs - pending > 0:
        ends["\r"] += 1


def _line_after(path: Path, compression: Compression, encoding: str, size: int) -> int:
    """The line at a number of bytes of the uncompressed file, which can be decoded so far."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line, last = 1, ""
    with _opened(path, compression) as file:
        while size > 0 and (block := file.read(min(BLOCK, size))):
            text = decoder.decode(block)
            line += _lines(text) - (last.endswith("\r") and text.startswith("\n"))
            size -= len(block)
            last = text
    return line


def _lines(text: str) -> int:
    return text.count("\n") + text.count("\r") - text.count("\r\n")


def _undecodable(error: UnicodeDecodeError, encoding: str, line: int) -> JobError:
    line += _lines(error.object[: error.start].decode(encoding, "replace"))
    return JobError(
        "csv-encoding",
        f"Line {line:,} holds the byte 0x{error.object[error.start]:02x}, which is not {encoding} "
        "text: set csv.encoding to the file's own, or save the file as UTF-8.",
    )


def _records(
    lines: Iterable[str], first: int, separator: str, quote: str, comment: str | None = None
) -> Iterator[Record]:
    """Records, each with its lines; blank lines and comments between them are left out.

    Raises `JobError` (`csv-quote`).
    """
    line, begun, between = first - 1, first, True

    def wanted() -> Iterator[str]:
        nonlocal line, begun, between
        for text in lines:
            line += 1
            if between:
                if not text.rstrip("\r\n") or (comment and text.startswith(comment)):
                    continue
                begun, between = line, False
            yield text

    reader = csv.reader(
        wanted(),
        delimiter=separator,
        quotechar=quote or None,
        quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
        strict=True,
    )
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise bad_quote(begun) from error
        yield Record(begun, line, fields)
        between = True


class _Head:
    """The first lines of a file, in which the header and the separator are found."""

    def __init__(self, sample: str, quote: str, options: CsvOptions) -> None:
        self._sample, self._quote, self._options = sample, quote, options
        self._cut = len(sample) == SAMPLE

    def separator(self) -> str:
        """The separator that splits the header and the first rows alike into most fields."""
        candidates = {mark: self._widths(mark) for mark in SEPARATORS}
        alike = {mark: widths[0] for mark, widths in candidates.items() if len(set(widths)) == 1}
        best = max(alike, key=lambda mark: alike[mark], default=",")
        if alike.get(best, 1) > 1:
            return best
        return max(SEPARATORS, key=lambda mark: candidates[mark][0] if candidates[mark] else 0)

    def _widths(self, mark: str) -> list[int]:
        widths: list[int] = []
        try:
            for record in self._records(mark):
                widths.append(len(record.fields))
                if len(widths) == SAMPLE_RECORDS:
                    return widths
        except JobError:
            pass
        # The last record may be cut.
        return widths[:-1] if self._cut and len(widths) > 1 else widths

    def _records(self, separator: str) -> Iterator[Record]:
        lines = io.StringIO(self._sample, newline="")
        skipped = self._options.skip_rows
        for _ in range(skipped):
            lines.readline()
        return _records(lines, skipped + 1, separator, self._quote, self._options.comment)

    def header(self, separator: str) -> tuple[list[str], int, bool]:
        """The columns, the first line after the header, and whether DuckDB can count up to it."""
        skipped = self._options.skip_rows
        names = self._options.column_names
        body = skipped + 1
        simple = True
        if names is None:
            record = next(self._records(separator), None)
            if record is None:
                raise JobError("file-empty", "The file has no header: its lines are all blank.")
            names, body = record.fields, record.last_line + 1
            simple = record.first_line == record.last_line
            _check_names(names)
        lines = io.StringIO(self._sample, newline="")
        before = "".join(lines.readline() for _ in range(skipped))
        return names, body, simple and not (self._quote and self._quote in before)


def _check_names(names: list[str]) -> None:
    if any("\0" in name for name in names):
        raise JobError(
            "csv-encoding", "Line 1 holds NUL characters: if the file is UTF-16, set csv.encoding."
        )
    if len(names) > MAX_COLUMNS:
        raise JobError(
            "csv-header",
            f"The header has {len(names):,} columns and may have {MAX_COLUMNS:,}: leave out those "
            "that are not needed, check csv.separator, or send a Parquet file.",
        )
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    if twice:
        raise JobError(
            "csv-header",
            f"The header names the column {twice[0][:80]!r} more than once: give each its own "
            "name, or list csv.column_names if the file has no header row.",
        )


def _tokens(separator: str, quote: str, comment: str | None) -> re.Pattern[str]:
    """A pattern of what is not copied as it stands: quoted fields, comments, line ends."""
    patterns = [r"(?P<end>\r\n|\r|\n)"]
    if comment:
        patterns.insert(0, rf"(?P<comment>(?<![^\r\n]){re.escape(comment)}[^\r\n]*)")
    if quote:
        patterns.insert(
            0,
            rf"(?P<field>(?<![^{re.escape(separator)}\r\n]){quote}[^{quote}]*"
            rf"(?:{quote}{quote}[^{quote}]*)*(?:{quote}|\Z))",
        )
    return re.compile("|".join(patterns))


def _uniform(source: Path, target: Path, tokens: re.Pattern[str], blank: int) -> None:
    """Write the text with LF at the ends of lines, and comments and `blank` first lines empty.

    Line ends inside of quoted fields stay.
    """

    def rewritten(token: re.Match[str]) -> str:
        match token.lastgroup:
            case "end":
                return "\n"
            case "comment":
                return ""
        return token[0]

    with (
        source.open(encoding="utf-8-sig", newline="") as text,
        target.open("w", encoding="utf-8", newline="") as copy,
    ):
        for _ in range(blank):
            text.readline()
        copy.write("\n" * blank)
        rest, line = "", blank + 1
        while True:
            block = text.read(BLOCK)
            rest += block
            cut = len(rest) if not block else _last_end(rest, tokens)
            copy.write(tokens.sub(rewritten, rest[:cut]))
            line += _lines(rest[:cut])
            rest = rest[cut:]
            if not block:
                return
            if len(rest) > MAX_RECORD:
                raise too_long(line)


def _last_end(text: str, tokens: re.Pattern[str]) -> int:
    """Where the last whole line ends."""
    last = 0
    for token in tokens.finditer(text):
        # A CR at the end may be the first half of a CRLF.
        if token.lastgroup == "end" and token.end() < len(text):
            last = token.end()
    return last


def bad_quote(line: int) -> JobError:
    return JobError(
        "csv-quote",
        f"Line {line:,} holds a quote that is never closed, or text behind a quoted field: put "
        "fields that hold a quote between quotes and double each quote inside, or set csv.quote.",
    )


def too_long(line: int) -> JobError:
    return JobError(
        "csv-ragged",
        f"The record in line {line:,} has more than {MAX_RECORD:,} bytes: check csv.separator and "
        "csv.quote, and whether the file is CSV.",
    )
