"""Errors as clients see them."""

from pydantic import BaseModel, ConfigDict, Field


class FieldError(BaseModel):
    field: str = Field(
        description="Where it is: `body.spec.renditions.0.width`, `query.limit`, `path.job_id`."
    )
    detail: str = Field(description="What is wrong with it, in one sentence.")


class Problem(BaseModel):
    """RFC 9457 problem details; `type` is stable and what a client branches on."""

    # `errors` is always there: a generated client need not ask whether it is.
    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    type: str = Field(description="`https://heavylift.dev/problems/` and the problem's name.")
    title: str = Field(description="The same for every problem of the type.")
    status: int
    detail: str = Field(description="About this very occurrence.")
    instance: str = Field(description="The path that was asked for.")
    request_id: str = Field(description="Also in the header `X-Request-Id`, and in our logs.")
    trace_id: str = Field(description="Of the W3C trace that the request is in; also in our logs.")
    errors: list[FieldError] = Field(
        default=[], description="The fields at fault, where there are any."
    )
