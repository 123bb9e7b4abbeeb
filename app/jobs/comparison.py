"""Compares a result with the value that is read back from its JSON."""

import json
import math
from collections import deque
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from decimal import Decimal

from pydantic import BaseModel, RootModel, Secret, SecretBytes, SecretStr
from pydantic_core import PydanticSerializationError, to_jsonable_python

Path = tuple[str | int, ...]

# Types without parts, which most of a large result consists of.
PLAIN = (str, int, float, type(None))


def bare(value: object) -> object:
    """The value that a `RootModel` stands for."""
    return bare(value.root) if isinstance(value, RootModel) else value


def parts(value: object, *, computed: bool = False) -> dict[str | int, object] | None:
    """The parts of a value in the order of its JSON, or None if it has no parts.

    With `computed`, a model's computed fields follow its own.
    """
    value = bare(value)
    if isinstance(value, BaseModel):
        declared = type(value).model_fields
        # An excluded field is not a part of the result.
        held: dict[str | int, object] = {
            name: part
            for name, part in value.__dict__.items()
            if name in declared and not declared[name].exclude
        }
        names = type(value).model_computed_fields if computed else ()
        held.update(value.__pydantic_extra__ or {})
        held.update((name, getattr(value, name)) for name in names)
        return held
    if is_dataclass(value) and not isinstance(value, type):
        declared = getattr(value, "__pydantic_fields__", {})
        return {
            field.name: getattr(value, field.name, None)
            for field in fields(value)
            if field.name not in declared or not declared[field.name].exclude
        }
    if isinstance(value, Mapping):
        return dict(value)
    return dict(enumerate(value)) if isinstance(value, (list, tuple, deque, AbstractSet)) else None


def one_shot(value: object, path: Path = ()) -> Path | None:
    """The path of an iterator, which is empty once its JSON has been written."""
    if isinstance(value, PLAIN):
        return None
    if isinstance(value, Iterator):
        return path
    for name, part in (parts(value) or {}).items():
        if (found := one_shot(part, (*path, name))) is not None:
            return found
    return None


def changed(value: object, read: object, path: Path = (), *, rounded: bool = True) -> Path | None:
    """The path at which the value that was read first differs from the value that was written.

    A serializer may round a number if `rounded`. A field of any type may hold a tuple, a model or a
    date: it is read as the JSON that they become.
    """
    value, read = bare(value), bare(read)
    if _equal(value, read) or (rounded and _is_rounded(value, read)):
        return None
    if isinstance(value, BaseModel) and isinstance(read, BaseModel):
        return _changed_part(value, read, path, rounded=rounded)
    if type(value) is not type(read) or isinstance(value, AbstractSet) or _rekeyed(value, read):
        # The JSON of any secret is the same asterisks.
        return _secret(value, path) if _same_json(value, read) else path
    if parts(value) is None:
        return path if _comparable(value, read) else None
    return _changed_part(value, read, path, rounded=rounded)


def _changed_part(value: object, read: object, path: Path, *, rounded: bool) -> Path | None:
    mine, others = parts(value) or {}, parts(read) or {}
    # A field that was never set (`model_construct`) has no value that could be lost.
    for name in mine if isinstance(read, BaseModel) else {**mine, **others}:
        if name not in others or name not in mine:
            return (*path, name)
        # A field that the JSON lacks was dropped, not rounded.
        kept = not isinstance(read, BaseModel) or name in read.model_fields_set
        inside = (*path, name)
        found = changed(mine[name], others[name], inside, rounded=rounded and kept)
        if found is not None:
            return found
    return None


def _rekeyed(value: object, read: object) -> bool:
    """Whether two mappings differ in their keys, which JSON makes strings."""
    return isinstance(value, Mapping) and isinstance(read, Mapping) and value.keys() != read.keys()


def _equal(value: object, read: object) -> bool:
    if isinstance(value, float) and isinstance(read, float) and math.isnan(value):
        return math.isnan(read)
    try:
        return bool(value == read)
    except Exception:  # a foreign type's, such as an array's
        return False


def _comparable(value: object, read: object) -> bool:
    """Whether two values that are not equal differ; a type may have no equality of its own."""
    try:
        return type(value).__eq__ is not object.__eq__ and bool(value != read)
    except Exception:
        return False


def _is_rounded(value: object, read: object) -> bool:
    """Whether `read` is the number `value`, rounded to the last digit of `read`."""
    numbers = (float, Decimal)
    if not (isinstance(value, numbers) and isinstance(read, numbers)):
        return False
    exact, last = Decimal(str(value)), Decimal(str(read)).normalize()
    if not (exact.is_finite() and last.is_finite()):
        return False
    exponent = last.as_tuple().exponent
    return isinstance(exponent, int) and abs(exact - last) * 2 <= Decimal(1).scaleb(exponent)


def _same_json(value: object, read: object) -> bool:
    try:
        mine, others = (to_jsonable_python(each, by_alias=False) for each in (value, read))
    except PydanticSerializationError:
        # A type that only the model's own serializer knows.
        return True
    if isinstance(value, AbstractSet) or isinstance(read, AbstractSet):
        mine, others = unordered(mine), unordered(others)
    return bool(mine == others)


def unordered(said: object) -> object:
    """JSON whose arrays are sorted, to compare sets."""
    if isinstance(said, dict):
        return {name: unordered(part) for name, part in said.items()}
    return sorted(map(unordered, said), key=json.dumps) if isinstance(said, list) else said


def _secret(value: object, path: Path) -> Path | None:
    if isinstance(value, (Secret, SecretStr, SecretBytes)):
        return path
    for name, part in (parts(value) or {}).items():
        if (found := _secret(part, (*path, name))) is not None:
            return found
    return None
