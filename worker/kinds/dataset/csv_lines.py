"""Lines and records of CSV text."""

import codecs
import csv
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from app.jobs import JobError
from worker.kinds.dataset.csv_blocks import BLOCK, MAX_RECORD, Block, line_ends, marks, take

# Bytes in which the header ends: those of the characters of csv_head.SAMPLE.
MAX_HEAD = 4 << 20
# Skipped rows that are reported one by one.
SKIPPED_SHOWN = 10
# DuckDB ignores an empty field behind the last column, so it gets this value. It is also the
# second field of each row of one column, in which a blank line would be a row.
FILLER = "."
LINE_END = re.compile(rb"\r\n|\r|\n")

# A field may be as long as its record; csv's own bound is 128 KiB.
csv.field_size_limit(2**31 - 1)


class Record(NamedTuple):
    first_line: int
    last_line: int
    fields: list[str]


def records(
    lines: Iterable[str], first: int, separator: str, quote: str, comment: str | None = None
) -> Iterator[Record]:
    """Records, each with its lines; blank lines and comments between them are left out.

    Raises `JobError` (`csv-quote`, `csv-ragged`).
    """
    line, begun, upcoming, between, size = first, first, first, True, 0

    def wanted() -> Iterator[str]:
        nonlocal line, begun, upcoming, between, size
        for text in lines:
            # A quoted field may hold a CR alone, which ends a line, too.
            encoded = text.encode()
            line, upcoming = upcoming, upcoming + max(1, line_ends(encoded))
            if between:
                if not text.rstrip("\r\n") or (comment and text.startswith(comment)):
                    continue
                begun, between, size = line, False, 0
            size += len(encoded)
            # A quote that is never closed would put the rest of the file in memory.
            if size > MAX_RECORD:
                raise too_long(begun)
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
        yield Record(begun, upcoming - 1, fields)
        between = True


