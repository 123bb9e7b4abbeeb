"""What text can be stored."""

import re

# PostgreSQL's text has no NUL, and UTF-8 no surrogates.
UNSTORABLE = re.compile("[\\x00\\ud800-\\udfff]")


def storable(text: str) -> str:
    """The text without what can't be stored: for what is worth more with a gap than not at all."""
    return UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)
