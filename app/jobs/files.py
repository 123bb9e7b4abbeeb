"""References to files inside a job's specification and result."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

# The file id in examples of specifications: a placeholder for one of the reader's files.
EXAMPLE_FILE = "3fa85f64-5717-4562-b3fc-2c963f66afa6"


class FileId(UUID):
    """The id of one of the owner's files.

    A specification that holds one is accepted only if the file is the submitter's own and ready,
    and keeps it from being deleted until the job has finished.
    """

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            lambda value: cls(int=value.int), core_schema.uuid_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {
            "type": "string",
            "format": "uuid",
            "description": "The `id` of one of your files: upload it first (`POST /api/v1/files`).",
            "examples": [EXAMPLE_FILE],
        }


def references(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str, FileId]]:
    """Every file that a specification names, each with its field's path (`source`, `pages.2`)."""
    if isinstance(value, FileId):
        yield ".".join(map(str, path)), value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from references(getattr(value, name), (*path, name))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from references(item, (*path, key))
    elif isinstance(value, (list, tuple, set, frozenset)):
        for index, item in enumerate(value):
            yield from references(item, (*path, index))
