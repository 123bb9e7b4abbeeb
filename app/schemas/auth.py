"""Logging in, as OAuth 2.0's password grant has it (RFC 6749, section 4.3), and API keys."""

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, model_validator

from app.schemas.moment import Moment
from app.schemas.numbers import A_NUMBER
from app.schemas.user import EXAMPLE_EMAIL, EXAMPLE_PASSWORD


class LoginForm(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"username": EXAMPLE_EMAIL, "password": EXAMPLE_PASSWORD}]},
    )

    grant_type: Literal["password"] = "password"
    # Swagger UI fills in a form from the examples of its fields.
    username: Annotated[
        str, Field(max_length=320, description="The e-mail address.", examples=[EXAMPLE_EMAIL])
    ]
    password: Annotated[SecretStr, Field(max_length=128, examples=[EXAMPLE_PASSWORD])]
    # What the grant's form may carry; clients such as Swagger UI send them empty.
    scope: Annotated[str, Field(max_length=1000, examples=[""])] = ""
    client_id: Annotated[str | None, Field(max_length=200, examples=[""])] = None
    client_secret: Annotated[SecretStr | None, Field(max_length=200, examples=[""])] = None


class TokenResponse(BaseModel):
    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105
    expires_in: int = Field(description="Seconds.")
    refresh_token: str = Field(description="Good for one refresh, which gives the next one.")
    refresh_expires_in: int = Field(description="Seconds.")


class RefreshRequest(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"refresh_token": "<refresh_token of your log-in>"}]},
    )

    refresh_token: Annotated[
        SecretStr,
        Field(max_length=200, description="The latest: of the answer to the log-in or a refresh."),
    ]


class ApiKeyCreate(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"name": "continuous integration", "expires_in": 90 * 86400}]
        },
    )

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)] = (
        Field(description="What it is for.")
    )
    # PostgreSQL's time ends later than Python's does.
    expires_in: Annotated[int, Field(ge=1, le=100 * 365 * 86400), A_NUMBER] | None = Field(
        None, description="Seconds. Without it and `expires_at`, the key is good until deleted."
    )
    expires_at: Moment | None = None

    @model_validator(mode="after")
    def _one_expiry(self) -> Self:
        if self.expires_in is not None and self.expires_at is not None:
            raise ValueError("expires_in or expires_at, not both")
        return self


class ApiKeyResponse(BaseModel):
    id: UUID
    name: str
    prefix: str = Field(description="Of the key, which begins `hl_<prefix>_`.")
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="Within a minute.")


class NewApiKeyResponse(ApiKeyResponse):
    key: str = Field(description="Shown this once: keep it, and send it as `X-API-Key`.")
