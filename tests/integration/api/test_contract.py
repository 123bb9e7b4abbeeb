"""The document, held against the answers to some thousand generated requests."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
import schemathesis
from anyio.from_thread import start_blocking_portal
from requests import Session
from requests.structures import CaseInsensitiveDict
from schemathesis import BaseSchema, Case
from schemathesis.checks import not_a_server_error
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.core.result import Ok
from schemathesis.pytest.lazy import get_all_tests
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy import Engine

from app.core.config import Settings
from app.core.links import sign_link
from app.main import create_app
from app.services import ledger, newsletter
from tests.integration.api.conftest import PASSWORD
from tests.integration.api.test_openapi import PROBLEM
from tests.integration.listening import listening
from tests.ledger_view import KEEP

pytestmark = pytest.mark.slow

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

EVENT = {
    "required": ["data", "event", "id"],
    "properties": {
        "data": {
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/JobEvent"},
        },
        "event": {"const": "job"},
    },
}

# Besides what schemathesis tries of every parameter and field: its bounds, and what is beyond them.
RANDOM_CASES = 20

KIND = "text.extract"
FILE = str(UUID(int=1))
EXTRACTED = {
    "width": 1,
    "height": 1,
    "line_count": 0,
    "lines": [],
    "text": FILE,
    "details": FILE,
}

# After a success of theirs, something is gone: a session, a user, what a path named.
CONSUMING = {
    "refresh",
    "logout",
    "delete_me",
    "update_me",
    "change_password",
    "administrate_user",
    "delete_api_key",
    "delete_item",
    "delete_file",
    "unsubscribe",
}


@pytest.fixture
def contract(settings: Settings) -> BaseSchema:
    """Of the installed kinds. What it generates is the same each time, and kept nowhere."""
    generation = GenerationConfig(
        deterministic=True,
        database="none",
        max_examples=RANDOM_CASES,
        # They are the test's own.
        with_security_parameters=False,
    )
    project = ProjectConfig(generation=generation, request_timeout=30)
    config = SchemathesisConfig(projects=ProjectsConfig(default=project))
    document = create_app(settings).openapi()
    # In 3.1 a stream is text; schemathesis reads the events in it, and knows 3.2's word for them.
    stream = document["paths"]["/api/v1/jobs/{job_id}/events"]["get"]["responses"]["200"]
    media = stream["content"]["text/event-stream"]
    assert media.pop("schema") == {"type": "string"}
    media["itemSchema"] = EVENT
    return schemathesis.openapi.from_dict(document, config=config)


@pytest.fixture
def http() -> Iterator[Session]:
    with Session() as session:
        yield session


@pytest.fixture
def address(settings: Settings, clean: None) -> Iterator[str]:
    """Of a server whose loop has a thread of its own: schemathesis blocks this one."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(listening(create_app(settings))) as server,
    ):
        yield f"http://{server.host}:{server.port}"


@dataclass(frozen=True, slots=True)
class World:
    """Headers of a user who has one of everything, and of an admin; and what is there.

    That is by the names that paths, headers and bodies have for it, links by their operations.
    """

    owner: dict[str, str]
    admin: dict[str, str]
    real: dict[str, str]


