"""A client of the public API: all that it knows of Heavylift is what crosses HTTP."""

from app.client.answers import Event, File, Job, Submission
from app.client.api import Client
from app.client.authentication import ApiKey, Authentication, Bearer, Nobody
from app.client.credentials import CredentialFile
from app.client.errors import ClientError, NotLoggedIn, Refused, Unreachable
from app.client.saved_login import SavedLogin

__all__ = [
    "ApiKey",
    "Authentication",
    "Bearer",
    "Client",
    "ClientError",
    "CredentialFile",
    "Event",
    "File",
    "Job",
    "Nobody",
    "NotLoggedIn",
    "Refused",
    "SavedLogin",
    "Submission",
    "Unreachable",
]
