"""Makes a CSV file readable as it stands: uncompressed UTF-8 with one kind of line end."""

import codecs
import gzip
import io
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, cast

from app.jobs import JobError
from worker.kinds.dataset import csv_blocks
from worker.kinds.dataset.csv_blocks import MAX_RECORD, Block, line_ends
from worker.kinds.dataset.csv_head import SAMPLE, Head
from worker.kinds.dataset.csv_lines import (
    Record,
    Rewriter,
    is_misread,
    ragged,
    records,
    too_long,
)
from worker.kinds.dataset.spec import Compression, CsvOptions

BLOCK = 1 << 20
# Bytes of a file's text once it is uncompressed: gzip shrinks zeros to a thousandth. It may be
# in the scratch folder twice for a moment, and two jobs must fit the chart's volume of 10 GiB.
MAX_TEXT = 2 << 30

PICTURE = "a picture: send a table as CSV or Parquet"
MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook: export the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook: export the sheet as CSV"),
    (b"%PDF-", "a PDF: export the table as CSV"),
    (b"BZh91AY&SY", "compressed with bzip2: use gzip or zstd"),
    (b"\xfd7zXZ\x00", "compressed with xz: use gzip or zstd"),
    (b"7z\xbc\xaf", "a 7-Zip archive: use gzip or zstd"),
    (b"ARROW1\0\0", "an Arrow file: convert it to Parquet"),
    (
        b"PAR1\x15",
        "a Parquet file: send it uncompressed, and set format to parquet or leave it out",
    ),
    (b"Obj\x01", "an Avro file: convert it to Parquet"),
    (b"ORC\n", "an ORC file: convert it to Parquet"),
    (b"ORC\x08", "an ORC file: convert it to Parquet"),
    (b"SQLite format 3\0", "a SQLite database: export the table as CSV"),
    (b"\xff\xfe\0\0", "UTF-32 text: save it as UTF-8"),
    (b"\0\0\xfe\xff", "UTF-32 text: save it as UTF-8"),
    (b"\x89PNG\r\n", PICTURE),
    (b"\xff\xd8\xff", PICTURE),
    (b"GIF87a", PICTURE),
    (b"GIF89a", PICTURE),
    (b"II*\0", PICTURE),
    (b"MM\0*", PICTURE),
)
TAR = slice(257, 262), b"ustar"
# Bytes in which other formats are recognised.
HEAD = 512
MARKUP = re.compile(r"\s*<(!doctype|html|\?xml|head|body|table|svg|!--)", re.IGNORECASE)
# The line in which Excel reads the separator; it is not part of the table.
SEPARATOR_LINE = re.compile(r"sep=([,;\t|])(?:\r\n?|\n)")
JSON = re.compile(r'\s*(\{\s*["}]|\[\s*[\[{])')


