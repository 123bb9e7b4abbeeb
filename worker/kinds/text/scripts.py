"""Which readings are no text: scripts that the models do not know.

The recogniser has no way to say that it doesn't know a letter. Measured on pages in DejaVu Sans
and Serif: the ink that is far from every recognised character (`Read.unread`) is 0.58 to 1.00 of a
line of Russian, Ukrainian, Arabic, Hebrew, Georgian or Armenian and 0.00 of lines in all the
languages of `LANGUAGES`. The words of such a line that are short are read as look-alikes, at 0.71
to 0.90. Greek letters are in the model for formulas: a line of Greek is read with half of its
letters, at 0.82 to 0.94. Of Vietnamese the model knows the letters with one mark only.
"""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from worker.kinds.text.recognise import Read

UNREAD = 0.25
# Of a page's lines, by length: from here on the page is in an unknown script.
MOST = 0.5
# On such a page, lines below it are left out too: look-alikes of short words.
SURE = 0.95
GREEK = 0.4  # share of Greek letters, from which a line is Greek and no formula
MIN_GREEK = 4
VIETNAMESE = frozenset("ơưƠƯ")  # in no other language
VIETNAMESE_MARKS = VIETNAMESE | frozenset("đĐ")
VIETNAMESE_SHARE = 0.01
MIN_VIETNAMESE = 3


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


def unreadable(lines: Sequence[tuple[Read, float]]) -> tuple[list[bool], bool]:
    """Which lines of a page, given with their lengths, are no text, and whether most are not."""
    marked = [_is_unreadable(read) for read, _ in lines]
    total = sum(length for _, length in lines)
    lost = sum(length for (_, length), bad in zip(lines, marked, strict=True) if bad)
    letters = [character for read, _ in lines for character in read.text if character.isalpha()]
    vietnamese = sum(character in VIETNAMESE for character in letters)
    if vietnamese >= max(MIN_VIETNAMESE, VIETNAMESE_SHARE * len(letters)):
        marked = [
            bad or read.confidence < SURE or not VIETNAMESE_MARKS.isdisjoint(read.text)
            for (read, _), bad in zip(lines, marked, strict=True)
        ]
        return marked, True
    if total and lost >= MOST * total:
        marked = [
            bad or read.confidence < SURE for (read, _), bad in zip(lines, marked, strict=True)
        ]
        return marked, True
    return marked, False


def _is_unreadable(read: Read) -> bool:
    if read.unread >= UNREAD:
        return True
    scripts = [script(character) for character in read.text]
    letters = sum(name != "" for name in scripts)
    greek = scripts.count("GREEK")
    return greek >= MIN_GREEK and greek >= GREEK * letters
