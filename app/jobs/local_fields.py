"""Finds the fields of a result whose type depends on where or when the result is read."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.types import PathType

_PATH_CHECKS = (
    PathType.validate_file,
    PathType.validate_directory,
    PathType.validate_new,
    PathType.validate_socket,
)

# Values of the model's author, and how it is written.
_NO_SCHEMAS = ("default", "metadata", "serialization", "config")


@cache
def local_fields(model: type[BaseModel]) -> tuple[tuple[str, str], ...]:
    """The names of such fields, each with what is wrong with it."""
    return tuple(_found(model.__pydantic_core_schema__, "the result"))


def _found(schema: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(schema, list | tuple):
        for part in schema:
            yield from _found(part, name)
    if not isinstance(schema, dict):
        return
    if schema.get("now_op") in ("past", "future"):
        yield name, f"a {schema['type']} that must be {schema['now_op']} is not so for every reader"
    check = schema.get("function")
    if isinstance(check, dict) and check.get("function") in _PATH_CHECKS:
        yield name, "a path that is checked can be read only on this worker: declare it as a Path"
    for key, part in schema.items():
        if key == "fields" and isinstance(part, dict):
            for field, inside in part.items():
                yield from _found(inside, field)
        elif key not in _NO_SCHEMAS:
            inner = schema.get("name") if schema.get("type") == "dataclass-field" else None
            yield from _found(part, inner or name)
