"""Content types of bodies: an operation that reads JSON refuses a form, and the other way round.

A body that is parsed as the wrong type has no fields: the client would be told that all of them are
missing, and not why.
"""

from fastapi import Request
from fastapi.params import Form

from app.core.errors import UnsupportedMediaType

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
BYTES = "application/octet-stream"


def require_media_type(request: Request, reads: object) -> None:
    """Refuse a body that the operation can't read; `reads` is how the route declares its body.

    Raises `UnsupportedMediaType`.
    """
    sent = _media_type(request)
    if isinstance(reads, Form):
        fits, wanted = sent in (FORM, MULTIPART), FORM
    else:
        fits, wanted = sent == JSON or _is_other_json(sent), JSON
    if not fits and _has_body(request):
        raise UnsupportedMediaType(wanted)


def refuse_multipart(request: Request) -> None:
    """Refuse a form if the body must be raw bytes: the form's envelope would be stored too.

    Raises `UnsupportedMediaType`.
    """
    if _media_type(request) == MULTIPART:
        raise UnsupportedMediaType(BYTES)


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _is_other_json(media_type: str) -> bool:
    return media_type.startswith("application/") and media_type.endswith("+json")


def _has_body(request: Request) -> bool:
    # A request has a body if it has one of these two headers (RFC 9112, section 6).
    return (
        "transfer-encoding" in request.headers
        or request.headers.get("content-length", "0").strip() != "0"
    )
