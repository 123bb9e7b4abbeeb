"""Each example of a request body, submitted: what "Try it out" begins with works."""

import json
from collections.abc import Callable, Iterator
from typing import Annotated, Any
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from pydantic import ConfigDict, Field
from starlette.types import ASGIApp

from app.api.deps import get_mailer
from app.api.references import referred
from app.core.config import Settings
from app.core.links import sign_link
from app.jobs import EXAMPLE_FILE, FileId, JobContext, JobKind, JobOptions, job_kind
from app.main import create_app
from app.services import newsletter
from tests.integration.api.conftest import connect
from tests.integration.api.test_openapi import operations
from tests.integration.newsletter.conftest import Outbox

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

FORM = "application/x-www-form-urlencoded"


@pytest.fixture(scope="session")
def built(settings: Settings) -> FastAPI:
    """With the kinds that are installed."""
    return create_app(settings)


def of_bodies(document: dict[str, Any]) -> Iterator[tuple[str, str, str, str, dict[str, Any]]]:
    """Operation, method, path, media type and the body's schema."""
    for method, path, operation in operations(document):
        for media_type, media in operation.get("requestBody", {}).get("content", {}).items():
            schema = media["schema"]
            if "$ref" in schema:
                name = schema["$ref"].rpartition("/")[2]
                schema = document["components"]["schemas"][name]
            yield operation["operationId"], method, path, media_type, schema


def replaced(example: Any, real: dict[str, str]) -> Any:
    """What only the reader can know: ids of files by their example, secrets in <> by name."""
    text = json.dumps(example).replace(EXAMPLE_FILE, real["file"])
    filled: dict[str, Any] = json.loads(text)
    for name, value in filled.items():
        if isinstance(value, str) and value.startswith("<"):
            filled[name] = real[name]
    return filled


async def test_the_example_of_every_body_is_accepted(
    app: FastAPI,
    served: ASGIApp,
    anonymous: AsyncClient,
    admin: AsyncClient,
    settings: Settings,
    sign_in: Callable[..., str],
    make_user: Callable[..., UUID],
    make_refresh_token: Callable[[UUID], str],
    make_reader: Callable[[str], UUID],
    subtests: pytest.Subtests,
) -> None:
    app.dependency_overrides[get_mailer] = Outbox
    wanted = [body for body in of_bodies(app.openapi()) if body[3] != "application/octet-stream"]
    # Log-in is as the account that registering makes.
    wanted.sort(key=lambda body: body[0] != "register")
    assert len(wanted) > 16
    for operation, method, path, media_type, schema in wanted:
        assert schema["examples"], operation
        for number, example in enumerate(schema["examples"]):
            user = make_user(f"{uuid4().hex}@example.com")
            async with connect(served, sign_in(user)) as owner:
                reader = make_reader(f"{uuid4().hex}@example.com")
                purpose = {"confirm": newsletter.CONFIRM, "unsubscribe": newsletter.UNSUBSCRIBE}
                item = await owner.post("/api/v1/items", json={"title": "a"})
                file = await owner.post("/api/v1/files", params={"name": "a"}, content=b"a")
                real = {
                    "file": file.json()["id"],
                    "refresh_token": make_refresh_token(user),
                    "token": sign_link(settings.auth, purpose.get(operation, ""), reader),
                }
                url = path.format(user_id=user, item_id=item.json()["id"])
                client = admin if "{user_id}" in path else owner
                body = replaced(example, real)
                sent = {"data": body} if media_type == FORM else {"json": body}
                response = await client.request(method.upper(), url, **sent)
            with subtests.test(f"{operation} {number}"):
                assert response.status_code < 300, response.text


async def test_an_upload_with_the_example_of_its_name_is_accepted(
    app: FastAPI, client: AsyncClient
) -> None:
    parameters = app.openapi()["paths"]["/api/v1/files"]["post"]["parameters"]
    [name] = [one for one in parameters if one["required"]]
    assert name["name"] == "name"
    assert name["examples"]
    for example in name["examples"].values():
        params = {"name": example["value"]}
        response = await client.post("/api/v1/files", params=params, content=b"a")
        assert response.status_code == 201, response.text


def test_every_value_that_the_reader_replaces_says_where_it_comes_from(app: FastAPI) -> None:
    described = 0
    document = app.openapi()
    schemas = document["components"]["schemas"]
    for name in referred([schema for *_, schema in of_bodies(document)], schemas):
        for field in schemas[name].get("properties", {}).values():
            if EXAMPLE_FILE in field.get("examples", []):
                assert "upload it first" in field["description"]
                described += 1
    assert described >= 3
    assert "log-in" in schemas["RefreshRequest"]["properties"]["refresh_token"]["description"]
    assert "mail" in schemas["LinkToken"]["properties"]["token"]["description"]


# --- kinds of others ------------------------------------------------------------------------------


class Whole(JobOptions):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"words": "one two"}, {"words": "one"}]}
    )

    words: Annotated[str, Field(examples=["three"])]


class Fields(JobOptions):
    source: FileId
    words: Annotated[str, Field(examples=["one two", "one"])]
    times: int = 1


class Unsaid(JobOptions):
    source: FileId
    words: str


class Nothing(JobOptions):
    times: int = 1


def kind(spec: type[JobOptions]) -> JobKind[Any, Any]:
    def run(spec: JobOptions, job: JobContext) -> Nothing:
        return Nothing()

    run.__annotations__["spec"] = spec
    return job_kind("word.count", pool="cpu", timeout=1)(run)


@pytest.mark.parametrize(
    ("spec", "examples"),
    [
        (Whole, [{"words": "one two"}, {"words": "one"}]),
        (Fields, [{"source": EXAMPLE_FILE, "words": "one two"}]),
        (Unsaid, []),
        (Nothing, [{}]),
    ],
)
def test_a_kinds_examples_are_its_models_or_its_fields(
    spec: type[JobOptions], examples: list[object]
) -> None:
    assert kind(spec).examples == examples
