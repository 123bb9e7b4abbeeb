"""What a load test can be told, by `LOADTEST_*` in the environment of every Locust process."""

import os
from functools import lru_cache
from pathlib import Path
from typing import Self

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "LOADTEST_"

# Items on a page: seeded are more, so that there is a next page.
PAGE = 20


class BadSetup(Exception):
    """One line that names what is at fault: Locust ends with exit code 2."""


class LoadSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    rate: PositiveFloat = Field(1, description="Journeys, times as often as the mix has them.")
    accounts: PositiveInt = Field(
        4, description="Accounts of each Locust process; its users share them."
    )
    account_prefix: str = Field("loadtest", pattern=r"^[a-z0-9][a-z0-9.-]{0,31}$")
    account_domain: str = Field("example.com", pattern=r"^[a-z0-9][a-z0-9.-]{0,200}$")
    password: SecretStr | None = Field(
        None, min_length=8, max_length=128, description="Of all the accounts."
    )
    admin_email: str | None = Field(
        None, description="An admin's, who has to be there; without one, ReadLists does not run."
    )
    admin_password: SecretStr | None = None
    items: int = Field(60, gt=PAGE, le=10_000, description="Of each account, to browse in.")
    picture_width: int = Field(800, ge=64, le=8_000, description="Pixels, of what is uploaded.")
    picture_height: int = Field(600, ge=64, le=8_000)
    timeout: PositiveFloat = Field(
        20, gt=15, description="Seconds for an answer; a silent stream sends a sign every 15."
    )
    job_timeout: PositiveFloat = Field(120, description="Seconds from submit to finished.")
    poll_interval: NonNegativeFloat = Field(0.5, description="Seconds between two looks at a job.")
    metrics_port: int | None = Field(
        None, ge=1, le=65535, description="Of /metrics, while it runs. Default: none."
    )
    metrics_host: str = Field(
        "127.0.0.1", description="Bind address of the metrics; in a pod, 0.0.0.0."
    )
    metrics_linger: float = Field(
        5,
        ge=0,
        le=60,
        description="Longest wait in seconds, after the run, for a scrape of the final values.",
    )
    slo: Path = Field(Path(__file__).with_name("slo.yaml"), description="The objectives.")

    @model_validator(mode="after")
    def _whole_admin(self) -> Self:
        if (self.admin_email is None) != (self.admin_password is None):
            raise ValueError(f"{PREFIX}ADMIN_EMAIL and {PREFIX}ADMIN_PASSWORD: set both or none")
        return self


@lru_cache
def load_settings() -> LoadSettings:
    """Raises `BadSetup`."""
    for variable in os.environ:
        if (
            variable.startswith(PREFIX)
            and variable.removeprefix(PREFIX).lower() not in LoadSettings.model_fields
        ):
            raise BadSetup(f"{variable} is no setting of the load tests")
    try:
        return LoadSettings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = "_".join(map(str, first["loc"])).upper()
        reason = first["msg"].removeprefix("Value error, ")
        raise BadSetup(f"{PREFIX}{field}: {reason}" if field else reason) from None
