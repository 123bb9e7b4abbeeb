"""Jobs as their owners handle them; what a job's life rests on stands in the ledger."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from pydantic import ValidationError
from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Text,
    all_,
    and_,
    any_,
    case,
    cast,
    exists,
    false,
    func,
    not_,
    or_,
    select,
)
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.config import Settings
from app.core.errors import (
    Gone,
    IdempotencyConflict,
    InvalidInput,
    JobHasNoResult,
    JobNotFinished,
    NotFound,
    ResultTooLarge,
    ResultUnreadable,
    Unavailable,
    UnknownKind,
)
from app.core.masking import faults
from app.core.pagination import PageRequest
from app.core.transaction import after_commit
from app.jobs import KindRegistry
from app.jobs.files import references
from app.jobs.registry import AnyKind
from app.jobs.results import PRINTED, read_result
from app.jobs.submitted import as_submitted
from app.models import File, Job, JobRun, Worker
from app.models.file import FileState
from app.models.job import TERMINAL, JobState
from app.schemas.job import (
    JobFilters,
    JobKindList,
    JobKindResponse,
    JobResponse,
    JobResult,
    JobSubmission,
    WaitReason,
)
from app.schemas.page import Page
from app.services import ledger
from app.services.dispatch_hint import DispatchHint
from app.services.ledger import Retention, Submission
from app.services.snapshot import SNAPSHOT, failure

log = structlog.get_logger(__name__)

# --- reading --------------------------------------------------------------------------------------

LIVE = and_(not_(Worker.draining), Worker.expires_at > func.clock_timestamp())

# As dispatch sees it: `ledger.Need.met_by` no live build.
NO_WORKERS: ColumnElement[bool] = and_(
    JobRun.state == JobState.QUEUED,
    not_(
        exists().where(
            LIVE,
            Worker.pool == JobRun.pool,
            JobRun.kind == any_(Worker.kinds),
            Worker.version != all_(JobRun.refused_by),
        )
    ),
)

JOB = SNAPSHOT.add_columns(
    Job.kind,
    Job.priority,
    func.coalesce(JobRun.tries, Job.tries).label("tries"),
    or_(
        JobRun.cancel_requested_at.is_not(None),
        func.coalesce(Job.outcome == JobState.CANCELLED, false()),
    ).label("cancel_requested"),
    Job.dead.label("dead_letter"),
    case((NO_WORKERS, WaitReason.NO_WORKERS.value)).label("waiting"),
    Job.created_at,
    JobRun.due_at.label("not_before"),
    func.coalesce(JobRun.started_at, Job.started_at).label("started_at"),
    Job.finished_at,
    Job.expires_at,
)


def _response(row: Row[Any]) -> JobResponse:
    columns = dict(row._mapping)
    error = failure(columns.pop("error_code"), columns.pop("error_detail"))
    return JobResponse(**columns, error=error)


async def get(session: AsyncSession, owner_id: UUID, job_id: UUID) -> JobResponse:
    """Raises `NotFound`."""
    statement = JOB.where(Job.id == job_id, Job.owner_id == owner_id)
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        raise NotFound(f"you have no job {job_id}")
    return _response(row)


def _narrowed(statement: Select[Any], filters: JobFilters) -> Select[Any]:
    if filters.state:
        # On the side that has it, so that a few unfinished jobs are found among many that ended.
        unfinished = [state for state in filters.state if state not in TERMINAL]
        ended = [state for state in filters.state if state in TERMINAL]
        statement = statement.where(
            or_(
                *([JobRun.state.in_(unfinished)] if unfinished else []),
                *([Job.outcome.in_(ended)] if ended else []),
            )
        )
    if filters.kind is not None:
        statement = statement.where(Job.kind == filters.kind)
    if filters.dead_letter is not None:
        statement = statement.where(Job.dead if filters.dead_letter else not_(Job.dead))
    return statement


async def list_page(
    session: AsyncSession, owner_id: UUID, filters: JobFilters, page: PageRequest
) -> Page[JobResponse]:
    """Newest first, in one statement. Raises `InvalidInput` for a cursor that does not fit."""
    statement = _narrowed(JOB.where(Job.owner_id == owner_id), filters)
    if (after := page.after(filters)) is not None:
        statement = statement.where(Job.id < after)
    rows = await session.execute(statement.order_by(Job.id.desc()).limit(page.limit + 1))
    items, next_cursor = page.cut([_response(row) for row in rows], filters)
    return Page[JobResponse](items=list(items), next_cursor=next_cursor)


async def result(
    session: AsyncSession,
    owner_id: UUID,
    job_id: UUID,
    models: Mapping[str, type[JobResult]],
    *,
    limit: int,
) -> JobResult:
    """The result of a job that succeeded, if it has at most `limit` bytes.

    Raises `NotFound`, `Gone`, `JobNotFinished`, `JobHasNoResult`, `UnknownKind`, `ResultTooLarge`
    or `ResultUnreadable`.
    """
    # As text: a result of an older version may have 200 MB, or numbers that Python can't read.
    printed = cast(Job.result, Text)
    size = func.octet_length(printed)
    statement = select(
        Job.kind,
        Job.outcome,
        case((size <= limit * PRINTED, printed)).label("result"),
        size.label("size"),
        Job.error_code,
        Job.error_detail,
        Job.expires_at,
        (Job.expires_at <= func.clock_timestamp()).label("expired"),
    ).where(Job.id == job_id, Job.owner_id == owner_id)
    job = (await session.execute(statement)).one_or_none()
    if job is None:
        raise NotFound(f"you have no job {job_id}")
    if job.outcome is None:
        raise JobNotFinished("follow its events, or ask again once it has finished")
    if job.expired:
        raise Gone(f"the result was kept until {job.expires_at.isoformat()}")
    if job.outcome == JobState.CANCELLED:
        raise JobHasNoResult("it was cancelled")
    if job.outcome == JobState.FAILED:
        raise JobHasNoResult(f"it failed: {job.error_code}: {job.error_detail}")
    model = models.get(job.kind)
    if model is None:
        raise UnknownKind(f"{job.kind} is not installed here any more")
    if (job.size or 0) > limit * PRINTED:
        raise ResultTooLarge(
            f"it has {job.size} bytes, more than {limit}: the operator of this server may raise "
            "HEAVYLIFT_JOBS_MAX_RESULT_BYTES"
        )
    try:
        return read_result(
            model, f'{{"job_id": "{job_id}", "kind": "{job.kind}", "output": {job.result}}}'
        )
    except Exception as error:
        # A validator of the kind's model may raise any error.
        why = faults(error) if isinstance(error, ValidationError) else type(error).__name__
        log.error("result unreadable", job_id=str(job_id), kind=job.kind, error=why)
        raise ResultUnreadable(
            f"another version of {job.kind} made it, which this server can't read: {why}"
        ) from error


# --- kinds ----------------------------------------------------------------------------------------


def find_kind(kinds: KindRegistry, name: str) -> AnyKind:
    """Raises `UnknownKind`, which names those that there are."""
    if name not in kinds:
        raise UnknownKind(f"there is no {name!r}; installed: {', '.join(kinds) or 'none'}")
    return kinds[name]


async def list_kinds(session: AsyncSession, kinds: KindRegistry) -> JobKindList:
    name = func.unnest(Worker.kinds).label("kind")
    live = select(Worker.pool, name, Worker.slots).where(LIVE).subquery()
    statement = select(live.c.pool, live.c.kind, func.sum(live.c.slots)).group_by(
        live.c.pool, live.c.kind
    )
    slots = {(pool, kind): total for pool, kind, total in await session.execute(statement)}
    return JobKindList(
        items=[
            JobKindResponse(
                name=kind.name,
                summary=kind.summary,
                description=kind.description,
                pool=kind.pool,
                timeout=kind.timeout,
                max_tries=kind.max_tries,
                slots=slots.get((kind.pool, kind.name), 0),
                waiting=None if (kind.pool, kind.name) in slots else WaitReason.NO_WORKERS,
            )
            for kind in kinds.values()
        ]
    )


# --- submitting and cancelling --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Idempotency:
    """The key that a client chose, and the body that it stands for, as it was sent."""

    key: str
    body: bytes

    @property
    def fingerprint(self) -> bytes:
        return hashlib.sha256(ledger.canonical_json(self.body)).digest()


@dataclass(frozen=True, slots=True)
class Accepted:
    job: JobResponse
    replayed: bool = False


async def submit(
    session: AsyncSession,
    hint: DispatchHint,
    owner_id: UUID,
    kind: AnyKind,
    submission: JobSubmission,
    *,
    wait_target: float,
    idempotency: Idempotency | None = None,
    traceparent: str | None = None,
) -> Accepted:
    """Accept a job, or find the one that the idempotency key made before.

    `wait_target` is in seconds, for kinds that declare none.

    Raises `InvalidInput`, which names the field, for a file that is not there for this owner, and
    `IdempotencyConflict`.
    """
    files: dict[UUID, str] = {
        file: field for field, file in references(submission.spec, ("body", "spec"))
    }
    job = Submission(
        owner_id=owner_id,
        kind=kind.name,
        pool=kind.pool,
        max_tries=kind.max_tries,
        wait_target=kind.wait_target or wait_target,
        spec=as_submitted(submission.spec),
        priority=submission.priority,
        not_before=submission.not_before,
        files=list(files),
        idempotency_key=None if idempotency is None else idempotency.key,
        fingerprint=None if idempotency is None else idempotency.fingerprint,
        traceparent=traceparent,
    )
    connection = await session.connection()
    job_id = await connection.run_sync(ledger.accept, job)
    if job_id is not None:
        after_commit(session, lambda: hint.pool(kind.pool))
        return Accepted(await get(session, owner_id, job_id))
    earlier = await _find_earlier(session, job)
    if earlier is not None:
        return Accepted(await get(session, owner_id, earlier), replayed=True)
    raise await _missing_file(session, owner_id, files)


async def _find_earlier(session: AsyncSession, job: Submission) -> UUID | None:
    """What the key stands for. Raises `IdempotencyConflict` if that is another request."""
    if job.idempotency_key is None:
        return None
    statement = select(Job.id, Job.fingerprint).where(
        Job.owner_id == job.owner_id,
        Job.kind == job.kind,
        Job.idempotency_key == job.idempotency_key,
    )
    earlier = (await session.execute(statement)).one_or_none()
    if earlier is None:
        return None
    if earlier.fingerprint != job.fingerprint:
        raise IdempotencyConflict(
            f"it made job {earlier.id} out of another body: take a new key for a new request",
            field="header.Idempotency-Key",
        )
    found: UUID = earlier.id
    return found


async def _missing_file(
    session: AsyncSession, owner_id: UUID, files: Mapping[UUID, str]
) -> InvalidInput | Unavailable:
    statement = select(File.id).where(
        File.id.in_(files),
        File.owner_id == owner_id,
        File.state == FileState.READY,
        File.expires_at > func.clock_timestamp(),
    )
    found = set(await session.scalars(statement))
    for file, field in files.items():
        if file not in found:
            return InvalidInput(f"you have no file {file}", field=field)
    # Its files, or the key's job, came or went between two statements.
    return Unavailable("the job could not be accepted just now: send it again")


async def cancel(
    session: AsyncSession, hint: DispatchHint, settings: Settings, owner_id: UUID, job_id: UUID
) -> JobResponse:
    """Cancel at once what waits, ask for it what runs; what has finished stays as it is.

    Raises `NotFound`.
    """
    await get(session, owner_id, job_id)
    keep = Retention.configured(settings)
    connection = await session.connection()
    change = await connection.run_sync(ledger.cancel, job_id, keep=keep)
    job = await get(session, owner_id, job_id)
    if change is not None:
        after_commit(session, lambda: hint.event(job.event()))
    return job
