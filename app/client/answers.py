"""What the client sends and reads.

Not `app.schemas`: those load the tables' models, and are one version's. A server may be newer than
the client that talks to it: what the client does not know is no error, and `--json` shows it too.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Generic, TypeVar
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

# A specification or an output: its form is the kind's, `Client.schema` and OpenAPI say which.
JsonObject = dict[str, JsonValue]


class Answer(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class State(StrEnum):
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})


class FieldError(Answer):
    field: str
    detail: str


class Problem(Answer):
    """RFC 9457; what comes from a proxy may have less than ours."""

    type: str = "about:blank"
    title: str = ""
    detail: str = ""
    request_id: str | None = None
    errors: list[FieldError] = []


class Token(Answer):
    access_token: str = Field(repr=False)
    expires_in: int
    refresh_token: str | None = Field(None, repr=False)
    refresh_expires_in: int | None = None


class User(Answer):
    id: UUID
    email: str


class File(Answer):
    id: UUID
    name: str
    content_type: str
    size: int
    sha256: str
    created_at: datetime
    expires_at: datetime
    job_id: UUID | None


class Failure(Answer):
    code: str
    detail: str


class Event(Answer):
    job_id: UUID
    seq: int
    state: str
    attempt: int
    progress: float
    message: str
    error: Failure | None

    @property
    def ended(self) -> bool:
        return self.state in TERMINAL


class Job(Answer):
    id: UUID
    kind: str
    state: str
    priority: int
    attempt: int
    progress: float
    message: str
    seq: int
    waiting: str | None
    error: Failure | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def ended(self) -> bool:
        return self.state in TERMINAL

    def event(self) -> Event:
        return Event(
            job_id=self.id,
            seq=self.seq,
            state=self.state,
            attempt=self.attempt,
            progress=self.progress,
            message=self.message,
            error=self.error,
        )

    def times(self) -> tuple[timedelta, timedelta] | None:
        """How long it waited and how long it ran, of one that ran and has ended."""
        if self.started_at is None or self.finished_at is None:
            return None
        return self.started_at - self.created_at, self.finished_at - self.started_at


class Result(Answer):
    job_id: UUID
    kind: str
    output: JsonObject


class Kind(Answer):
    name: str
    summary: str
    pool: str
    slots: int
    waiting: str | None


class Kinds(Answer):
    items: list[Kind]


Item = TypeVar("Item", bound=Answer)


class Page(Answer, Generic[Item]):
    items: list[Item]
    next_cursor: str | None


class Submission(BaseModel):
    """A job to be; its specification is the kind's to check."""

    spec: JsonObject
    priority: int = 0
    not_before: AwareDatetime | None = None


class Registration(BaseModel):
    email: str
    password: str = Field(repr=False)


class Deletion(BaseModel):
    """Of one's own account."""

    password: str = Field(repr=False)


class RefreshToken(BaseModel):
    refresh_token: str = Field(repr=False)
