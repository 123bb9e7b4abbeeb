"""The whole contract, walked: what an operation takes, returns, refuses and documents."""

import json
import re
from collections.abc import Iterator
from enum import StrEnum, auto
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient

from app.api.references import referred
from app.core.config import Settings
from app.jobs import JobContext, JobOptions, KindRegistry, job_kind, load_kinds
from app.main import create_app
from tests.integration.api.kinds import KINDS, Counted, count

pytestmark = pytest.mark.anyio

JSON = "application/json"
PROBLEM = "application/problem+json"
# Takes a schema's own words.
SCHEMA = "/api/v1/jobs/kinds/{kind}/schema"

# They say something to people, and allow or forbid nothing.
NOTES = {"title", "description", "default", "examples"}

Operation = tuple[str, str, dict[str, Any]]


def operations(document: dict[str, Any]) -> Iterator[Operation]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


@pytest.fixture(scope="module", params=[KINDS, None], ids=["test kinds", "installed kinds"])
def document(request: pytest.FixtureRequest, settings: Settings) -> dict[str, Any]:
    kinds: KindRegistry = request.param or load_kinds()
    return create_app(settings, kinds).openapi()


def parts(schema: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """The schemas that a schema is made of."""
    for keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for index, part in enumerate(schema.get(keyword, [])):
            yield f"{keyword}.{index}", part
    for keyword in ("properties", "$defs", "patternProperties"):
        yield from schema.get(keyword, {}).items()
    for keyword in ("items", "additionalProperties"):
        if keyword in schema and schema[keyword] is not False:
            yield keyword, schema[keyword]


def free_forms(schema: object, path: str = "") -> Iterator[str]:
    """Where a schema takes anything at all."""
    if not isinstance(schema, dict) or not schema.keys() - NOTES:
        yield path
        return
    closed = {"properties", "patternProperties", "additionalProperties"} & schema.keys()
    listed = {"items", "prefixItems"} & schema.keys()
    if (schema.get("type") == "object" and not closed) or (
        schema.get("type") == "array" and not listed
    ):
        yield path
    for name, part in parts(schema):
        yield from free_forms(part, f"{path}.{name}")


def test_nothing_that_crosses_http_is_free_form(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert [path for name in schemas for path in free_forms(schemas[name], name)] == []
    named = 0
    for method, path, operation in operations(document):
        content = [operation["requestBody"]["content"]] if "requestBody" in operation else []
        content += [response.get("content", {}) for response in operation["responses"].values()]
        for media_type, media in (item for types in content for item in types.items()):
            where = f"{method} {path} {media_type}"
            if path == SCHEMA and media_type == "application/schema+json":
                continue
            if media_type in ("application/octet-stream", "*/*"):
                assert media["schema"] == {"type": "string", "format": "binary"}, where
            elif media_type == "text/event-stream":
                # 3.1 has no word for a stream's items: the whole is text, and people are told.
                assert media == {"schema": {"type": "string"}}, where
                model = re.search(r"`data` a `(\w+)`", operation["responses"]["200"]["description"])
                assert model is not None, where
                assert model[1] in schemas, where
            else:
                assert is_named(media["schema"], schemas), f"{where}: {media['schema']}"
                named += 1
    assert named > 50


def is_named(schema: dict[str, Any], schemas: dict[str, Any]) -> bool:
    """A model, or a union of models that says by which field it is told apart."""
    if "oneOf" in schema:
        return "discriminator" in schema and all(is_named(one, schemas) for one in schema["oneOf"])
    reference: str = schema.get("$ref", "")
    return reference.removeprefix("#/components/schemas/") in schemas


def test_the_walk_finds_what_is_free_form() -> None:
    for schema in (
        {},
        {"title": "Anything", "default": None},
        {"type": "object"},
        {"type": "object", "additionalProperties": True},
        {"type": "array"},
        {"type": "array", "items": {}},
        {"type": "object", "properties": {"a": {"anyOf": [{"type": "null"}, {}]}}},
        {"type": "object", "additionalProperties": {"type": "object"}},
    ):
        assert list(free_forms(schema)) != [], schema
    for schema in (
        {"type": "object", "properties": {"a": {"type": "string"}}},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"type": "array", "items": {"$ref": "#/components/schemas/X"}},
    ):
        assert list(free_forms(schema)) == [], schema


def test_every_operation_documents_its_problems(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        where = f"{method} {path}"
        responses = operation["responses"]
        assert "security" in operation or path in PUBLIC, where
        wanted = {"422", "500", "503"}
        wanted |= {"401"} if "security" in operation else set()
        wanted |= {"404"} if "{" in path else set()
        wanted |= {"400", "413"} if "requestBody" in operation else set()
        assert wanted <= responses.keys(), where
        for status, response in responses.items():
            if int(status) >= 400:
                assert response["content"].keys() == {PROBLEM}, f"{where} {status}"
                assert "`" in response["description"], f"{where} {status}"
    assert "HTTPValidationError" not in document["components"]["schemas"]


PUBLIC = {
    "/livez",
    "/readyz",
    "/startupz",
    "/api/v1/auth/login",
    "/api/v1/auth/refresh",
    "/api/v1/auth/logout",
    "/api/v1/users",
    "/api/v1/newsletter/subscriptions",
    "/api/v1/newsletter/confirm",
    "/api/v1/newsletter/unsubscribe",
}


def test_every_operation_says_what_it_does(document: dict[str, Any]) -> None:
    # They name a generated client's functions: `submit_image_transform`, `list_jobs`.
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    assert [name for name in ids if not re.fullmatch(r"[a-z]+(_[a-z]+){0,3}", name)] == []
    for method, path, operation in operations(document):
        assert operation["summary"], f"{method} {path}"
        assert operation["tags"], f"{method} {path}"


def test_a_kind_has_an_operation_typed_as_it_is(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    kinds = [path for path in document["paths"] if path.startswith("/api/v1/jobs/") and "." in path]
    assert kinds
    union = document["paths"]["/api/v1/jobs/{job_id}/result"]["get"]["responses"]["200"]["content"]
    discriminator = union[JSON]["schema"]["discriminator"]
    assert discriminator["propertyName"] == "kind"
    assert sorted(discriminator["mapping"]) == sorted(path.rpartition("/")[2] for path in kinds)
    for path in kinds:
        operation = document["paths"][path]["post"]
        body = operation["requestBody"]["content"][JSON]["schema"]["$ref"].rpartition("/")[2]
        assert schemas[body]["additionalProperties"] is False
        assert schemas[body]["properties"].keys() == {"spec", "priority", "not_before"}
        specification = schemas[body]["properties"]["spec"]["$ref"].rpartition("/")[2]
        assert schemas[specification]["additionalProperties"] is False
        assert "Location" in operation["responses"]["202"]["headers"]


def test_a_download_may_be_of_any_type(document: dict[str, Any]) -> None:
    """It is sent as what it is; `application/octet-stream` is what a generated client looks for."""
    responses = document["paths"]["/api/v1/files/{file_id}/content"]["get"]["responses"]
    for status in ("200", "206"):
        assert list(responses[status]["content"]) == ["application/octet-stream", "*/*"]


def test_one_kind_needs_no_union(settings: Settings) -> None:
    document = create_app(settings, KindRegistry([count])).openapi()
    path = document["paths"]["/api/v1/jobs/{job_id}/result"]["get"]
    assert "$ref" in path["responses"]["200"]["content"][JSON]["schema"]
    assert create_app(settings, KindRegistry([])).openapi()["paths"]


class Problem(JobOptions):
    """Has a name of the API's own schemas, as do all models in it."""

    class FieldError(JobOptions):
        row: int

    class JobEvent(JobOptions):
        row: int

    class KindJobEvent(JobOptions):
        row: int

    class JobFailure(JobOptions):
        row: int

    class JobState(StrEnum):
        SOLVED = auto()

    class JobResponse(JobOptions):
        row: int

    errors: list[FieldError]
    events: list[JobEvent | KindJobEvent]
    failure: JobFailure
    state: JobState
    answer: JobResponse


@job_kind("problem.solve", pool="cpu", timeout=60)
def solve(spec: Problem, job: JobContext) -> Counted:
    """Solve a problem."""
    return Counted(total=len(spec.errors))


def test_a_kinds_model_takes_no_name_from_another(settings: Settings, built: FastAPI) -> None:
    document = create_app(settings, KindRegistry([solve])).openapi()
    schemas = document["components"]["schemas"]
    before = built.openapi()["components"]["schemas"]
    for name in ("Problem", "FieldError", "JobEvent"):
        assert schemas[name] == before[name]

    operation = document["paths"]["/api/v1/jobs/problem.solve"]["post"]
    submission = schemas[reference(operation["requestBody"]["content"][JSON]["schema"])]
    problem = schemas[reference(submission["properties"]["spec"])]
    assert problem["properties"].keys() == Problem.model_fields.keys()
    names = referred(problem, schemas)
    assert len(names) == 6
    for name in names:
        of_row = schemas[name].get("properties", {}).keys() == {"row"}
        assert of_row or schemas[name]["enum"] == ["solved"], name
    accepted = schemas[reference(operation["responses"]["202"]["content"][JSON]["schema"])]
    assert accepted["properties"].keys() == before["JobResponse"]["properties"].keys()


def reference(schema: dict[str, Any]) -> str:
    name: str = schema["$ref"].rpartition("/")[2]
    return name


def url(path: str) -> str:
    ids = {name: uuid4() for name in ("job_id", "file_id", "user_id", "api_key_id", "item_id")}
    return path.format(**ids, kind="word.count")


async def test_unknown_query_parameters_are_refused_everywhere(
    app: FastAPI, client: AsyncClient
) -> None:
    walked = 0
    for method, path, _ in operations(app.openapi()):
        params = {"unheard_of": "1"}
        response = await client.request(method.upper(), url(path), params=params)
        where = f"{method} {path}: {response.text}"
        assert response.status_code == 422, where
        fields = [error["field"] for error in response.json()["errors"]]
        assert fields == ["query.unheard_of"], where
        walked += 1
    assert walked > 15


def models(document: dict[str, Any]) -> Iterator[Operation]:
    for method, path, operation in operations(document):
        for media_type in operation.get("requestBody", {}).get("content", {}):
            if media_type != "application/octet-stream":
                yield method, path, {"media_type": media_type}


async def test_unknown_body_fields_are_refused_everywhere(app: FastAPI, admin: AsyncClient) -> None:
    walked = 0
    for method, path, body in models(app.openapi()):
        sent = (
            {"json": {"unheard_of": 1}}
            if body["media_type"] == JSON
            else {"data": {"unheard_of": "1"}}
        )
        response = await admin.request(method.upper(), url(path), **sent)
        assert response.status_code == 422, f"{method} {path}: {response.text}"
        fields = [error["field"] for error in response.json()["errors"]]
        assert "body.unheard_of" in fields, f"{method} {path}: {fields}"
        walked += 1
    assert walked == 16


def test_the_document_has_no_word_of_a_later_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert '"itemSchema"' not in json.dumps(document)


def test_request_bodies_have_their_defaults_in_words(document: dict[str, Any]) -> None:
    """openapi-typescript makes a field that has a `default` required."""
    schemas = document["components"]["schemas"]
    bodies = [operation.get("requestBody") for *_, operation in operations(document)]
    fields = [
        (f"{name}.{field}", schema)
        for name in referred(bodies, schemas)
        for field, schema in schemas[name].get("properties", {}).items()
    ]
    assert len(fields) > 20
    assert [name for name, schema in fields if "default" in schema] == []
    priority = next(schema for name, schema in fields if name.endswith("Submission.priority"))
    assert priority["description"].endswith("Default: `0`.")


async def test_the_document_and_its_pages_are_served(anonymous: AsyncClient) -> None:
    for path in ("/openapi.json", "/docs", "/redoc"):
        assert (await anonymous.get(path)).status_code == 200
