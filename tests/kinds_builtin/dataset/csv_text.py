"""A reader of CSV text, character by character: the oracle's view of a file."""

import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass

BREAK = re.compile(r"\r\n|\n|\r")
SEPARATORS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class Fault:
    """An error that is a right answer; `lines` are those of the record that holds it."""

    code: str
    column: str | None = None
    lines: range | None = None


class Refused(Exception):
    """The right answer is an error: any one of `faults`."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(faults)
        self.faults = faults


class Undetermined(Exception):
    """The documentation allows several answers."""


@dataclass(frozen=True)
class Record:
    lines: range
    fields: list[tuple[str, bool]]
    """Text, and whether it was quoted."""


def decoded(content: bytes, encoding: str) -> str:
    while content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    python = {"utf-8": "utf-8-sig"}.get(encoding, encoding)
    try:
        return content.decode(python)
    except UnicodeDecodeError as error:
        line = 1 + len(BREAK.findall(content[: error.start].decode("latin-1")))
        raise Refused(Fault("csv-encoding", lines=range(line, line + 1))) from error


def records(
    text: str, separator: str, quote: str = '"', comment: str | None = None, skip_rows: int = 0
) -> Iterator[Record]:
    """The header and the rows. Raises `Refused` at a quote out of place."""
    mark = re.escape(quote)
    quoted = re.compile(f"{mark}([^{mark}]*(?:{mark}{mark}[^{mark}]*)*){mark}(?!{mark})")
    plain = re.compile(rf"[^{re.escape(separator)}\r\n]*")
    at, line = 0, 1

    def end_of_line() -> int:
        found = BREAK.search(text, at)
        return found.end() if found else len(text)

    while at < len(text):
        if line <= skip_rows or (comment and text.startswith(comment, at)):
            at, line = end_of_line(), line + 1
            continue
        if blank := BREAK.match(text, at):
            at, line = blank.end(), line + 1
            continue
        first, fields = line, []
        while True:
            if quote != "none" and text.startswith(quote, at):
                found = quoted.match(text, at)
                if not found:
                    last = first + len(BREAK.findall(text, at))
                    raise Refused(Fault("csv-quote", lines=range(first, last + 1)))
                fields.append((found[1].replace(quote * 2, quote), True))
                line += len(BREAK.findall(found[1]))
            else:
                found = plain.match(text, at)
                assert found
                fields.append((found[0], False))
            at = found.end()
            if text.startswith(separator, at):
                at += 1
                continue
            if at < len(text) and not BREAK.match(text, at):
                raise Refused(Fault("csv-quote", lines=range(first, line + 1)))
            break
        yield Record(range(first, line + 1), fields)
        at, line = end_of_line(), line + 1


def sniffed(text: str, quote: str, comment: str | None, skip_rows: int) -> str:
    """The separator that splits all records alike into most fields."""
    widths = {}
    for separator in SEPARATORS:
        try:
            found = {len(r.fields) for r in records(text, separator, quote, comment, skip_rows)}
        except Refused:
            continue
        if len(found) == 1:
            widths[separator] = found.pop()
        elif found:
            widths[separator] = 0
    most = max(widths.values(), default=1)
    if most <= 1:
        if 0 in widths.values():
            raise Undetermined
        return ","
    best = [separator for separator in widths if widths[separator] == most]
    if len(best) > 1 or 0 in widths.values():
        raise Undetermined
    return best[0]
