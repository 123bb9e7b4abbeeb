"""What a list costs does not depend on how long it is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy import Engine, event, text

from app.services import ledger
from app.services.ledger import Submission
from tests.integration.api.test_openapi import operations

pytestmark = pytest.mark.anyio


@contextmanager
def statements() -> Iterator[list[str]]:
    """Every statement that this process sends, whatever its engine."""
    sent: list[str] = []

    def note(connection: object, cursor: object, statement: str, *rest: object) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@pytest.fixture
def fill(engine: Engine) -> Callable[[UUID, int, int], None]:
    """Give an owner, who has some of everything, so many; of users there are that many in all."""

    def fill(owner: UUID, have: int, want: int) -> None:
        with engine.begin() as connection:
            for _ in range(have, want):
                ledger.accept(
                    connection,
                    Submission(
                        owner_id=owner, kind="shape.draw", pool="cpu", max_tries=3, spec="{}"
                    ),
                )
            connection.execute(
                text(
                    """
                    INSERT INTO files
                        (owner_id, state, key, name, content_type, size, sha256, expires_at)
                    SELECT :owner, 'ready', gen_random_uuid()::text, 'n', 'text/plain', 1,
                           sha256('x'), clock_timestamp() + interval '1 hour'
                    FROM generate_series(1, :count)
                    """
                ),
                {"owner": owner, "count": want - have},
            )
            connection.execute(
                text(
                    """
                    INSERT INTO api_keys (user_id, name, prefix, digest)
                    SELECT :owner, 'n', gen_random_uuid()::text, sha256('x')
                    FROM generate_series(1, :count)
                    """
                ),
                {"owner": owner, "count": want - have},
            )
            connection.execute(
                text(
                    """
                    INSERT INTO users (email, password_hash)
                    SELECT gen_random_uuid()::text, '!' FROM generate_series(1, :count)
                    """
                ),
                {"count": want - max(have, 1)},
            )
            connection.execute(
                text(
                    "INSERT INTO items (owner_id, title)"
                    " SELECT :owner, 't' FROM generate_series(1, :count)"
                ),
                {"owner": owner, "count": want - have},
            )

    return fill


def lists(document: dict[str, Any]) -> Iterator[str]:
    schemas = document["components"]["schemas"]
    for method, path, operation in operations(document):
        content = operation["responses"].get("200", {}).get("content", {})
        reference = content.get("application/json", {}).get("schema", {}).get("$ref", "")
        model = schemas.get(reference.rpartition("/")[2], {})
        if method == "get" and "next_cursor" in model.get("properties", {}):
            yield path


async def test_a_hundred_cost_as_many_statements_as_one(
    app: FastAPI, admin: AsyncClient, fill: Callable[[UUID, int, int], None]
) -> None:
    me = UUID((await admin.get("/api/v1/users/me")).json()["id"])
    paths = sorted(lists(app.openapi()))
    assert {
        "/api/v1/auth/api-keys", "/api/v1/files", "/api/v1/items", "/api/v1/jobs", "/api/v1/users",
    } <= set(paths)  # fmt: skip
    costs: dict[int, dict[str, int]] = {}
    have = 0
    for want in (1, 100):
        fill(me, have, want)
        have = want
        for path in paths:
            with statements() as sent:
                response = await admin.get(path, params={"limit": 100})
            assert len(response.json()["items"]) == want, path
            costs.setdefault(want, {})[path] = len(sent)
    assert costs[1] == costs[100]
    # Who asks, and what for.
    assert set(costs[1].values()) == {2}
