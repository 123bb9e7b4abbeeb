"""A job as it is: by its run while there is one, by its outcome after that."""

from sqlalchemy import case, func, select

from app.models import Job, JobRun
from app.models.job import JobState
from app.schemas.job import JobFailure

SNAPSHOT = (
    select(
        Job.id,
        func.coalesce(JobRun.state, Job.outcome).label("state"),
        func.coalesce(JobRun.attempt, Job.attempt).label("attempt"),
        func.coalesce(JobRun.seq, Job.seq).label("seq"),
        case(
            (Job.outcome == JobState.SUCCEEDED, 1),
            (JobRun.state == JobState.RUNNING, JobRun.progress),
            else_=0,
        ).label("progress"),
        case((JobRun.state == JobState.RUNNING, JobRun.message), else_="").label("message"),
        Job.error_code,
        Job.error_detail,
    )
    .select_from(Job)
    .outerjoin(JobRun, JobRun.job_id == Job.id)
)


def failure(code: str | None, detail: str | None) -> JobFailure | None:
    """Why it failed, if it did: of the columns `error_code` and `error_detail`."""
    return None if code is None else JobFailure(code=code, detail=detail or "")
