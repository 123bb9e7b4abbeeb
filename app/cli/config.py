import json
import os
import re
from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

import typer
from pydantic import BaseModel, SecretStr

from app.core.config import PREFIX, load_settings, variables

MASK = "***"

# In a URL's query: what libpq, redis and object stores call their secrets.
SECRET_PARAMETER = re.compile(r"pass|secret|token|key|credential|signature|sas", re.IGNORECASE)


class Setting(BaseModel):
    variable: str
    value: str | None
    source: Literal["default", "environment", "file"]
    description: str


def masked(value: str) -> str:
    """A URL without its secrets, so that host and user still show; of all else, nothing."""
    try:
        url = urlsplit(value)
        if not url.scheme or "://" not in value:
            return MASK
        user, has_password, _ = url.netloc.rpartition("@")[0].partition(":")
        place = url.netloc.rpartition("@")[2]
        if has_password:
            place = f"{user}:{MASK}@{place}"
        elif user:
            place = f"{user}@{place}"
        query = [
            (name, MASK if SECRET_PARAMETER.search(name) else text)
            for name, text in parse_qsl(url.query, keep_blank_values=True)
        ]
        # Not urlunsplit: it drops the slashes of an empty place, as sockets' URLs have it.
        shown_query = f"?{urlencode(query, safe='*/:')}" if query else ""
        return f"{url.scheme}://{place}{url.path}{shown_query}"
    except ValueError:
        return MASK


def shown(value: object) -> str | None:
    match value:
        case None:
            return None
        case SecretStr():
            return masked(value.get_secret_value())
        case tuple():
            return ",".join(map(str, value))
        case str() if "://" in value:
            return masked(value)
        case _:
            return str(value)


def resolved() -> list[Setting]:
    settings = load_settings()
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
                    "value": shown(getattr(value, name) if name else value),
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
