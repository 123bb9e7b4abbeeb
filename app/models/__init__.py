"""Tables. Importing this package registers all of them on `Base.metadata`."""

from app.models.api_key import ApiKey
from app.models.base import Base
from app.models.file import File
from app.models.item import Item
from app.models.job import Job, JobFile, JobRun
from app.models.newsletter import NewsletterSubscription
from app.models.session import LoginSession
from app.models.tally import JobTally, JobTotal
from app.models.user import Erasure, User
from app.models.worker import Pool, Worker

__all__ = [
    "ApiKey",
    "Base",
    "Erasure",
    "File",
    "Item",
    "Job",
    "JobFile",
    "JobRun",
    "JobTally",
    "JobTotal",
    "LoginSession",
    "NewsletterSubscription",
    "Pool",
    "User",
    "Worker",
]
