"""Lines and records of CSV text."""

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from app.jobs import JobError

# Characters that are rewritten at once.
BLOCK = 1 << 20
# Bytes of a record; DuckDB keeps 16 of them in memory.
MAX_RECORD = 2_000_000
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


class Rewriter:
    """Writes a text with LF at the ends of lines, and comments as blank lines."""

    def __init__(
        self, separator: str, quote: str, comment: str | None, *, one_column: bool
    ) -> None:
        self._plain = not comment and not one_column
        self._quote = quote
        self._end = f"{separator}{FILLER}\n" if one_column else "\n"
        mark = re.escape(separator)
        # What is not copied as it stands, and quoted fields, inside of which nothing is.
        patterns = [r"(?P<end>\r\n|\r|\n)"]
        if comment:
            patterns.insert(0, rf"(?P<comment>(?<![^\r\n]){re.escape(comment)}[^\r\n]*)")
        if quote:
            patterns.insert(
                0,
                rf"(?P<field>(?<![^{mark}\r\n]){quote}[^{quote}]*(?:{quote}{quote}[^{quote}]*)*"
                rf"(?:{quote}|\Z))",
            )
        self._tokens = re.compile("|".join(patterns))

    def write(self, source: Path, target: Path, blank: int) -> None:
        """Rewrite a file, the first `blank` lines as blank ones.

        Raises `JobError` (`csv-ragged`) for a record that is too long.
        """
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
                cut = self._last_end(rest) if block else len(rest)
                copy.write(self._rewritten(rest[:cut], last=not block))
                line += line_ends(rest[:cut])
                rest = rest[cut:]
                if not block:
                    return
                if len(rest) > MAX_RECORD:
                    raise too_long(line)

    def _simple(self, text: str) -> bool:
        return self._plain and not (self._quote and self._quote in text)

    def _last_end(self, text: str) -> int:
        """Where the last whole line ends."""
        # A CR at the very end may be the first half of a CRLF.
        if self._simple(text):
            return max(text.rfind("\n"), text.rfind("\r", 0, len(text) - 1)) + 1
        last = 0
        for token in self._tokens.finditer(text):
            if token.lastgroup == "end" and (token[0] != "\r" or token.end() < len(text)):
                last = token.end()
        return last

    def _rewritten(self, text: str, *, last: bool) -> str:
        if self._simple(text):
            return text.replace("\r\n", "\n").replace("\r", "\n")
        begun = 0
        blank = True

        def rewritten(token: re.Match[str]) -> str:
            nonlocal begun, blank
            blank = blank and begun == token.start()
            begun = token.end()
            match token.lastgroup:
                case "comment":
                    return ""
                case "end":
                    end, blank = "\n" if blank else self._end, True
                    return end
            blank = False
            return token[0]

        done = self._tokens.sub(rewritten, text)
        return done + self._end if last and not (blank and begun == len(text)) else done


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