@dataclass(frozen=True, slots=True)
class CsvText:
    """A file in UTF-8 whose rows begin in line `body`, counted from 1.

    `skipped` rows with too few or too many fields were left out; `first_skipped` has the lines and
    the numbers of fields of the first ones.
    """

    path: Path
    columns: list[str]
    body: int
    separator: str
    quote: str
    compression: Compression
    skipped: int = 0
    first_skipped: Sequence[tuple[int, int]] = ()

    @property
    def width(self) -> int:
        """Fields of a row. The rows of one column have a second one, `FILLER`.

        Otherwise DuckDB would take a blank line for a row.
        """
        return max(2, len(self.columns))

    def fault(self, check: Callable[[], None]) -> JobError | None:
        """The first row that can't be split, or has another number of fields, if there is one."""
        mark = self.separator.encode()
        start, line = self._start()
        for block in csv_blocks.read(self.path, start, mark, self.quote.encode()):
            check()
            found = csv_blocks.marks(block.frame.split(b"\n"), mark)
            if found - {self.width - 1} or len(block.text) > MAX_RECORD:
                break
            start, line = start + len(block.text), line + line_ends(block.text)
        try:
            for count, record in enumerate(self._records(start, line)):
                if count % 10_000 == 0:
                    check()
                if sum(len(field.encode()) for field in record.fields) > MAX_RECORD:
                    return too_long(record.first_line)
                if len(record.fields) != self.width:
                    found_fields = len(record.fields) - (self.width - len(self.columns))
                    return ragged(
                        record.first_line, found_fields, len(self.columns), self.separator
                    )
        except JobError as error:
            return error
        return None

    def lines_of(self, rows: Sequence[int], check: Callable[[], None]) -> tuple[list[int], int]:
        """The first lines of rows, given by their numbers from 1 in ascending order.

        Also the number of rows up to the last one wanted, or in the file where it has fewer. Raises
        `JobError` (`csv-quote`).
        """
        lines: list[int] = []
        seen = 0
        start, line = self._start()
        for block in csv_blocks.read(
            self.path, start, self.separator.encode(), self.quote.encode()
        ):
            check()
            split = block.frame.split(b"\n")
            here = len(split) - split.count(b"")
            within = [row - seen for row in rows[len(lines) :] if row <= seen + here]
            lines += [line + each for each in _lines_before(block, split, within)]
            seen += here
            start, line = start + len(block.text), line + line_ends(block.text)
            if len(lines) == len(rows):
                return lines, seen
        for count, record in enumerate(self._records(start, line)):
            if count % 10_000 == 0:
                check()
            seen += 1
            if seen == rows[len(lines)]:
                lines.append(record.first_line)
                if len(lines) == len(rows):
                    break
        return lines, seen

    def _start(self) -> tuple[int, int]:
        """The byte and the line at which the rows begin."""
        with self.path.open("rb") as file:
            mark = file.read(len(codecs.BOM_UTF8))
            file.seek(len(mark) if mark == codecs.BOM_UTF8 else 0)
            for _ in range(self.body - 1):
                file.readline()
            return file.tell(), self.body

    def _records(self, start: int, line: int) -> Iterator[Record]:
        with self.path.open("rb") as binary:
            binary.seek(start)
            text = io.TextIOWrapper(binary, encoding="utf-8", newline="\n")
            yield from records(text, line, self.separator, self.quote)


def _lines_before(block: Block, split: Sequence[bytes], rows: Sequence[int]) -> Iterator[int]:
    """The line ends before rows of a block, given by their numbers in ascending order."""
    wanted = set(rows)
    row = ends = quotes = 0
    for place, line in enumerate(split if wanted else ()):
        row += bool(line)
        if line and row in wanted:
            yield place + ends
            if row == rows[-1]:
                return
        if block.inside and (more := line.count(block.quote)):
            ends += block.line_ends_inside(quotes, quotes + more)
            quotes += more


