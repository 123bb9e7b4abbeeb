"""Serializes a job's result to JSON, and checks that the API can read it back.

Results are stored by field names, without computed fields, so that a model with any aliases can
read its own result.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from decimal import Decimal
from functools import cache
from inspect import iscoroutine, isgenerator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError, create_model

from app.core.masking import faults
from app.core.text import UNSTORABLE, text_of
from app.jobs.comparison import Path, bare, changed, one_shot, parts, unordered
from app.jobs.errors import JobError
from app.jobs.local_fields import local_fields

Model = TypeVar("Model", bound=BaseModel)

# Around a result in the API's answer.
BEFORE, AFTER = '{"output":', "}"

# PostgreSQL prints jsonb with a space after each comma and colon: `[1,1,1]` grows by half at most.
PRINTED = 1.5

# JSON without these has no number that became null, and no text that PostgreSQL refuses.
SUSPECT = re.compile(r"null|\\u0000")

# Characters of a serializer's error that are kept.
MAX_REASON = 500


def read_result(model: type[Model], text: str) -> Model:
    """Read a stored result. Raises `ValidationError`."""
    # By alias too, for results that were stored by hand or by a version that used aliases.
    return model.model_validate_json(text, by_name=True, by_alias=True)


def stored_result(model: type[BaseModel], value: object, *, limit: int) -> str:
    """Serialize the value that a kind's function returned, so that `read_result` reads the same.

    Raises `JobError` with `result-invalid` or, beyond `limit` bytes, `result-too-large`.
    """
    if not isinstance(value, model):
        raise _invalid(f"the function returned {_kind(value)} and declares {model.__name__}")
    for field, problem in local_fields(model):
        raise _invalid(f"{field}: {problem}")
    try:
        if (iterator := one_shot(value)) is not None:
            raise _invalid(f"{_name(iterator)}: an iterator is read only once: return a list")
        text = _dump(value)
        _check_size(len(text.encode()), limit)
        said, printed = _parse(text)
        # The API reads the result as PostgreSQL prints it.
        _check_size(printed, limit)
        if SUSPECT.search(text):
            _check_storable(value, said)
        _check_read(model, value, text, said, limit)
    except JobError:
        raise
    except ValidationError as error:
        raise _invalid(f"{model.__name__} does not read its own JSON: {faults(error)}") from error
    except Exception as error:
        # Raised by a serializer, or by Pydantic for a value that is not JSON.
        why = f"{type(error).__name__}: {text_of(error, MAX_REASON)}"
        raise _invalid(f"{model.__name__} does not become JSON: {why}") from error
    return text


def _check_read(
    model: type[BaseModel], value: BaseModel, text: str, said: object, limit: int
) -> None:
    """Read the result and write the answer as the API does."""
    answer = read_result(_answer(model), f"{BEFORE}{text}{AFTER}")
    read: BaseModel = answer.__dict__["output"]
    again = _dump(read)
    lost = None if again == text else _difference(said, json.loads(again), value)
    if lost is None:
        lost = changed(value, read)
    if lost is not None:
        raise _invalid(f"{_name(lost)}: lost or changed when {model.__name__} is read")
    shown = BaseModel.model_dump_json(answer, by_alias=True)
    # The API's answer has the same limit.
    _check_size(len(shown.encode()) - len(BEFORE + AFTER), limit)
    written = _parse(shown)[0]["output"]
    if SUSPECT.search(shown):
        _check_storable(read, written, computed=True)


@cache
def _answer(model: type[BaseModel]) -> type[BaseModel]:
    """As deep as the API's answer: Pydantic reads 200 levels of JSON."""
    return create_model("Answer", output=(model, ...))


# The API calls the base class's methods, even if a model overrides them, and so does this. A part
# of a subclass is written whole, so that a field which the declared type would drop is noticed.
def _dump(value: BaseModel) -> str:
    return BaseModel.model_dump_json(
        value, by_alias=False, round_trip=True, polymorphic_serialization=True, warnings=False
    )


