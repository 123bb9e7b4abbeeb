"""A specification as it is stored: what the client said, and what was made up for this one job."""

from typing import Any

from pydantic import BaseModel, RootModel
from pydantic.fields import FieldInfo


def as_submitted(spec: BaseModel) -> str:
    """JSON that a worker reads as `spec`, without the defaults.

    Fields that nobody set are left to whoever runs the job: workers of the version before this one
    refuse a field that they do not know, and run what does not name it. So that every attempt runs
    the same, what a `default_factory` made (a seed, a time) is kept, but for that of a container or
    a model.
    """
    return spec.model_dump_json(by_alias=True, round_trip=True, exclude=_defaults(spec))


def _parts(value: object) -> dict[Any, object]:
    if isinstance(value, BaseModel):
        return {name: getattr(value, name) for name in type(value).model_fields}
    if isinstance(value, dict):
        return value
    # A set's have no place that could be named: they are stored whole.
    return dict(enumerate(value)) if isinstance(value, (list, tuple)) else {}


def _unset(value: object) -> dict[Any, FieldInfo]:
    if not isinstance(value, BaseModel):
        return {}
    fields = type(value).model_fields
    return {name: field for name, field in fields.items() if name not in value.model_fields_set}


def _made_up(field: FieldInfo) -> bool:
    factory = field.default_factory
    if isinstance(factory, type):
        return not issubclass(factory, (list, dict, set, frozenset, tuple, BaseModel))
    return factory is not None


def _has_made_up(value: object) -> bool:
    return any(map(_made_up, _unset(value).values())) or any(
        map(_has_made_up, _parts(value).values())
    )


def _defaults(value: object) -> dict[Any, Any]:
    """What to leave out, as Pydantic's `exclude` names it."""
    if isinstance(value, RootModel):
        return _defaults(value.root)
    unset = _unset(value)
    left_out: dict[Any, Any] = {}
    for name, part in _parts(value).items():
        if name in unset and not _made_up(unset[name]) and not _has_made_up(part):
            left_out[name] = True
        elif inside := _defaults(part):
            left_out[name] = inside
    return left_out
