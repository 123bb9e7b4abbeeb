"""Users as clients see them."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StrictBool,
    StringConstraints,
)

from app.core.addresses import EmailAddress
from app.core.pagination import Filters

# The account that the examples register, log in to, change and delete.
EXAMPLE_EMAIL, EXAMPLE_PASSWORD = "ada@example.com", "correct horse battery staple"

# NIST SP 800-63B-4: length and nothing else. The upper bound keeps a hash's cost bounded.
Password = Annotated[SecretStr, Field(min_length=8, max_length=128)]
CurrentPassword = Annotated[SecretStr, Field(max_length=128)]


class UserCreate(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"email": EXAMPLE_EMAIL, "password": EXAMPLE_PASSWORD}]},
    )

    email: EmailAddress
    password: Password


class UserResponse(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: UUID
    email: str
    full_name: str | None = None
    is_active: bool
    is_admin: bool
    created_at: datetime


class UserUpdate(BaseModel):
    """What is left out stays as it is."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"full_name": "Ada Lovelace"}]}
    )

    email: EmailAddress | None = Field(
        None, description="Needs `current_password`. Null: it stays."
    )
    full_name: (
        Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
        | None
    ) = Field(None, description="Null removes it.")
    current_password: CurrentPassword | None = None


class PasswordChange(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"current_password": EXAMPLE_PASSWORD, "new_password": "a new passphrase"}]
        },
    )

    current_password: CurrentPassword
    new_password: Password


class UserDeletion(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"password": EXAMPLE_PASSWORD}]}
    )

    password: CurrentPassword


class UserAdministration(BaseModel):
    """What is left out, or null, stays as it is."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"is_active": True}]})

    # 0 and "no" are neither: what changes rights is to be said as it is meant.
    is_active: StrictBool | None = None
    is_admin: StrictBool | None = None


class UserFilters(Filters):
    email: str | None = None
    is_active: bool | None = None
