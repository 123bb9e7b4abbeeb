"""Tables. Importing this package registers all of them on `Base.metadata`."""

from app.models.base import Base
from app.models.file import File
from app.models.job import Job, JobFile, JobRun
from app.models.user import User
from app.models.worker import Pool, Worker

__all__ = ["Base", "File", "Job", "JobFile", "JobRun", "Pool", "User", "Worker"]
