import json
import os
from typing import Annotated, Literal

import typer
from pydantic import BaseModel, SecretStr

from app.core.config import PREFIX, load_settings, variables
from app.core.masking import MASK, masked


class Setting(BaseModel):
    variable: str
    value: str | None
    source: Literal["default", "environment", "file"]
    description: str


def shown(variable: str, value: object) -> str | None:
    match value:
        case None:
            return None
        case SecretStr() if variable.endswith("_URL"):
            return masked(value.get_secret_value())
        case SecretStr():
            return MASK
        case tuple():
            return ",".join(map(str, value))
        case str() if "://" in value:
            return masked(value)
        case _:
            return str(value)


def resolved() -> list[Setting]:
    settings = load_settings(used=())
    found = []
    for variable, description in variables().items():
        group, _, name = variable.removeprefix(PREFIX).lower().partition("_")
        value = getattr(settings, group)
        if variable in os.environ:
            source = "environment"
        else:
            source = "file" if f"{variable}_FILE" in os.environ else "default"
        found.append(
            Setting.model_validate(
                {
                    "variable": variable,
                    "value": shown(variable, getattr(value, name) if name else value),
                    "source": source,
                    "description": description,
                }
            )
        )
    return sorted(found, key=lambda setting: setting.variable)


def config(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Print the resolved settings, secrets masked."""
    settings = resolved()
    if as_json:
        typer.echo(json.dumps([setting.model_dump() for setting in settings], indent=2))
        return
    lines = [f"{setting.variable}={setting.value or ''}" for setting in settings]
    width = min(max(map(len, lines)), 72)
    for line, setting in zip(lines, settings, strict=True):
        typer.echo(f"{line:<{width}}  # {setting.source}. {setting.description}".rstrip())
