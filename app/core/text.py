"""What text can be stored."""

import re

# PostgreSQL's text has no NUL, and UTF-8 no surrogates.
UNSTORABLE = re.compile("[\\x00\\ud800-\\udfff]")


# Python decodes bytes that are not UTF-8 in arguments, variables and standard input to these
# (PEP 383).
SURROGATES = re.compile("[\\ud800-\\udfff]")


def is_unicode(text: str) -> bool:
    """Whether the text can be encoded as UTF-8."""
    return SURROGATES.search(text) is None


def storable(text: str) -> str:
    """The text without what can't be stored: for what is worth more with a gap than not at all."""
    return UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def text_of(value: object, limit: int) -> str:
    """The text of a value, storable and cut at `limit` characters. Raises nothing."""
    try:
        # A subclass of str may override methods; this makes a plain str.
        text = str.__str__(value if isinstance(value, str) else str(value))
    except BaseException as error:  # a foreign __str__ may raise anything
        return f"<a text that raises {type(error).__name__}>"[:limit]
    return storable(text[:limit])