@pytest.fixture
def make_world(
    engine: Engine,
    settings: Settings,
    address: str,
    http: Session,
    sign_in: Callable[..., str],
    make_user: Callable[..., UUID],
    make_refresh_token: Callable[[UUID], str],
    make_reader: Callable[[str], UUID],
) -> "MakeWorld":
    def post(path: str, headers: dict[str, str], **content: Any) -> dict[str, Any]:
        response = http.post(f"{address}/api/v1{path}", headers=headers, **content)
        assert response.ok, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def finished_job(owner: dict[str, str], source: str) -> str:
        submitted: str = post(f"/jobs/{KIND}", owner, json={"spec": {"source": source}})["id"]
        job = UUID(submitted)
        with engine.begin() as connection:
            ledger.claim(connection, job, worker_id=uuid4(), kinds=[KIND], version="1")
            ledger.succeed(connection, job, 1, result=json.dumps(EXTRACTED), keep=KEEP)
        return submitted

    def make() -> World:
        email = f"ada.{uuid4().hex}@example.com"
        user, admin = make_user(email), make_user(f"root.{email}", is_admin=True)
        owner = {"Authorization": f"Bearer {sign_in(user)}"}
        source = post("/files?name=source", owner, data=b"a")["id"]
        reader = make_reader(email)
        real = {
            "user_id": str(user),
            "job_id": finished_job(owner, source),
            "file_id": post("/files?name=a", owner, data=b"a")["id"],
            "item_id": post("/items", owner, json={"title": "a"})["id"],
            "api_key_id": post("/auth/api-keys", owner, json={"name": "a"})["id"],
            "kind": KIND,
            "source": source,
            "range": "bytes=0-0",
            "username": email,
            "password": PASSWORD,
            "current_password": PASSWORD,
            "refresh_token": make_refresh_token(user),
            "confirm": sign_link(settings.auth, newsletter.CONFIRM, reader),
            "unsubscribe": sign_link(settings.auth, newsletter.UNSUBSCRIBE, reader),
        }
        return World(owner, {"Authorization": f"Bearer {sign_in(admin)}"}, real)

    return make


MakeWorld = Callable[[], World]


class Caller:
    """Sends cases, in a world that is made anew whenever one has consumed something of it."""

    def __init__(self, make_world: MakeWorld, address: str, http: Session) -> None:
        self._make_world = make_world
        self._address = address
        self._http = http
        self._world: World | None = None
        self.answers: Counter[tuple[str, int]] = Counter()

    @property
    def world(self) -> World:
        if self._world is None:
            self._world = self._make_world()
        return self._world

    def call(self, case: Case[Any], *, as_admin: bool = False) -> None:
        headers = self.world.admin if as_admin else self.world.owner
        response = case.call(self._address, self._http, headers)
        operation = case.operation.definition.raw["operationId"]
        if response.status_code < 300 and operation in CONSUMING:
            self._world = None
        self.answers[operation, response.status_code] += 1
        case.validate_response(response, CHECKS)
        if response.status_code >= 400:
            assert response.headers["content-type"] == [PROBLEM]

    def call_all(self, case: Case[Any]) -> None:
        """As it was generated, and once more with what is there in place of what is not."""
        for_admins = "For admins" in case.operation.definition.raw["description"]
        self.call(case)
        if for_admins:
            self.call(case, as_admin=True)
        if self._realize(case):
            self.call(case, as_admin=for_admins)

    def _realize(self, case: Case[Any]) -> bool:
        operation = case.operation.definition.raw["operationId"]
        real = self.world.real | {"token": self.world.real.get(operation, "")}

        def realized(given: dict[str, Any]) -> dict[str, Any]:
            return {
                name: realized(value)
                if name == "spec" and isinstance(value, dict)
                # Names of headers have no case.
                else real.get(name.lower(), value)
                for name, value in given.items()
            }

        path, headers = realized(case.path_parameters), realized(dict(case.headers))
        body = realized(case.body) if isinstance(case.body, dict) else case.body
        changed = (path, headers, body) != (case.path_parameters, dict(case.headers), case.body)
        case.path_parameters, case.headers, case.body = path, CaseInsensitiveDict(headers), body
        return changed


def test_every_answer_is_as_documented(
    contract: BaseSchema,
    make_world: MakeWorld,
    address: str,
    http: Session,
    subtests: pytest.Subtests,
) -> None:
    caller = Caller(make_world, address, http)

    def hold(case: Case[Any]) -> None:
        caller.call_all(case)

    documented = set()
    for found in get_all_tests(schema=contract, test_func=hold, settings=None, given_kwargs=None):
        assert isinstance(found, Ok), found.err()
        operation, run = found.ok()
        documented.add(operation.definition.raw["operationId"])
        with subtests.test(operation.label):
            run()
    # Each was also asked for what there is, or the checks have seen little.
    succeeded = {name for name, status in caller.answers if status < 300}
    assert (
        succeeded
        == documented
        == {
            operation["operationId"]
            for methods in contract.raw_schema["paths"].values()
            for operation in methods.values()
        }
    )
    assert ("download", 206) in caller.answers
