"""Names the values of enums, so that generated clients have valid identifiers for them."""

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

# openapi-generator, openapi-typescript-codegen, hey-api and openapi-python-client read it.
KEYWORD = "x-enum-varnames"

# Values that every generator turns into an identifier by itself.
WORDS = re.compile(r"[A-Za-z][A-Za-z0-9]*([_.-][A-Za-z0-9]+)*")

# Unicode has no names for controls.
CONTROLS = {"\t": "TAB", "\n": "LINE FEED", "\r": "CARRIAGE RETURN"}


def name_enum_values(schema: object) -> None:
    """Name the values of each text enum, at any depth, whose values are not usable identifiers.

    Names that the schema already has are kept.
    """
    for enum in _text_enums(schema):
        values: list[str] = enum["enum"]
        if not _make_identifiers(values):
            enum.setdefault(KEYWORD, _unique(map(_name, values)))


def _text_enums(node: object) -> Iterator[dict[str, Any]]:
    if isinstance(node, list):
        for part in node:
            yield from _text_enums(part)
    elif isinstance(node, dict):
        values = node.get("enum")
        if isinstance(values, list) and all(isinstance(value, str) for value in values):
            yield node
        for part in node.values():
            yield from _text_enums(part)


def _make_identifiers(values: list[str]) -> bool:
    """Whether the values stay distinct as identifiers, without punctuation and in any case."""
    bare = {re.sub("[_.-]", "", value).casefold() for value in values}
    return len(bare) == len(values) and all(map(WORDS.fullmatch, values))


def _name(value: str) -> str:
    """`LESS_THAN_SIGN_EQUALS_SIGN` for `<=`, `VALUE_1ST` for `1st`."""
    spelt = "".join(map(_spell, value))
    name = re.sub(r"\W+", "_", spelt.strip(), flags=re.ASCII).strip("_").upper()
    if not value:
        return "EMPTY"
    return name if name[:1].isalpha() else f"VALUE_{name}".rstrip("_")


def _spell(character: str) -> str:
    if re.fullmatch(r"\w", character, re.ASCII):
        return character
    fallback = f"U{ord(character):04X}"
    return f" {CONTROLS.get(character) or unicodedata.name(character, fallback)} "


def _unique(names: Iterator[str]) -> list[str]:
    unique: list[str] = []
    for name in names:
        number, candidate = 1, name
        while candidate in unique:
            number += 1
            candidate = f"{name}_{number}"
        unique.append(candidate)
    return unique
