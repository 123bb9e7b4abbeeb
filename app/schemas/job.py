"""Jobs as clients see them."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.models.job import JobState


class JobFailure(BaseModel):
    code: str = Field(description="Stable, in kebab-case: `image-too-large`, `timeout`.")
    detail: str = Field(description="One sentence for a person.")


class JobEvent(BaseModel):
    """A job's state as of `seq`, which grows with every change: what a stream carries."""

    model_config = ConfigDict(frozen=True)

    job_id: UUID
    seq: int
    state: JobState
    attempt: int
    progress: Annotated[float, Field(ge=0, le=1)] = 0
    message: str = ""
    error: JobFailure | None = None
