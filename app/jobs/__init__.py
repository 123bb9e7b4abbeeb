"""The contract of a job kind: all that a package needs to import to declare one."""

from app.jobs.context import JobContext
from app.jobs.errors import (
    JobCancelled,
    JobError,
    JobInterrupted,
    JobTimedOut,
    LeaseLost,
    RetryableJobError,
)
from app.jobs.files import EXAMPLE_FILE, FileId
from app.jobs.kind import JobKind, JobOptions, job_kind
from app.jobs.registry import KindRegistry, load_kinds

__all__ = [
    "EXAMPLE_FILE",
    "FileId",
    "JobCancelled",
    "JobContext",
    "JobError",
    "JobInterrupted",
    "JobKind",
    "JobOptions",
    "JobTimedOut",
    "KindRegistry",
    "LeaseLost",
    "RetryableJobError",
    "job_kind",
    "load_kinds",
]
