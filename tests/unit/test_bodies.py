"""Bodies are taken as the document has them: Pydantic alone would read much more into JSON."""

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

import app.schemas
from app.core.pagination import Filters
from app.schemas.auth import LoginForm
from app.schemas.job import JobWatch

# What a query or a form has is text, whatever it stands for.
NOT_JSON = (Filters, LoginForm)

MISTAKEN = {"boolean": [0, 1, "false", "yes", 0.0], "integer": ["1", True, 1.5]}


def bodies() -> Iterator[type[BaseModel]]:
    for module in pkgutil.iter_modules(app.schemas.__path__, "app.schemas."):
        for found in vars(import_module(module.name)).values():
            if (
                isinstance(found, type)
                and issubclass(found, BaseModel)
                and found.__module__ == module.name
                and found.model_config.get("extra") == "forbid"
                and not issubclass(found, NOT_JSON)
            ):
                yield found


def types(schema: dict[str, Any]) -> set[str]:
    return {each["type"] for each in [schema, *schema.get("anyOf", [])] if "type" in each}


CASES = [
    (model, name, value)
    for model in bodies()
    for name, schema in model.model_json_schema()["properties"].items()
    for kind in types(schema)
    for value in MISTAKEN.get(kind, [])
]


def test_there_are_some() -> None:
    assert {(model.__name__, name) for model, name, _ in CASES} >= {
        ("UserAdministration", "is_admin"),
        ("JobSubmission", "priority"),
        ("ApiKeyCreate", "expires_in"),
    }


@pytest.mark.parametrize(("model", "name", "value"), CASES)
def test_what_the_document_does_not_allow_is_refused(
    model: type[BaseModel], name: str, value: object
) -> None:
    with pytest.raises(ValidationError) as refused:
        model.model_validate({name: value})
    assert name in {error["loc"][0] for error in refused.value.errors()}


def test_what_json_schema_calls_an_integer_is_one() -> None:
    assert JobWatch.model_validate({"after": 3.0}).after == 3
