"""What scenarios read of the API's answers: a field less, or of another type, is wrong content.

Fields that a newer server adds are none of their business.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Generic, Literal, Protocol, TypeVar
from uuid import UUID

from pydantic import AwareDatetime, BaseModel

Row = TypeVar("Row", bound=BaseModel)

State = Literal["scheduled", "queued", "running", "succeeded", "failed", "cancelled"]
ENDED: frozenset[State] = frozenset({"succeeded", "failed", "cancelled"})


# A row's id and its time are taken one after the other: of two rows that are made at once, the one
# with the later id may have the earlier time, by no more than this.
AT_ONCE = timedelta(seconds=1)


class Made(Protocol):
    """A row; its id is a UUID of version 7, which begins with the time."""

    id: UUID
    created_at: datetime


def newest_first(rows: Sequence[Made]) -> bool:
    """Return whether each row was made after the next one, by their ids and by their times."""
    return all(
        later.id > earlier.id and later.created_at > earlier.created_at - AT_ONCE
        for later, earlier in pairwise(rows)
    )


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
