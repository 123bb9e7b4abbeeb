"""What probes answer."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class DependencyHealth(BaseModel):
    state: Literal["up", "down", "unknown"]
    since: datetime
    detail: str | None = Field(description="Why it is down, as far as anybody may know.")


class Dependencies(BaseModel):
    postgresql: DependencyHealth
    redis: DependencyHealth
    storage: DependencyHealth


class Readiness(Health):
    dependencies: Dependencies = Field(
        description="For people: what is away takes no process out of service that has reached it."
    )
