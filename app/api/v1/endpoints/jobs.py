import re
from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field, create_model

from app.api.bodies import SPECIFICATION_LIMIT, BoundedRoute, body_limit
from app.api.deps import (
    LOGGED_IN,
    CurrentUser,
    HintDep,
    KindsDep,
    PageParams,
    SessionDep,
    SettingsDep,
)
from app.api.openapi import Responses, problems
from app.core.errors import (
    Gone,
    IdempotencyConflict,
    InvalidInput,
    JobHasNoResult,
    JobNotFinished,
    NotFound,
    ResultTooLarge,
    ResultUnreadable,
    UnknownKind,
)
from app.core.telemetry import current_traceparent
from app.jobs import KindRegistry
from app.jobs.registry import AnyKind
from app.models.job import JobState
from app.schemas.job import JobFilters, JobKindList, JobResponse, JobResult, JobSubmission
from app.schemas.page import Page
from app.services import jobs
from app.services.jobs import Idempotency

LOCATION: dict[str, Any] = {
    "headers": {"Location": {"description": "The job's own address.", "schema": {"type": "string"}}}
}


class SchemaResponse(JSONResponse):
    media_type = "application/schema+json"


async def get_kind(kind: str, kinds: KindsDep) -> AnyKind:
    return jobs.find_kind(kinds, kind)


async def get_filters(
    state: Annotated[list[JobState], Query(description="Repeat it for several.")] = [],  # noqa: B006
    kind: Annotated[str | None, Query(max_length=200)] = None,
    dead_letter: Annotated[bool | None, Query()] = None,
) -> JobFilters:
    return JobFilters(state=tuple(sorted(set(state))), kind=kind, dead_letter=dead_letter)


async def get_idempotency(
    request: Request,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            pattern=r"^[\x20-\x7e]+$",
            description="The same key with the same body answers with the same job.",
        ),
    ] = None,
) -> Idempotency | None:
    return None if key is None else Idempotency(key, await request.body())


KindDep = Annotated[AnyKind, Depends(get_kind)]
FiltersDep = Annotated[JobFilters, Depends(get_filters)]
IdempotencyDep = Annotated[Idempotency | None, Depends(get_idempotency)]

common = APIRouter(prefix="/jobs", tags=["jobs"], route_class=BoundedRoute)


@common.get("/kinds", dependencies=[LOGGED_IN])
async def list_kinds(session: SessionDep, kinds: KindsDep) -> JobKindList:
    """The job kinds that are installed, and whether live workers run them."""
    return await jobs.list_kinds(session, kinds)


@common.get(
    "/kinds/{kind}/schema",
    dependencies=[LOGGED_IN],
    response_class=SchemaResponse,
    responses=problems(UnknownKind),
)
async def get_kind_schema(kind: KindDep) -> SchemaResponse:
    """The JSON Schema of a kind's specification."""
    return SchemaResponse(kind.spec.model_json_schema())


@common.get("")
async def list_jobs(
    user: CurrentUser, session: SessionDep, filters: FiltersDep, page: PageParams
) -> Page[JobResponse]:
    """Your jobs, newest first."""
    return await jobs.list_page(session, user.id, filters, page)


@common.get("/{job_id}", responses=problems(NotFound))
async def get_job(job_id: UUID, user: CurrentUser, session: SessionDep) -> JobResponse:
    """One of your jobs."""
    return await jobs.get(session, user.id, job_id)


@common.post("/{job_id}/cancel", status_code=202, responses=problems(NotFound))
async def cancel_job(
    job_id: UUID, user: CurrentUser, session: SessionDep, hint: HintDep, settings: SettingsDep
) -> JobResponse:
    """Cancel a job: at once while it waits; what runs is asked, then killed; an ended one stays."""
    return await jobs.cancel(session, hint, settings, user.id, job_id)


@common.post("/{kind}", include_in_schema=False, dependencies=[LOGGED_IN])
async def submit_unknown(kind: str, kinds: KindsDep) -> None:
    """Every kind there is has an operation of its own: only `UnknownKind` comes from here."""
    jobs.find_kind(kinds, kind)


# --- one operation for each kind ------------------------------------------------------------------


def _add_submission(router: APIRouter, kind: AnyKind) -> None:
    model = create_model(
        f"{kind.title}Submission",
        __base__=JobSubmission,
        __cls_kwargs__={
            "json_schema_extra": {"examples": [{"spec": example} for example in kind.examples]}
        },
        spec=(kind.spec, ...),
    )

    async def submit(
        body: JobSubmission,
        user: CurrentUser,
        session: SessionDep,
        hint: HintDep,
        idempotency: IdempotencyDep,
        settings: SettingsDep,
        request: Request,
        response: Response,
    ) -> JobResponse:
        accepted = await jobs.submit(
            session,
            hint,
            user.id,
            kind,
            body,
            wait_target=settings.jobs.wait_target,
            idempotency=idempotency,
            traceparent=current_traceparent(),
        )
        response.headers["Location"] = request.app.url_path_for(
            "get_job", job_id=str(accepted.job.id)
        )
        if accepted.replayed:
            response.headers["Idempotent-Replayed"] = "true"
        return accepted.job

    # What FastAPI validates with and documents; known only now.
    submit.__annotations__["body"] = model
    router.add_api_route(
        f"/{kind.name}",
        submit,
        methods=["POST"],
        status_code=202,
        operation_id=f"submit_{re.sub(r'[._]', '_', kind.name)}",
        summary=kind.summary,
        description=kind.description,
        responses={202: LOCATION, **problems(InvalidInput, IdempotencyConflict)},
        openapi_extra=body_limit(SPECIFICATION_LIMIT),
    )


def _result_models(kinds: KindRegistry) -> Mapping[str, type[JobResult]]:
    return {
        kind.name: create_model(
            f"{kind.title}Result",
            __base__=JobResult,
            kind=(Literal[kind.name], ...),  # type: ignore[arg-type] # known only now
            output=(kind.result, ...),
        )
        for kind in kinds.values()
    }


def _add_result(router: APIRouter, kinds: KindRegistry) -> None:
    models = _result_models(kinds)

    async def get_job_result(
        job_id: UUID, user: CurrentUser, session: SessionDep, settings: SettingsDep
    ) -> JobResult:
        """What a job that succeeded has made; `kind` says which of the forms it has."""
        limit = settings.jobs.max_result_bytes
        return await jobs.result(session, user.id, job_id, models, limit=limit)

    # Pydantic takes a discriminator for two models or more.
    union = reduce(or_, models.values()) if models else JobResult
    responses: Responses = problems(
        NotFound,
        UnknownKind,
        Gone,
        JobNotFinished,
        JobHasNoResult,
        ResultTooLarge,
        ResultUnreadable,
    )
    router.add_api_route(
        "/{job_id}/result",
        get_job_result,
        response_model=(
            Annotated[union, Field(discriminator="kind")] if len(models) > 1 else union
        ),
        responses=responses,
    )


def router(kinds: KindRegistry) -> APIRouter:
    own = APIRouter(prefix="/jobs", tags=["jobs"], route_class=BoundedRoute)
    for kind in kinds.values():
        _add_submission(own, kind)
    _add_result(own, kinds)
    both = APIRouter()
    both.include_router(own)
    both.include_router(common)
    return both
