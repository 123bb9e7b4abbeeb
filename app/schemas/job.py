"""Jobs as clients see them."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from app.core.pagination import Filters
from app.models.job import JobState
from app.schemas.moment import Moment
from app.schemas.numbers import A_NUMBER, Share

# The ledger's seq is a bigint.
MAX_SEQ = 2**63 - 1


class JobFailure(BaseModel):
    code: str = Field(description="Stable, in kebab-case: `image-too-large`, `timeout`.")
    detail: str = Field(description="One sentence for a person.")


class JobEvent(BaseModel):
    """A job's state as of `seq`, which grows with every change: what a stream carries."""

    # What is always there is required: a generated client need not ask whether it is.
    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)

    job_id: UUID
    seq: int
    state: JobState
    attempt: int
    progress: Share = 0
    message: str = ""
    error: JobFailure | None = None


def _secret(value: SecretStr | None) -> str | None:
    return None if value is None else value.get_secret_value()


class JobWatch(BaseModel):
    """The first message of a WebSocket, and the client's only one: a token or an API key."""

    model_config = ConfigDict(extra="forbid")

    access_token: SecretStr | None = None
    api_key: SecretStr | None = None
    after: Annotated[
        int,
        Field(ge=0, le=MAX_SEQ, description="The last event that the client has seen."),
        A_NUMBER,
    ] = 0

    @property
    def credentials(self) -> tuple[str | None, str | None]:
        return _secret(self.access_token), _secret(self.api_key)


class WaitReason(StrEnum):
    NO_WORKERS = "no_workers"
    """No live worker of the kind's pool runs it."""


class JobResponse(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: UUID
    kind: str
    state: JobState
    priority: int
    attempt: int = Field(description="Grows with every start, and is never reset.")
    tries: int = Field(
        description="Attempts that failed or timed out; lost and released ones do not count."
    )
    progress: Share
    message: str
    seq: int = Field(description="Grows with every change; the id of the job's events.")
    cancel_requested: bool
    dead_letter: bool = Field(description="Given up after too many tries or lost workers.")
    waiting: WaitReason | None = Field(description="Why a queued job can't start at present.")
    error: JobFailure | None
    created_at: datetime
    not_before: datetime | None = Field(description="When a scheduled job becomes due.")
    started_at: datetime | None = Field(description="Of the latest attempt.")
    finished_at: datetime | None
    expires_at: datetime | None = Field(
        description="Until when a finished job and its result are kept."
    )

    def event(self) -> JobEvent:
        return JobEvent(
            job_id=self.id,
            seq=self.seq,
            state=self.state,
            attempt=self.attempt,
            progress=self.progress,
            message=self.message,
            error=self.error,
        )


class JobFilters(Filters):
    state: tuple[JobState, ...] = ()
    kind: str | None = None
    dead_letter: bool | None = None


class JobSubmission(BaseModel):
    """What every kind's submission has; each kind's own model types its `spec`."""

    model_config = ConfigDict(extra="forbid")

    spec: BaseModel
    priority: Annotated[
        int,
        Field(ge=-100, le=100, description="Among the owner's own jobs: higher goes first."),
        A_NUMBER,
    ] = 0
    not_before: Annotated[Moment | None, Field(description="Scheduled until then.")] = None


class JobResult(BaseModel):
    """What every kind's result has; each kind's own model types `kind` and `output`."""

    job_id: UUID
    kind: str
    output: BaseModel


class JobKindResponse(BaseModel):
    name: str
    summary: str
    description: str
    pool: str
    timeout: float = Field(description="Seconds, of one attempt.")
    max_tries: int
    slots: int = Field(description="Of the live workers that run it.")
    waiting: WaitReason | None = Field(description="Why a job of this kind could not start now.")


class JobKindList(BaseModel):
    items: list[JobKindResponse]
