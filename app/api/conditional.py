"""Conditional requests (RFC 9110, section 13) on what has entity tags (section 8.8.3)."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Protocol, Self, TypeVar

from fastapi import Depends, Header, Response
from pydantic import WithJsonSchema

from app.api.openapi import Responses
from app.core.errors import PreconditionFailed

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
# Empty elements between commas are read over: section 5.6.1.2.
_LIST = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*")
_EACH = re.compile(_TAG)

# As `_etag` writes it: no sign, no leading zero, within PostgreSQL's bigint.
_VERSION = re.compile(r'"([1-9][0-9]{0,17})"')


# The lines of a header, which are one list (RFC 9110, section 5.3). In the document it is a string:
# clients send one line.
Lines = Annotated[list[str], WithJsonSchema({"type": "string"})]


@dataclass(frozen=True, slots=True)
class EntityTags:
    """What If-Match or If-None-Match lists.

    A broken list has no tags: for its sake nothing is changed, and nothing held back.
    """

    anything: bool
    tags: frozenset[str]

    @classmethod
    def parse(cls, *lines: str) -> Self:
        header = ", ".join(lines)
        if header.strip(" \t") == "*":
            return cls(True, frozenset())
        tags = _EACH.findall(header) if _LIST.fullmatch(header) else ()
        return cls(False, frozenset(tags))

    def weakly_match(self, etag: str) -> bool:
        """If-None-Match's comparison with a strong tag."""
        return self.anything or not self.tags.isdisjoint({etag, f"W/{etag}"})

    def strongly_match(self, etag: str) -> bool:
        """If-Match's comparison with a strong tag."""
        return self.anything or etag in self.tags

    def versions(self) -> Collection[int] | None:
        """The versions that If-Match names; None for any. A weak tag never matches."""
        if self.anything:
            return None
        matches = map(_VERSION.fullmatch, self.tags)
        return frozenset(int(match[1]) for match in matches if match is not None)


async def get_held(
    if_none_match: Annotated[
        Lines | None, Header(description="ETags that the client holds: `304` if it is one of them.")
    ] = None,
) -> EntityTags | None:
    return None if if_none_match is None else EntityTags.parse(*if_none_match)


async def get_expected(
    if_match: Annotated[
        Lines | None, Header(description="Only while its ETag is one of these: `412` otherwise.")
    ] = None,
) -> Collection[int] | None:
    return None if if_match is None else EntityTags.parse(*if_match).versions()


Held = Annotated[EntityTags | None, Depends(get_held)]
# The versions that the client expects; None for any.
Expected = Annotated[Collection[int] | None, Depends(get_expected)]


# --- answers --------------------------------------------------------------------------------------


class Versioned(Protocol):
    @property
    def version(self) -> int: ...


Answer = TypeVar("Answer", bound=Versioned)

ETAG = {"ETag": {"description": "Of this version.", "schema": {"type": "string"}}}
NOT_MODIFIED: Responses = {304: {"description": "The client has it already.", "headers": ETAG}}


def _headers(answer: Versioned) -> dict[str, str]:
    return {"ETag": f'"{answer.version}"'}


def with_etag(answer: Answer, response: Response) -> Answer:
    response.headers.update(_headers(answer))
    return answer


def unless_held(
    answer: Answer,
    response: Response,
    held: EntityTags | None,
    expected: Collection[int] | None = None,
) -> Answer | Response:
    """Answer with a 304 if the client has this version already.

    Raises `PreconditionFailed` if it expects another one: If-Match comes first (section 13.2.2).
    """
    if expected is not None and answer.version not in expected:
        raise PreconditionFailed(f"it is at version {answer.version}")
    headers = _headers(answer)
    if held is not None and held.weakly_match(headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return with_etag(answer, response)
