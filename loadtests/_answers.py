"""What scenarios read of the API's answers: a field less, or of another type, is wrong content.

Fields that a newer server adds are none of their business.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Generic, Literal, TypeVar
from uuid import UUID

from pydantic import AwareDatetime, BaseModel

Row = TypeVar("Row", bound=BaseModel)

State = Literal["scheduled", "queued", "running", "succeeded", "failed", "cancelled"]
ENDED: frozenset[State] = frozenset({"succeeded", "failed", "cancelled"})


# Rows that were made within this time may be listed in either order: a list is in the order of ids,
# and a row's id and its time are taken one after the other.
SAME_TIME = timedelta(seconds=1)


def newest_first(made: Sequence[datetime]) -> bool:
    """Whether no row comes behind one that was made before it."""
    return all(later >= earlier - SAME_TIME for later, earlier in pairwise(made))


class Page(BaseModel, Generic[Row]):
    items: list[Row]
    next_cursor: str | None


class Tokens(BaseModel):
    access_token: str
    expires_in: int
    refresh_token: str


class User(BaseModel):
    id: UUID
    email: str
    is_admin: bool
    created_at: AwareDatetime


class Item(BaseModel):
    id: UUID
    title: str
    tags: list[str]
    version: int
    created_at: AwareDatetime


class File(BaseModel):
    id: UUID
    name: str
    size: int
    sha256: str
    expires_at: AwareDatetime


class JobError(BaseModel):
    code: str


class Job(BaseModel):
    id: UUID
    kind: str
    state: State
    dead_letter: bool
    error: JobError | None
    created_at: AwareDatetime
    started_at: datetime | None
    finished_at: datetime | None


class JobEvent(BaseModel):
    job_id: UUID
    seq: int
    state: State
    error: JobError | None


class Rendition(BaseModel):
    name: str
    file: UUID
    width: int
    height: int
    bytes: int


class Transformed(BaseModel):
    renditions: list[Rendition]


class TransformResult(BaseModel):
    job_id: UUID
    output: Transformed


class Kind(BaseModel):
    name: str


class Kinds(BaseModel):
    items: list[Kind]
