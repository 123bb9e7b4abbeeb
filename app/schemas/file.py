"""Files as clients see them."""

import unicodedata
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StringConstraints

from app.core.pagination import Filters

# Controls, lone surrogates, line and paragraph separators (Unicode's general categories).
UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}
# They make `gpj.exe` read `exe.jpg` (CVE-2021-42574).
BIDI_CONTROLS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def _plain(name: str) -> str:
    if name in (".", "..") or "/" in name or "\\" in name:
        raise ValueError("a name, not a path: without / and \\")
    if any(
        unicodedata.category(character) in UNPRINTABLE or character in BIDI_CONTROLS
        for character in name
    ):
        raise ValueError("without control characters")
    return name


FileName = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_plain)]

Sha256 = Annotated[
    str,
    BeforeValidator(lambda value: value.hex() if isinstance(value, bytes) else value),
    StringConstraints(pattern="^[0-9a-f]{64}$"),
]


class FileResponse(BaseModel):
    id: UUID
    name: str
    content_type: str = Field(description="Read off its first bytes, whatever the client said.")
    size: Annotated[int, Field(ge=0, description="Bytes.")]
    sha256: Sha256
    created_at: datetime
    expires_at: datetime = Field(
        description="It is removed then, unless an unfinished job needs it."
    )
    job_id: UUID | None = Field(description="Of an output: the job that made it.")


class FileFilters(Filters):
    job_id: UUID | None = None
