"""The OpenAPI document: FastAPI's, with the problems that every operation may answer with."""

from collections.abc import Container
from itertools import chain, count
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from typing_extensions import override

from app.api.bodies import EXTENSION, too_large
from app.api.defaults import describe_defaults
from app.api.enum_names import name_enum_values
from app.api.problems import (
    MEDIA_TYPE,
    BadRequest,
    InternalError,
    RequestTimeout,
    RequestTooLarge,
)
from app.api.references import PREFIX, rename
from app.core.errors import (
    DomainError,
    InvalidInput,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)
from app.schemas.job import JobEvent
from app.schemas.problem import Problem

Responses = dict[int | str, dict[str, Any]]

REFERENCES = PREFIX + "{model}"
ANYWHERE: tuple[type[DomainError], ...] = (InvalidInput, InternalError, Unavailable)


def problems(*errors: type[DomainError]) -> Responses:
    """What an operation may answer besides what all do: for `responses=`."""
    found: Responses = {}
    for error in errors:
        line = f"`{error.type}`: {error.title}."
        earlier = found.get(error.status)
        found[error.status] = {
            "description": line if earlier is None else f"{earlier['description']} {line}",
            "content": {MEDIA_TYPE: {"schema": {"$ref": REFERENCES.format(model="Problem")}}},
        }
    return found


class Application(FastAPI):
    """`max_upload` is the limit of a file's body, which is a setting."""

    def __init__(self, *, max_upload: int, **options: Any) -> None:
        self.max_upload = max_upload
        super().__init__(**options)

    @override
    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = _document(self)
        return self.openapi_schema


def _document(app: Application) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    # FastAPI looks for no models in problems, nor in the words about a stream.
    for model in (Problem, JobEvent):
        schema = model.model_json_schema(ref_template=REFERENCES, mode="serialization")
        _add_schemas(document, schema.pop("$defs") | {model.__name__: schema})
    schemas = document["components"]["schemas"]
    for path in document["paths"].values():
        for operation in path.values():
            _add_problems(operation)
            if "requestBody" in operation:
                _say_limit(operation, app.max_upload)
            _describe_streams_as_text(operation["responses"])
    # FastAPI's own form of a 422, which nobody gets here.
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    name_enum_values(document)
    describe_defaults(document)
    return document


def _add_schemas(document: dict[str, Any], added: dict[str, Any]) -> None:
    """Under their names: a schema of a kind's that has such a name gets another one."""
    schemas = document["components"]["schemas"]
    rename(
        document,
        {
            name: _free_name(f"Kind{name}", schemas)
            for name, schema in added.items()
            if schemas.get(name, schema) != schema
        },
    )
    document["components"]["schemas"] |= added


def _free_name(name: str, taken: Container[str]) -> str:
    numbered = (f"{name}{number}" for number in count(2))
    return next(one for one in chain([name], numbered) if one not in taken)


def _add_problems(operation: dict[str, Any]) -> None:
    common = [*ANYWHERE]
    if "security" in operation:
        common.append(Unauthorized)
    if "requestBody" in operation:
        common.append(RequestTimeout)
        if "413" not in operation["responses"]:
            # FastAPI has a 422 for broken JSON, and a 400 for what is not even text.
            common += (BadRequest, RequestTooLarge, UnsupportedMediaType)
    everywhere = problems(*common)
    for status, response in everywhere.items():
        responses = operation["responses"]
        declared = responses.get(str(status))
        if declared is None or MEDIA_TYPE not in declared["content"]:
            responses[str(status)] = response
        elif response["description"] not in declared["description"]:
            declared["description"] += " " + response["description"]
    operation["responses"] = dict(sorted(operation["responses"].items()))


def _say_limit(operation: dict[str, Any], max_upload: int) -> None:
    """Add the body's limit. Routes of JSON and forms name theirs; any other body is a file."""
    limit = operation.setdefault(EXTENSION, max_upload)
    operation["responses"]["413"]["description"] += f" {too_large(limit).capitalize()}."


def _describe_streams_as_text(responses: dict[str, Any]) -> None:
    """Take out `itemSchema`, which FastAPI gives each stream.

    It is OpenAPI 3.2's; in a document of 3.1 openapi-generator refuses it. What reads 3.1 takes a
    stream for the text that it is as a whole.
    """
    for response in responses.values():
        for media in response.get("content", {}).values():
            if media.pop("itemSchema", None) is not None:
                media.setdefault("schema", {"type": "string"})
