"""Lines and records of CSV text."""

import codecs
import csv
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from app.jobs import JobError

# Characters that are rewritten at once.
BLOCK = 1 << 20
# Bytes of a record; DuckDB keeps 16 of them in memory.
MAX_RECORD = 2_000_000
# Skipped rows that are reported one by one.
SKIPPED_SHOWN = 10
# The second field of a row of one column: DuckDB forgives an empty one behind the last.
FILLER = "."

# A field may be as long as its record; csv's own bound is 128 KiB.
csv.field_size_limit(2**31 - 1)


class Record(NamedTuple):
    first_line: int
    last_line: int
    fields: list[str]


def line_ends(text: str) -> int:
    return text.count("\n") + text.count("\r") - text.count("\r\n")


def records(
    lines: Iterable[str], first: int, separator: str, quote: str, comment: str | None = None
) -> Iterator[Record]:
    """Records, each with its lines; blank lines and comments between them are left out.

    Raises `JobError` (`csv-quote`).
    """
    line, begun, upcoming, between = first, first, first, True

    def wanted() -> Iterator[str]:
        nonlocal line, begun, upcoming, between
        for text in lines:
            # A quoted field may hold a CR alone, which ends a line, too.
            line, upcoming = upcoming, upcoming + max(1, line_ends(text))
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
        yield Record(begun, upcoming - 1, fields)
        between = True


class Rewriter:
    """Rewrites a text so that DuckDB reads what it holds.

    Lines end in LF, comments are blank lines. Where DuckDB forgives a fault or changes a value, it
    gets a fault that it reports, or the value between quotes: a separator too many at the end of a
    row, blanks before and behind a quoted field. With `skips`, rows of another width become blank
    lines: they are counted in `skipped`, with the line and the number of fields of the first.
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
        mark = re.escape(separator)
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
        decoder = codecs.getincrementaldecoder("utf-8-sig")()
        # A large block at once: text files decode 8 KiB at a time.
        with source.open("rb") as file, target.open("wb") as copy:
            rest, self._line = _without_lines(decoder.decode(file.read(BLOCK)), blank), blank + 1
            copy.write(b"\n" * blank)
            while True:
                check()
                block = file.read(BLOCK)
                rest += decoder.decode(block, final=not block)
                done, rest = self._rewritten(rest, last=not block)
                copy.write(done.encode())
                if not block:
                    return
                if len(rest) > MAX_RECORD:
                    raise too_long(self._line)

    def _rewritten(self, text: str, *, last: bool) -> tuple[str, str]:
        """The whole lines of a text in their new form, and the rest of it."""
        # A CR at the very end may be the first half of a CRLF.
        cut = len(text) if last else max(text.rfind("\n"), text.rfind("\r", 0, -1)) + 1
        if (lines := self._one_line_records(text[:cut])) is not None:
            return self._joined(lines), text[cut:]
        if not last:
            cut = self._last_end(text)
        return self._by_tokens(text[:cut]), text[cut:]

    def _last_end(self, text: str) -> int:
        """Where the last whole record ends."""
        last = 0
        for token in self._tokens.finditer(text):
            if token.lastgroup == "end" and (token[0] != "\r" or token.end() < len(text)):
                last = token.end()
        return last

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

    def _one_line_records(self, text: str) -> list[str] | None:
        """The lines of a text in which every record is a line, and its fields stay as they are.

        The usual text is; it takes a twentieth of the time that the tokens take.
        """
        quote = self._quote
        if quote and (f" {quote}" in text or f"{quote} " in text):
            return None
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        # A field that goes on in the next line leaves an odd number of quotes in this one.
        if quote and quote in text and any(line.count(quote) % 2 for line in lines):
            return None
        comment = self._comment
        return ["" if line.startswith(comment) else line for line in lines] if comment else lines

    def _joined(self, lines: list[str]) -> str:
        begun, marks, quote = self._line, self._width - 1, self._quote
        if not (self._skips or self._filler or any(line[-1:] == self._separator for line in lines)):
            self._line += len(lines) - 1
            return "\n".join(lines)
        rows: list[str] = []
        for number, line in enumerate(lines):
            if line.count(self._separator) == marks and line and not (quote and quote in line):
                rows.append(line + self._filler)
            else:
                self._line = begun + number
                rows.append(self._row(line, line))
        self._line = begun + len(lines) - 1
        return "\n".join(rows)

    def _row(self, record: str, rewritten: str) -> str:
        """A record in its new form."""
        first, inside = self._line, line_ends(record)
        self._line += inside
        if not record:
            return ""
        if self._skips and (found := self._fields(record)) not in (0, self._width):
            self.skipped += 1
            if len(self.first_skipped) < SKIPPED_SHOWN:
                self.first_skipped.append((first, found))
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
    rest = b""
    with path.open("rb") as file:
        while True:
            check()
            block = file.read(BLOCK)
            rest += block
            cut = rest.rfind(b"\n") + 1 if block else len(rest)
            lines, rest = rest[:cut], rest[cut:]
            quotes = quote and around in lines
            if quotes and (b" " + around in lines or around + b" " in lines):
                return True
            if (mark + b"\n" in lines or lines.endswith(mark)) and any(
                line.endswith(mark) and line.count(mark) >= width for line in lines.split(b"\n")
            ):
                return True
            if not block:
                return False


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


def _without_lines(text: str, count: int) -> str:
    """The text behind its first lines."""
    for _ in range(count):
        found = re.search("\r\n|\r|\n", text)
        text = text[found.end() :] if found else ""
    return text


def ragged(line: int, found: int, width: int, separator: str) -> JobError:
    return JobError(
        "csv-ragged",
        f"Line {line:,} has {found} fields where {width} are expected, as many as columns: quote "
        f"fields that hold the separator {separator!r}, or check csv.separator.",
    )
