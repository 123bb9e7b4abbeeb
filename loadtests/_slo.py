"""The objectives of a run, out of a small YAML file."""

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    ValidationError,
)

from loadtests._mix import MIX
from loadtests._settings import BadSetup


class Objectives(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ScenarioObjectives(Objectives):
    p95_ms: PositiveFloat
    error_rate: Annotated[float, Field(ge=0, lt=1)]


class JobObjectives(Objectives):
    finished_p95_ms: PositiveFloat
    queue_wait_p95_ms: PositiveFloat


def _scenario(name: str) -> str:
    if name not in MIX:
        raise ValueError(f"there is no such scenario, only {', '.join(MIX)}")
    return name


def _all_of_them(scenarios: dict[str, ScenarioObjectives]) -> dict[str, ScenarioObjectives]:
    # One that is held to nothing would pass whatever it met.
    if missing := [name for name in MIX if name not in scenarios]:
        raise ValueError(f"nothing for {', '.join(missing)}")
    return scenarios


class Slo(Objectives):
    scenarios: Annotated[
        dict[Annotated[str, AfterValidator(_scenario)], ScenarioObjectives],
        AfterValidator(_all_of_them),
    ]
    jobs: JobObjectives


def load_slo(path: Path) -> Slo:
    """Raises `BadSetup`."""
    try:
        content = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise BadSetup(f"{path}: {error.strerror}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise BadSetup(f"{path}: line {line}: {error.problem}") from None
    except (yaml.YAMLError, UnicodeError):
        raise BadSetup(f"{path}: not YAML") from None
    try:
        return Slo.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"] if part != "[key]")
        reason = first["msg"].removeprefix("Value error, ")
        raise BadSetup(f"{path}: {field}{': ' if field else ''}{reason}") from None
