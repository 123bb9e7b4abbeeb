"""Stored bytes as a response: ranges, validators and a name, straight from the store (RFC 9110)."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import obstore
import structlog
from fastapi import Header
from fastapi.responses import Response, StreamingResponse
from obstore.store import ObjectStore
from pydantic import BaseModel

from app.api.conditional import EntityTags, Lines
from app.core.errors import Gone, PreconditionFailed, RangeNotSatisfiable, Unavailable
from app.core.storage import STORE_ERRORS
from app.services.content_type import INLINE, served
from app.services.files import StoredFile

if TYPE_CHECKING:
    from obstore import GetOptions

log = structlog.get_logger(__name__)

# Of one write to the client: enough to keep the loop out of the way of the bytes.
CHUNK = 256 * 1024

ONE_RANGE = re.compile(r"bytes=\s*(\d{0,19})-(\d{0,19})\s*", re.IGNORECASE)


class ContentHeaders(BaseModel):
    """What a client may ask of a file's content."""

    range: Annotated[str | None, Header(description="One range: `bytes=0-1023`.")] = None
    if_range: str | None = None
    if_match: Annotated[
        Lines | None, Header(description="Only while its ETag is one of these: `412` otherwise.")
    ] = None
    if_none_match: Lines | None = None


def requested_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The first byte and the one behind the last; None for the whole file.

    What is no single range of bytes is ignored, as section 14.2 lets a server do.
    Raises `RangeNotSatisfiable`.
    """
    match = None if header is None else ONE_RANGE.fullmatch(header)
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), size if not last else min(int(last) + 1, size)
        if last and int(last) < start:
            return None
    if start >= end:
        raise RangeNotSatisfiable(size)
    return start, end


def _disposition(name: str, media_type: str) -> str:
    """RFC 6266: what every client understands, and the name as it is for those that can."""
    kind = "inline" if media_type in INLINE else "attachment"
    plain = "".join(
        character if " " <= character <= "~" and character not in '"\\%' else "_"
        for character in name
    )
    exact = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'{kind}; filename="{plain}"{exact}'


async def content(
    store: ObjectStore, stored: StoredFile, asked: ContentHeaders, *, head: bool = False
) -> Response:
    """Answer with a file's content, or with the range of it that the client asks for.

    Raises `PreconditionFailed`, `RangeNotSatisfiable`, `Unavailable`, and `Gone` if the store has
    lost the bytes. If-Unmodified-Since is ignored, as section 13.1.4 asks: files have no
    modification date.
    """
    file = stored.file
    etag = f'"{file.sha256}"'
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Disposition": _disposition(file.name, served(file.content_type)),
        # A browser that opens the file runs no script in it and denies it our origin.
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "ETag": etag,
        "X-Content-Type-Options": "nosniff",
    }
    if asked.if_match is not None and not EntityTags.parse(*asked.if_match).strongly_match(etag):
        raise PreconditionFailed(f"the content's ETag is {etag}")
    if asked.if_none_match and EntityTags.parse(*asked.if_none_match).weakly_match(etag):
        return Response(status_code=304, headers=headers)
    # If-Range: the rest of the very same file, or all of the new one.
    # Range is defined for GET alone (section 14.2).
    fits = asked.if_range in (None, etag) and not head
    part = requested_range(asked.range, file.size) if fits else None
    start, end = part or (0, file.size)
    headers["Content-Length"] = str(end - start)
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
    return await _respond(store, stored, start, end, headers, partial=part is not None, head=head)


async def _respond(
    store: ObjectStore,
    stored: StoredFile,
    start: int,
    end: int,
    headers: Mapping[str, str],
    *,
    partial: bool,
    head: bool,
) -> Response:
    """Opens the object before the response begins: a lost one is an error, not a stub."""
    status = 206 if partial else 200
    media_type = served(stored.file.content_type)
    try:
        options: GetOptions = {"head": head}
        if partial:
            options["range"] = (start, end)
        found = await obstore.get_async(store, stored.key, options=options)
    except FileNotFoundError as error:
        log.error("object lost", key=stored.key)
        raise Gone("its content is lost") from error
    except STORE_ERRORS as error:
        log.error("object not read", key=stored.key, error=str(error))
        raise Unavailable("the file store is away: try again in a moment") from error
    if found.meta["size"] != stored.file.size:
        log.error("object is not what was stored", key=stored.key, size=found.meta["size"])
        raise Gone("its content is lost")
    if head:
        return Response(None, status, headers, media_type)
    return StreamingResponse(found.stream(min_chunk_size=CHUNK), status, headers, media_type)
