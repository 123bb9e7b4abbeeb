"""Logging in, as OAuth 2.0's password grant has it (RFC 6749, section 4.3)."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class LoginForm(BaseModel):
    model_config = ConfigDict(extra="forbid")

    grant_type: Literal["password"] = "password"
    username: Annotated[str, Field(max_length=320, description="The e-mail address.")]
    password: Annotated[SecretStr, Field(max_length=128)]
    # What the grant's form may carry; clients such as Swagger UI send them empty.
    scope: Annotated[str, Field(max_length=1000)] = ""
    client_id: Annotated[str | None, Field(max_length=200)] = None
    client_secret: Annotated[SecretStr | None, Field(max_length=200)] = None


class TokenResponse(BaseModel):
    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105
    expires_in: int = Field(description="Seconds.")
