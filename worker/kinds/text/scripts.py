"""Rejects readings of lines whose script the models do not know.

The recogniser has no way to say that it doesn't know a letter. Measured on pages in DejaVu Sans
and Serif: the ink that is far from every recognised character (`Read.unread`) is 0.58 to 1.00 of a
line of Russian, Ukrainian, Arabic, Hebrew, Georgian or Armenian and 0.00 of lines in all the
languages of `LANGUAGES`. The words of such a line that are short are read as look-alikes, at 0.71
to 0.90. Greek letters are in the model for formulas: a line of Greek is read with half of its
letters, at 0.82 to 0.94. Of Vietnamese the model knows the letters with one mark only.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from worker.kinds.text.recognise import Read

UNREAD = 0.25
# Share of a page's lines, by length, from which on the page is in an unknown script.
MOST = 0.5
# Least confidence of a line on such a page; others are look-alikes of short words.
SURE = 0.95
# A line is Greek, not a formula, with this share and number of Greek letters in words.
GREEK, MIN_GREEK = 0.4, 5
MIN_WORD = 3  # letters
VIETNAMESE = frozenset("ơưƠƯ")  # in no other language
VIETNAMESE_MARKS = VIETNAMESE | frozenset("đĐ")
VIETNAMESE_SHARE = 0.01
MIN_VIETNAMESE = 3
# In pixels: of English in lines of 9 pixels a third of the words was right, of 10 nearly all.
MIN_HEIGHT = 10


@lru_cache(maxsize=4096)
def script(character: str) -> str:
    """The first word of a letter's Unicode name, such as LATIN, GREEK or CJK; "" for others."""
    if not character.isalpha():
        return ""
    return unicodedata.name(character, "").partition(" ")[0]


# Names in Unicode of the scripts that the models read.
KNOWN = frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA", "FULLWIDTH", "HALFWIDTH"})


def readable(text: str) -> bool:
    """Whether the models know the script of most of the letters."""
    scripts = [script(character) for character in text]
    letters = [name for name in scripts if name]
    return sum(name in KNOWN for name in letters) * 2 >= len(letters)


@dataclass(frozen=True, slots=True)
class Sized:
    """A reading, the length of its line in any unit, and the line's height in pixels as read."""

    read: Read
    length: float
    height: float


def unreadable(lines: Sequence[Sized]) -> tuple[list[bool], bool]:
    """Whether each line of a page is not text, and whether the page is in an unknown script."""
    marked = [_is_unreadable(line.read) for line in lines]
    total = sum(line.length for line in lines)
    lost = [line for line, bad in zip(lines, marked, strict=True) if bad]
    letters = [character for line in lines for character in line.read.text if character.isalpha()]
    vietnamese = sum(character in VIETNAMESE for character in letters)
    if vietnamese >= max(MIN_VIETNAMESE, VIETNAMESE_SHARE * len(letters)):
        marked = [
            bad or line.read.confidence < SURE or not VIETNAMESE_MARKS.isdisjoint(line.read.text)
            for line, bad in zip(lines, marked, strict=True)
        ]
        return marked, True
    if total and sum(line.length for line in lost) >= MOST * total:
        marked = [
            bad or line.read.confidence < SURE for line, bad in zip(lines, marked, strict=True)
        ]
        return marked, sum(line.length for line in lost if is_legible(line.height)) >= MOST * total
    return marked, False


def is_legible(height: float) -> bool:
    """Whether a line is high enough to be read, if its script is known."""
    return height >= MIN_HEIGHT


def _is_unreadable(read: Read) -> bool:
    if read.unread >= UNREAD:
        return True
    scripts = [script(character) for character in read.text]
    letters = sum(name != "" for name in scripts)
    words = [list(run) for is_word, run in groupby(scripts, key=bool) if is_word]
    # In a formula, single letters stand for quantities.
    greek = sum(word.count("GREEK") for word in words if len(word) >= MIN_WORD)
    return greek >= MIN_GREEK and greek >= GREEK * letters
