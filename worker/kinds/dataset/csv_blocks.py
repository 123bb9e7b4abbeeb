"""Splits blocks of CSV text at their quotes.

The methods of `bytes` do it at the speed of C; a loop over tokens takes up to 100 s per 100 MB.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

# Bytes that are read at once.
BLOCK = 1 << 18
# Bytes of a record; DuckDB keeps 16 of them in memory.
MAX_RECORD = 2_000_000


@dataclass(frozen=True, slots=True)
class Block:
    """Whole records, in which each quote begins or ends a field or is doubled in a quoted one.

    So every other part between quotes is inside a field. `frame` has the parts outside, and one
    quote in place of each part inside: its lines are the records, its separators split fields.
    """

    text: bytes
    frame: bytes
    inside: list[bytes]
    quote: bytes

    def with_frame(self, frame: bytes) -> bytes:
        """The block's text with another frame of as many quoted parts."""
        if not self.inside:
            return frame
        parts = [b""] * (2 * len(self.inside) + 1)
        parts[0::2] = frame.split(self.quote)
        parts[1::2] = self.inside
        return self.quote.join(parts)

    def line_ends_inside(self, begin: int, end: int) -> int:
        return line_ends(self.quote.join(self.inside[begin:end])) if begin < end else 0


def line_ends(text: bytes) -> int:
    found = text.count(b"\n")
    return found + text.count(b"\r") - text.count(b"\r\n") if b"\r" in text else found


def take(text: bytes, separator: bytes, quote: bytes, *, last: bool) -> Block | None:
    """The whole records at the beginning of a text, which is the end of the file if `last`.

    None if a quote in them is out of place.
    """
    parts = text.split(quote) if quote else [text]
    place = len(parts) - 1
    # A field may be open at the end of the text.
    if place % 2:
        if last:
            return None
        place -= 1
    if not last:
        cut = 0
        while place >= 0 and not cut:
            part = parts[place]
            # A CR at the very end may be the first half of a CRLF.
            end = len(part) - (place == len(parts) - 1)
            cut = max(part.rfind(b"\n"), part.rfind(b"\r", 0, end)) + 1
            place -= 2
        place += 2
        parts = [*parts[:place], parts[place][:cut]]
    inside = parts[1::2]
    frame = quote.join(parts[0::2])
    size = len(frame) + len(quote) * len(inside) + sum(map(len, inside))
    if inside and not _in_place(frame, separator, quote):
        return None
    return Block(text[:size], frame, inside, quote)


def _in_place(frame: bytes, separator: bytes, quote: bytes) -> bool:
    """Whether all quoted parts are whole fields."""
    while quote * 2 in frame:
        # Doubled quotes stand between parts of one field.
        frame = frame.replace(quote * 2, quote)
    marks = (separator, b"\n", b"\r")
    behind = sum(frame.count(mark + quote) for mark in marks) + frame.startswith(quote)
    before = sum(frame.count(quote + mark) for mark in marks) + frame.endswith(quote)
    return behind == before == frame.count(quote)


def read(path: Path, start: int, separator: bytes, quote: bytes) -> Iterator[Block]:
    """The blocks of a file from a byte on, until a quote is out of place or a record too long."""
    with path.open("rb") as file:
        file.seek(start)
        rest = b""
        while True:
            more = file.read(BLOCK)
            rest += more
            block = take(rest, separator, quote, last=not more)
            if block is None:
                return
            yield block
            rest = rest[len(block.text) :]
            if not more or len(rest) > MAX_RECORD:
                return


def marks(lines: list[bytes], separator: bytes) -> set[int]:
    """The numbers of separators in lines that are not blank."""
    return set(map(bytes.count, filter(None, lines), repeat(separator)))