class Rewriter:
    """Rewrites a text so that DuckDB reads what it holds.

    Lines end in LF, comments become blank lines. DuckDB ignores an extra separator at the end of a
    row, and blanks around a quoted field: such text becomes a fault that it reports, or a quoted
    value. With `skips`, rows with a wrong number of fields become blank lines: `skipped` counts
    them, `first_skipped` has the lines and the numbers of fields of the first ones.
    """

    def __init__(
        self, separator: str, quote: str, comment: str | None, width: int, *, skips: bool
    ) -> None:
        self._separator, self._quote, self._width = separator, quote, width
        self._comment, self._skips = comment, skips
        self.skipped = 0
        self.first_skipped: list[tuple[int, int]] = []
        self._line = 1
        self._filler = f"{separator}{FILLER}" if width == 1 else ""
        # Only for text whose lines end in LF.
        self._comments = (
            re.compile(rb"(?m)^%b.*" % re.escape(comment.encode())) if comment else None
        )
        mark = re.escape(separator)
        # Blanks before quotes are common, and the quotes are part of the value then.
        around = re.escape(quote).encode()
        self._blanks = re.compile(
            rb"(?<![^%b\r\n])( +)%b([^%b%b\r\n]+)%b( *)(?=[%b\r\n])"
            % (mark.encode(), around, around, mark.encode(), around, mark.encode())
        )
        # Parts of the text that change, and quoted fields, in which nothing changes.
        patterns = [r"(?P<end>\r\n|\r|\n)"]
        if comment:
            patterns.append(rf"(?P<comment>(?<![^\r\n]){re.escape(comment)}[^\r\n]*)")
        if quote:
            begin = rf"(?<![^{mark}\r\n])"
            patterns.append(rf"(?P<blank>{begin} +{quote}[^{mark}\r\n]*)")
            patterns.append(
                rf"(?P<field>{begin}{quote}[^{quote}]*(?:{quote}{quote}[^{quote}]*)*(?:{quote}|\Z))"
                rf"(?P<behind> +(?=[{mark}\r\n]|\Z))?"
            )
        self._tokens = re.compile("|".join(patterns))

    def write(self, source: Path, target: Path, blank: int, check: Callable[[], None]) -> None:
        """Rewrite a file, the first `blank` lines as blank ones; `check` is called now and then.

        Raises `JobError` (`csv-ragged`) for a record that is too long.
        """
        with source.open("rb") as file, target.open("wb") as copy:
            head = file.read(MAX_HEAD).removeprefix(codecs.BOM_UTF8)
            rest, self._line = _without_lines(head, blank), blank + 1
            copy.write(b"\n" * blank)
            while True:
                check()
                more = file.read(BLOCK)
                rest += more
                done, rest = self._rewritten(rest, last=not more)
                copy.write(done)
                if not more:
                    return
                if len(rest) > MAX_RECORD:
                    raise too_long(self._line)

    def _rewritten(self, text: bytes, *, last: bool) -> tuple[bytes, bytes]:
        """The whole records of a text in their new form, and the rest of it."""
        block = take(text, self._separator.encode(), self._quote.encode(), last=last)
        if block is None and self._quote:
            text = self._with_blanks_quoted(text)
            block = take(text, self._separator.encode(), self._quote.encode(), last=last)
        if block is not None and (done := self._by_lines(block)) is not None:
            return done, text[len(block.text) :]
        # A CR at the very end may be the first half of a CRLF.
        cut = len(text) if last else max(text.rfind(b"\n"), text.rfind(b"\r", 0, -1)) + 1
        lines = text[:cut].decode()
        end = len(lines) if last else self._last_end(lines)
        return self._by_tokens(lines[:end]).encode(), lines[end:].encode() + text[cut:]

    def _with_blanks_quoted(self, text: bytes) -> bytes:
        """The text with quotes around each field in which blanks come before a quoted part."""
        parts = self._blanks.split(text)
        count = len(parts) // 4
        quote = self._quote.encode()
        new = [b""] * (8 * count + 1)
        for place in range(4):
            new[2 * place :: 8] = parts[place::4]
        new[1::8] = new[7::8] = [quote] * count
        new[3::8] = new[5::8] = [quote * 2] * count
        return b"".join(new)

    def _by_lines(self, block: Block) -> bytes | None:
        """The new form of a block, by its lines outside of quoted fields.

        None where a comment holds a quote, which neither begins nor ends a field.
        """
        frame = lines_only = _with_lf(block.frame)
        if self._comments and self._comments.search(frame):
            frame = self._comments.sub(b"", frame)
            if block.quote and frame.count(block.quote) != len(block.inside):
                return None
        mark, filler = self._separator.encode(), self._filler.encode()
        if (
            self._skips
            or mark + b"\n" in frame
            or frame.endswith(mark)
            or (filler and mark in frame)
        ):
            lines = frame.split(b"\n")
            found = marks(lines, mark)
            if found - {self._width - 1} and (self._skips or max(found) >= self._width):
                return self._mended(block, lines)
        if filler:
            frame = _filled(frame, filler)
        self._line += line_ends(block.text)
        if frame is not lines_only:
            return block.with_frame(frame)
        # Without a CR inside, the parts need not be put together again.
        if block.text.count(b"\r") == block.frame.count(b"\r"):
            return _with_lf(block.text)
        return block.with_frame(frame)

    def _mended(self, block: Block, lines: list[bytes]) -> bytes:
        """The new form of a block in which rows have too few or too many fields."""
        mark, filler, width = self._separator.encode(), self._filler.encode(), self._width
        wrong = [n for n, line in enumerate(lines) if line and line.count(mark) != width - 1]
        new = [line + filler if line else b"" for line in lines] if filler else lines
        inside: list[bytes] = []
        # Lines and quoted parts before the row.
        done = parts = kept = 0
        for n in wrong:
            before = b"\n".join(lines[done:n]).count(block.quote) if block.inside else 0
            self._line += n - done + block.line_ends_inside(parts, parts + before)
            parts, done = parts + before, n
            fields = lines[n].count(mark) + 1
            if self._skips:
                self._note_skipped(fields)
                quoted = lines[n].count(block.quote) if block.inside else 0
                breaks = block.line_ends_inside(parts, parts + quoted)
                inside += block.inside[kept:parts]
                kept = parts = parts + quoted
                self._line += breaks + 1
                done = n + 1
                new[n] = b"\n" * breaks
            elif fields > width and lines[n].endswith(mark):
                new[n] = lines[n] + FILLER.encode() + filler
        self._line += len(lines) - 1 - done + block.line_ends_inside(parts, len(block.inside))
        inside += block.inside[kept:]
        return replace(block, inside=inside).with_frame(b"\n".join(new))

    def _note_skipped(self, found: int) -> None:
        self.skipped += 1
        if len(self.first_skipped) < SKIPPED_SHOWN:
            self.first_skipped.append((self._line, found))

    def _last_end(self, text: str) -> int:
        """Where the last whole record ends."""
        ends = [token.end() for token in self._tokens.finditer(text) if token.lastgroup == "end"]
        return ends[-1] if ends else 0

    def _by_tokens(self, text: str) -> str:
        rows: list[str] = []
        parts: list[str] = []
        begun = copied = 0
        for token in self._tokens.finditer(text):
            parts.append(text[copied : token.start()])
            copied = token.end()
            match token.lastgroup:
                case "end":
                    rows += [self._row(text[begun : token.start()], "".join(parts)), "\n"]
                    self._line += 1
                    begun, parts = copied, []
                case "comment":
                    begun = copied
                case "blank":
                    doubled = token[0].replace(self._quote, self._quote * 2)
                    parts.append(f"{self._quote}{doubled}{self._quote}")
                case _:
                    # A tab behind a quoted field is a fault, a blank is not.
                    parts += [token["field"], "\t" if token["behind"] else ""]
        rows.append(self._row(text[begun:], "".join(parts) + text[copied:]))
        return "".join(rows)

    def _row(self, record: str, rewritten: str) -> str:
        """A record in its new form."""
        first, inside = self._line, line_ends(record.encode())
        self._line += inside
        if not record:
            return ""
        if self._skips and (found := self._fields(record)) not in (0, self._width):
            self._line = first
            self._note_skipped(found)
            self._line += inside
            return "\n" * inside
        more = record.endswith(self._separator) and self._fields(record) > self._width
        return rewritten + FILLER * more + self._filler

    def _fields(self, record: str) -> int:
        """The number of fields, or 0 where quotes are wrong."""
        if not self._quote or self._quote not in record:
            return record.count(self._separator) + 1
        try:
            (found,) = records([record], 1, self._separator, self._quote)
        except (JobError, ValueError):
            return 0
        return len(found.fields)


