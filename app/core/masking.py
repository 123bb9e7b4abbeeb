"""Secrets out of what is shown."""

import re
from collections.abc import Iterator
from urllib.parse import unquote

MASK = "***"

# In the text as it was written: a password's own / ? # and @ may not be quoted, and a parser would
# take it apart there (SQLAlchemy's shows what stands behind an @). Rather too much than too little.
PASSWORD = re.compile(r"://[^:]*:(.*)@", re.DOTALL)

# A value may look like another parameter: every ? and & begins one.
PARAMETER = re.compile(r"(?=[?&#]([^=&?#]*)=([^&]*))")

# What libpq, redis and object stores call their secrets in a URL's query.
SECRET = re.compile(r"pass|pwd|secret|token|key|credential|sig|sas", re.IGNORECASE)


def _secrets(text: str) -> Iterator[tuple[int, int]]:
    if (password := PASSWORD.search(text)) is not None:
        yield password.span(1)
    for parameter in PARAMETER.finditer(text):
        if SECRET.search(unquote(parameter[1])):
            yield parameter.span(2)


def masked(text: str) -> str:
    """A URL, or a line that holds one, without its secrets: host and user still show."""
    shown, end = "", 0
    for start, stop in sorted(_secrets(text)):
        if start >= end:
            shown += text[end:start] + MASK
        end = max(end, stop)
    return shown + text[end:]
