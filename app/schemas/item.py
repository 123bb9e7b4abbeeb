"""Items as their owners see them."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import (
    MISSING,
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from app.core.pagination import Filters

Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
# Its words are far from what a tsvector can hold (1 MB).
Description = Annotated[str, StringConstraints(max_length=10_000)]
Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=50)]


def _once(tags: list[str]) -> list[str]:
    return list(dict.fromkeys(tags))


Tags = Annotated[
    list[Tag],
    Field(max_length=20, description="One that stands twice is kept once."),
    AfterValidator(_once),
]


class ItemCreate(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"title": "A red bus", "description": "It has two decks.", "tags": ["bus"]}
            ]
        },
    )

    title: Title
    description: Description = ""
    tags: Tags = []


class ItemUpdate(BaseModel):
    """What is to change; what is left out stays as it is."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"minProperties": 1, "examples": [{"title": "A blue bus"}]},
    )

    title: Title | MISSING = MISSING
    description: Description | MISSING = MISSING
    tags: Tags | MISSING = MISSING

    @model_validator(mode="after")
    def _something(self) -> "ItemUpdate":
        if not self.model_fields_set:
            raise ValueError("say what is to change")
        return self


class ItemResponse(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: UUID
    title: str
    description: str
    tags: list[str]
    version: int = Field(description="Grows with every change; in double quotes, it is the ETag.")
    created_at: datetime
    updated_at: datetime


class ItemFilters(Filters):
    tag: str | None = None
    q: str | None = None
