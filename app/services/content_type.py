"""Detects a file's content type by its first bytes, and limits the types sent to browsers."""

import codecs
import re
from pathlib import PurePath

import puremagic

UNKNOWN = "application/octet-stream"

# Signatures that puremagic lacks or answers with a handful of equals.
SIGNATURES = (
    (b"PAR1", "application/vnd.apache.parquet"),
    (b"PK\x03\x04", "application/zip"),
    (b"%PDF-", "application/pdf"),
)

# Text has no signature: the extension decides. HTML and SVG stay text/plain, so that no file is
# ever offered to a browser as a page.
TEXTS = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".md": "text/markdown",
    ".tsv": "text/tab-separated-values",
}

# Images of nothing but pixels: a browser may show them inline.
INLINE = frozenset(
    {"image/avif", "image/bmp", "image/gif", "image/jpeg", "image/png", "image/webp"}
)

# Types in which a browser runs nothing: not HTML, SVG, XML or future types. A PDF, which may have
# scripts, is never shown inline.
PASSIVE = INLINE | {
    "application/gzip",
    "application/json",
    "application/pdf",
    "application/vnd.apache.parquet",
    "application/x-7z-compressed",
    "application/x-bzip2",
    "application/x-tar",
    "application/x-xz",
    "application/zip",
    "application/zstd",
    "audio/flac",
    "audio/mpeg",
    "audio/ogg",
    "audio/wav",
    "audio/x-wav",
    "image/heic",
    "image/heif",
    "image/jxl",
    "image/tiff",
    "text/csv",
    "text/markdown",
    "text/plain",
    "text/tab-separated-values",
    "video/mp4",
    "video/quicktime",
    "video/webm",
}

# Vendors' formats, which browsers pass to other programs; not those built on XML, which browsers
# may show.
VENDORS = re.compile(r"application/vnd\.[a-z0-9.-]+(?:\+(?:json|zip))?")

# A media type with an optional charset.
MEDIA_TYPE = re.compile(r"([a-z]+/[a-z0-9.+-]+)(?:; ?charset=[a-z0-9-]+)?", re.IGNORECASE)

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
    return served(best.pop())


def served(content_type: str) -> str:
    """The type to serve a file with: its own if that is passive, else one of unknown bytes.

    Rows of older releases and outputs of job kinds may have any type.
    """
    match = MEDIA_TYPE.fullmatch(content_type)
    essence = "" if match is None else match[1].lower()
    return content_type if essence in PASSIVE or VENDORS.fullmatch(essence) else UNKNOWN


def _is_text(head: bytes) -> bool:
    """UTF-8 without control characters; the head may end inside a character."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return all(character >= " " or character in "\t\n\r\f" for character in text)
