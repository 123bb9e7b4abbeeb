"""References between the parts of an OpenAPI document."""

from collections.abc import Iterator, Mapping
from typing import Any

PREFIX = "#/components/schemas/"


def referred(node: object, schemas: Mapping[str, Any]) -> set[str]:
    """The names of all schemas that `node` refers to, directly or by way of another."""
    found: set[str] = set()
    left = [node]
    while left:
        for name in _names(left.pop()):
            if name not in found:
                found.add(name)
                left.append(schemas[name])
    return found


def _names(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        reference = node.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix(PREFIX)
        for part in node.values():
            yield from _names(part)
    elif isinstance(node, list):
        for part in node:
            yield from _names(part)
