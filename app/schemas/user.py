"""Users as clients see them."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, EmailStr, Field, SecretStr

# NIST SP 800-63B-4: length and nothing else. The upper bound keeps a hash's cost bounded.
Password = Annotated[SecretStr, Field(min_length=8, max_length=128)]


class UserCreate(BaseModel):
    model_config = ConfigDict(extra="forbid")

    email: EmailStr
    password: Password


class UserResponse(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: UUID
    email: str
    is_active: bool
    is_admin: bool
    created_at: datetime
