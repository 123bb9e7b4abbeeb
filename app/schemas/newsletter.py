"""The newsletter as its readers meet it."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from app.core.addresses import EmailAddress


class SubscriptionCreate(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"email": "ada@example.com"}]}
    )

    email: EmailAddress


class SubscriptionRequested(BaseModel):
    """The same for every address, whether it subscribes already or not."""

    email: str
    confirm_within: int = Field(description="Seconds that the link in the mail is good for.")


class LinkToken(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"token": "<token of the link in your mail>"}]},
    )

    token: Annotated[
        SecretStr,
        Field(min_length=1, max_length=1000, description="What follows `=` in the link of a mail."),
    ]


class SubscriptionResponse(BaseModel):
    email: str
    confirmed_at: datetime