def _invalid(detail: str) -> JobError:
    return JobError("result-invalid", detail)


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise JobError(
            "result-too-large",
            f"the result has {size} bytes of JSON, the limit is {limit}: store large data with "
            "job.output(), or raise HEAVYLIFT_JOBS_MAX_RESULT_BYTES",
        )


def _kind(value: object) -> str:
    if iscoroutine(value) or isgenerator(value):
        # It never runs: closing it avoids a warning.
        value.close()
        return f"a {type(value).__name__} (declare it with def, without async or yield)"
    return "None" if value is None else f"a {type(value).__name__}"


def _name(path: Path) -> str:
    return ".".join(map(str, path)) or "the result"


def _parse(text: str) -> tuple[Any, int]:
    """The parsed JSON, and its size in bytes once PostgreSQL has written its numbers out."""
    size = len(text.encode())

    def number(literal: str) -> float:
        nonlocal size
        # numeric has no exponent: 1e300 is 301 digits.
        size += len(f"{Decimal(literal):f}") - len(literal)
        return float(literal)

    def no_number(literal: str) -> float:
        raise ValueError(f"JSON has no {literal}")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            twice = [key for key, count in Counter(key for key, _ in items).items() if count > 1]
            raise ValueError(f"a key stands twice in one object: {', '.join(twice[:5])}")
        return found

    parsed = json.loads(text, parse_float=number, parse_constant=no_number, object_pairs_hook=pairs)
    return parsed, size


def _check_storable(held: object, said: object, *, computed: bool = False) -> None:
    for path, problem in _unstorable(held, said, computed=computed):
        raise _invalid(f"{_name(path)}: {problem}")


def _unstorable(
    held: object, said: object, path: Path = (), *, computed: bool = False
) -> Iterator[tuple[Path, str]]:
    """Yield numbers that became null, and text that PostgreSQL refuses."""
    held = bare(held)
    if isinstance(said, (dict, list)):
        inside = _aligned(parts(held, computed=computed), said)
        for key, part in said.items() if isinstance(said, dict) else enumerate(said):
            if isinstance(key, str) and UNSTORABLE.search(key):
                yield (*path, ascii(key)), "a key can't have the character U+0000"
            yield from _unstorable(inside[key], part, (*path, key), computed=computed)
    elif isinstance(said, str) and UNSTORABLE.search(said):
        yield path, "text can't have the character U+0000"
    elif said is None and isinstance(held, float) and not math.isfinite(held):
        yield path, f"JSON has no {held}: return None, where the model allows it"


def _aligned(
    held: Mapping[Any, object] | None, said: dict[str, Any] | list[Any]
) -> dict[Any, object]:
    """The parts of a value by the keys of its JSON, which may be aliases."""
    keys = said if isinstance(said, dict) else range(len(said))
    if held is not None and len(held) == len(said):
        return dict(zip(keys, held.values(), strict=True))
    return {key: (held or {}).get(key) for key in keys}


def _difference(said: object, read: object, held: object, path: Path = ()) -> Path | None:
    """The path at which two JSON values first differ; only the order of a set is ignored."""
    held = bare(held)
    if isinstance(held, AbstractSet):
        return None if unordered(said) == unordered(read) else path
    if isinstance(said, dict) and isinstance(read, dict):
        inside = _aligned(parts(held), said)
        for key in {**said, **read}:
            if key not in said or key not in read:
                return (*path, key)
            found = _difference(said[key], read[key], inside[key], (*path, key))
            if found is not None:
                return found
        return None
    if isinstance(said, list) and isinstance(read, list) and len(said) == len(read):
        inside = _aligned(parts(held), said)
        for index, (one, other) in enumerate(zip(said, read, strict=True)):
            found = _difference(one, other, inside[index], (*path, index))
            if found is not None:
                return found
        return None
    same = said == read and isinstance(said, bool) == isinstance(read, bool)
    return None if same else path
