"""Secrets out of what is shown."""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from urllib.parse import unquote

from pydantic import ValidationError
from pydantic_core import ErrorDetails

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


# What no log is for, wherever it comes from: an API key but for its prefix, which may be shown, a
# refresh token, an access token or one of a mail's link, a password's hash, and a row that
# PostgreSQL refused, which it quotes in its error's detail.
UNLOGGABLE = re.compile(
    r"(?P<shown>hl_[0-9a-f]{12}_|hlr_)[\w-]{16,}"
    r"|eyJ[\w-]{8,}\.[\w-]+\.[\w-]+"
    r"|\$argon2\w+\$[\w$=,+/.-]+"
    # To the end of its line, which JSON and repr() write as two characters.
    r"|(?P<row>Failing row contains )\(.*?\)\.(?=\s|\\n|[\"']|$)",
    re.DOTALL,
)


def loggable(line: str) -> str:
    """Without the secrets that can be told by their looks: people put them in addresses, too."""
    # What all of it has, one or the other: to look for these takes a hundredth of the expression's
    # time.
    if not (
        "hl_" in line
        or "hlr_" in line
        or "eyJ" in line
        or "$argon2" in line
        or "Failing row" in line
    ):
        return line
    return UNLOGGABLE.sub(_mask, line)


def _mask(found: re.Match[str]) -> str:
    if found[0] in _shown.get():
        return found[0]
    return f"{found['shown'] or found['row'] or ''}{MASK}"


# Secrets that the current line is meant to show.
_shown: ContextVar[Collection[str]] = ContextVar("shown", default=())


@contextmanager
def showing(secrets: Collection[str]) -> Iterator[None]:
    """Let lines that are written meanwhile show these secrets, and no others."""
    token = _shown.set(secrets)
    try:
        yield
    finally:
        _shown.reset(token)


def _fault(error: ErrorDetails) -> Iterator[str]:
    # The error of text that is not JSON at all has no location.
    if error["loc"]:
        yield ".".join(map(str, error["loc"]))
    yield error["msg"]


# Faults that one line names: a list can have half a million of them.
MAX_FAULTS = 20


def faults(error: ValidationError) -> str:
    """What is wrong where, without the values: those are people's."""
    every = error.errors(include_url=False, include_context=False, include_input=False)
    named = [": ".join(_fault(each)) for each in every[:MAX_FAULTS]]
    if len(every) > MAX_FAULTS:
        named.append(f"and {len(every) - MAX_FAULTS} more")
    return "; ".join(named)
