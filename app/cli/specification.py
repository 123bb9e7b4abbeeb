"""A job's specification, as it comes from the command line."""

import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue, TypeAdapter, ValidationError

from app.client import ClientError
from app.client.answers import JsonObject

# Names in a path: Pydantic neither checks nor writes more than 255 levels.
DEEPEST = 100

OBJECT: TypeAdapter[JsonObject] = TypeAdapter(JsonObject)
VALUE: TypeAdapter[JsonValue] = TypeAdapter(JsonValue)


def read_specification(given: str | None, settings: Sequence[str]) -> JsonObject:
    """`@file`, `-` for standard input, or JSON itself; then each `key=value` put into it.

    Raises `ClientError`.
    """
    spec: JsonObject = {} if given is None else _parsed(_text(given))
    for setting in settings:
        path, text = split(setting, "--set")
        put(spec, path, _value(text))
    try:
        return OBJECT.validate_python(spec)
    except ValidationError:
        raise ClientError("the specification is nested too deeply to be sent") from None


def split(setting: str, option: str) -> tuple[str, str]:
    path, equals, text = setting.partition("=")
    if not (path and equals):
        raise ClientError(f"{option} {setting}: write it as field=value")
    return path, text


def _text(given: str) -> str:
    if given == "-":
        try:
            return "" if sys.stdin is None else sys.stdin.read()
        except UnicodeDecodeError:
            raise ClientError("--spec: standard input is not UTF-8") from None
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text()
    except OSError as error:
        raise ClientError(f"can't read {given[1:]}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ClientError(f"{given[1:]} is not text") from None


def _parsed(text: str) -> JsonObject:
    try:
        return OBJECT.validate_json(text)
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise ClientError(f"the specification is no JSON object: {reason}") from None


def _value(text: str) -> JsonValue:
    """What reads as JSON is that; anything else is text, and so is `"5"` in quotes of its own."""
    try:
        return VALUE.validate_json(text)
    except ValidationError:
        return text


def _is_place(name: str, count: int) -> bool:
    # A longer number is larger as well, and Python reads no more than 4300 digits.
    return name.isdecimal() and len(name) <= 9 and int(name) <= count


def put(spec: JsonObject, path: str, value: JsonValue) -> None:
    """Put a value at `renditions.0.width`, making what is on the way there.

    Raises `ClientError`.
    """
    names = path.split(".")
    if len(names) > DEEPEST:
        raise ClientError(f"{names[0]}.…: a path has at most {DEEPEST} names")
    place: JsonValue = spec
    for depth, name in enumerate(names):
        last = depth == len(names) - 1
        below: JsonValue = value if last else [] if names[depth + 1].isdecimal() else {}
        if isinstance(place, dict):
            if last:
                place[name] = below
            place = place.setdefault(name, below)
        elif isinstance(place, list) and _is_place(name, len(place)):
            position = int(name)
            if position == len(place):
                place.append(below)
            elif last:
                place[position] = below
            place = place[position]
        else:
            raise ClientError(f"{path}: there is no {name} in {'.'.join(names[:depth])}")