def read_csv_text(
    path: Path, options: CsvOptions, scratch: Path, watch: Callable[[int], None]
) -> CsvText:
    """Check a file's bytes, and rewrite them into `scratch` where DuckDB would misread them.

    `watch` is called with the bytes read so far, now and then. 1 GB takes 3 s of CPU where nothing
    is rewritten, and 20 s where every line is.

    Raises `JobError`: `file-empty`, `file-too-large`, `not-a-table`, `csv-compression`,
    `csv-encoding`, `csv-header`, `csv-quote`, `csv-ragged`.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    compression = options.compression or _compression(head)
    if compression not in ("none", _compression(head)):
        raise JobError(
            "csv-compression",
            f"The file is not {compression}-compressed: omit csv.compression.",
        )
    if compression != "none":
        head = next(_blocks(path, compression))[:HEAD]
    _reject_other_formats(head, options.encoding)
    copy = scratch / f"{path.name}.utf8"
    ends = _decoded(path, compression, options.encoding, copy, watch)
    plain = copy if copy.exists() else path
    quote = "" if options.quote == "none" else options.quote
    with plain.open(encoding="utf-8-sig", newline="") as text:
        sample = text.read(SAMPLE)
    _reject_markup(sample)
    if (first := SEPARATOR_LINE.match(sample)) and not options.skip_rows:
        given = {"separator": options.separator or first[1], "skip_rows": 1}
        options = options.model_copy(update=given)
    head_lines = Head(sample, quote, options)
    separator = options.separator or head_lines.separator()
    columns, body, simple = head_lines.header(separator)
    width = len(columns)
    skips = options.on_error == "skip"
    check = partial(watch, path.stat().st_size)
    if (
        ends - {"\n"}
        or options.comment
        or not simple
        or width == 1
        or skips
        or is_misread(plain, separator, quote, width, check)
    ):
        uniform = scratch / f"{path.name}.lines"
        rewriter = Rewriter(separator, quote, options.comment, width, skips=skips)
        # The lines before the rows may have any number of fields.
        rewriter.write(plain, uniform, body - 1, check)
        copy.unlink(missing_ok=True)
        return CsvText(
            uniform,
            columns,
            1,
            separator,
            quote,
            compression,
            rewriter.skipped,
            rewriter.first_skipped,
        )
    return CsvText(plain, columns, body, separator, quote, compression)


def _compression(head: bytes) -> Compression:
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    # RFC 8878, section 3.1.2: a frame that is skipped may come first.
    skippable = head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50
    return "zstd" if head.startswith(b"\x28\xb5\x2f\xfd") or skippable else "none"


def _reject_other_formats(head: bytes, encoding: str) -> None:
    for magic, what in MAGIC:
        if head.startswith(magic):
            raise JobError("not-a-table", f"The file is {what}.")
    if _compression(head) != "none":
        raise JobError("csv-compression", "The file is compressed twice: decompress it once.")
    place, magic = TAR
    if head[place] == magic:
        raise JobError("not-a-table", "The file is a tar archive: send the table in it.")
    marked = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if encoding == "utf-16" or marked:
        return
    if b"\0\0" in head:
        raise JobError("not-a-table", "The file is binary, not text: send CSV or Parquet.")
    if encoding != "utf-8" and head.startswith(codecs.BOM_UTF8):
        raise JobError(
            "csv-encoding",
            f"The file begins with the byte order mark of UTF-8, and csv.encoding is {encoding}: "
            "set it to utf-8.",
        )


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
    size, unended, last = 0, 0, ""
    with io.BytesIO() if plain else copy.open("wb") as target:
        for block in _blocks(path, compression):
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                line = _line_after(path, compression, encoding, size)
                raise _undecodable(error, encoding, line) from error
            except UnicodeError as error:
                raise JobError(
                    "csv-encoding",
                    "The file does not begin with a byte order mark, as UTF-16 text does: set "
                    "csv.encoding to the file's own, or save the file as UTF-8.",
                ) from error
            size += len(block)
            watch(size)
            if size > MAX_TEXT and not plain:
                raise JobError(
                    "file-too-large",
                    f"The table's text has more than {MAX_TEXT >> 30} GiB: split the file, or send "
                    "it as Parquet.",
                )
            end = max(text.rfind("\n"), text.rfind("\r")) + 1
            unended = len(text[end:].encode()) + (0 if end else unended)
            # DuckDB skips lines that are longer than its buffer.
            if unended > MAX_RECORD:
                raise too_long(_line_after(path, compression, encoding, size))
            # A CR at the end of the last block may be the first half of a CRLF.
            _count_ends("\r" * last.endswith("\r") + text, ends, final=not block)
            last = text
            if not plain:
                target.write(text.encode())
    if encoding == "utf-8" and size == 0:
        raise JobError("file-empty", "The file is empty: send a CSV file with a header and rows.")
    return set(ends)


def _blocks(path: Path, compression: Compression) -> Iterator[bytes]:
    """The uncompressed file, an empty block last."""
    with _opened(path, compression) as file:
        block = b"begin"
        while block:
            try:
                block = file.read(BLOCK)
            except Exception as error:
                # Errors with an errno come from the system, not from the file.
                if compression == "none" or getattr(error, "errno", None) is not None:
                    raise
                if "too much memory" in str(error):
                    raise JobError(
                        "csv-compression",
                        "The file's zstd window has more than 128 MiB: compress it without --long.",
                    ) from error
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
            line += line_ends(text.encode()) - (last.endswith("\r") and text.startswith("\n"))
            size -= len(block)
            last = text
    return line


def _undecodable(error: UnicodeDecodeError, encoding: str, line: int) -> JobError:
    line += line_ends(error.object[: error.start].decode(encoding, "replace").encode())
    return JobError(
        "csv-encoding",
        f"Line {line:,} holds the byte 0x{error.object[error.start]:02x}, which is not {encoding} "
        "text: set csv.encoding to the file's own, or save the file as UTF-8.",
    )
