"""Names a file's content type by its first bytes."""

import codecs
from pathlib import PurePath

import puremagic

UNKNOWN = "application/octet-stream"

# Signatures that puremagic lacks or answers with a handful of equals.
SIGNATURES = (
    (b"PAR1", "application/vnd.apache.parquet"),
    (b"PK\x03\x04", "application/zip"),
    (b"%PDF-", "application/pdf"),
)

# Text has no signature: the name says which. HTML and SVG stay plain, so that nothing of ours is
# ever offered to a browser as a page.
TEXTS = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".md": "text/markdown",
    ".tsv": "text/tab-separated-values",
}

# Of puremagic's matches: below, two bytes were all that fit.
MIN_CONFIDENCE = 0.3


# A look at more takes the event loop's time, a character at a time.
HEAD = 4096


def sniff(content: bytes, name: str) -> str:
    head = content[:HEAD]
    for signature, content_type in SIGNATURES:
        if head.startswith(signature):
            return content_type
    if _is_text(head):
        return TEXTS.get(PurePath(name).suffix.lower(), "text/plain")
    try:
        matches = puremagic.magic_string(head)
    except puremagic.PureError:
        return UNKNOWN
    # Before 2.0 it raises where nothing matches, from then on it answers with nothing.
    if not matches:
        return UNKNOWN
    best = {match.mime_type for match in matches if match.confidence == matches[0].confidence}
    if matches[0].confidence < MIN_CONFIDENCE or len(best) > 1:
        return UNKNOWN
    return best.pop() or UNKNOWN


def _is_text(head: bytes) -> bool:
    """UTF-8 without control characters; the head may end inside a character."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return all(character >= " " or character in "\t\n\r\f" for character in text)
