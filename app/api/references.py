"""References between the parts of an OpenAPI document."""

from collections.abc import Iterator, Mapping, MutableMapping
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


def rename(document: dict[str, Any], names: Mapping[str, str]) -> None:
    """Rename schemas. The new names must not exist in the document yet."""
    schemas = document["components"]["schemas"]
    document["components"]["schemas"] = {
        names.get(name, name): schema for name, schema in schemas.items()
    }
    _replace(document, {PREFIX + old: PREFIX + new for old, new in names.items()})


def _replace(node: object, references: Mapping[str, str]) -> None:
    """Replace references in `$ref` and in the `mapping` of a discriminator."""
    if not isinstance(node, dict | list):
        return
    parts: MutableMapping[Any, Any] | list[Any] = node
    for key, part in parts.items() if isinstance(parts, dict) else enumerate(parts):
        if isinstance(part, str):
            parts[key] = references.get(part, part)
        else:
            _replace(part, references)


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
