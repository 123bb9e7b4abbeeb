"""Files as clients see them."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StringConstraints

from app.core.file_names import MAX_BYTES, plain_name
from app.core.pagination import Filters

FileName = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_BYTES), AfterValidator(plain_name)
]

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