def is_misread(
    path: Path, separator: str, quote: str, width: int, check: Callable[[], None]
) -> bool:
    """Whether DuckDB might forgive a fault or change a value, in lines that end in LF."""
    mark, around = separator.encode(), quote.encode()
    # Blanks between a quote and the begin or the end of its field.
    before = re.compile(rb"(?<![^%b\n]) +%b" % (re.escape(mark), around))
    behind = re.compile(rb"%b +(?=[%b\n]|\Z)" % (around, re.escape(mark)))
    rest = b""
    with path.open("rb") as file:
        while True:
            check()
            block = file.read(BLOCK)
            rest += block
            cut = rest.rfind(b"\n") + 1 if block else len(rest)
            lines, rest = rest[:cut], rest[cut:]
            quotes = quote and around in lines
            if (
                quotes
                and (b" " + around in lines or around + b" " in lines)
                and (before.search(lines) or behind.search(lines))
            ):
                return True
            if mark + b"\n" in lines or lines.endswith(mark):
                split = lines.split(b"\n")
                if max(marks(split, mark)) >= width and any(
                    line.endswith(mark) and line.count(mark) >= width for line in split
                ):
                    return True
            if not block:
                return False


def bad_quote(line: int) -> JobError:
    return JobError(
        "csv-quote",
        f"Line {line:,} holds a quote that is never closed, or text after a quoted field: enclose "
        "fields that hold a quote in quotes and double each quote inside, or set csv.quote.",
    )


def too_long(line: int) -> JobError:
    return JobError(
        "csv-ragged",
        f"The record in line {line:,} has more than {MAX_RECORD:,} bytes: check csv.separator and "
        "csv.quote, and whether the file is CSV.",
    )


def _with_lf(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in text else text


def _filled(lines: bytes, filler: bytes) -> bytes:
    """Lines with a filler at the end of each that is not blank."""
    if b"\n\n" in lines or lines.startswith(b"\n"):
        return b"\n".join([line + filler if line else b"" for line in lines.split(b"\n")])
    unended = lines and not lines.endswith(b"\n")
    return lines.replace(b"\n", filler + b"\n") + (filler if unended else b"")


def _without_lines(text: bytes, count: int) -> bytes:
    """The text behind its first lines."""
    if count == 0:
        return text
    found = next(islice(LINE_END.finditer(text), count - 1, None), None)
    return text[found.end() :] if found else b""


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def ragged(line: int, found: int, width: int, separator: str) -> JobError:
    return JobError(
        "csv-ragged",
        f"Line {line:,} has {counted(found, 'field')}, but the file has "
        f"{counted(width, 'column')}: quote fields that hold the separator {separator!r}, or check "
        "csv.separator.",
    )
