"""The newsletter as its readers meet it."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from app.core.addresses import EmailAddress


class SubscriptionCreate(BaseModel):
    model_config = ConfigDict(extra="forbid")

    email: EmailAddress


class SubscriptionRequested(BaseModel):
    """The same for every address, whether it subscribes already or not."""

    email: str
    confirm_within: int = Field(description="Seconds that the link in the mail is good for.")


class LinkToken(BaseModel):
    model_config = ConfigDict(extra="forbid")

    token: Annotated[
        SecretStr, Field(min_length=1, max_length=1000, description="Out of a mail's link.")
    ]


class SubscriptionResponse(BaseModel):
    email: str
    confirmed_at: datetime
