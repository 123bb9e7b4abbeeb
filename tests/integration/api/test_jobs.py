"""Submitting jobs, and what their owners see of them."""

import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest
from httpx2 import AsyncClient, Response
from sqlalchemy import Engine, text

from app.models.job import JobState
from app.services import ledger
from app.services.ledger import Beat
from tests.ledger_view import KEEP

pytestmark = pytest.mark.anyio

JOBS = "/api/v1/jobs"

Draw = Callable[..., Awaitable[dict[str, Any]]]


async def submit(client: AsyncClient, **changes: object) -> Response:
    headers = changes.pop("headers", {})
    body = {"spec": {"words": "a b"}, **changes}
    return await client.post(f"{JOBS}/word.count", json=body, headers=headers)  # type: ignore[arg-type]


async def get(client: AsyncClient, job: dict[str, Any]) -> dict[str, Any]:
    response = await client.get(f"{JOBS}/{job['id']}")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def claim(engine: Engine, job: dict[str, Any]) -> None:
    with engine.begin() as connection:
        claimed = ledger.claim(
            connection,
            UUID(job["id"]),
            worker_id=uuid4(),
            kinds=["shape.draw", "word.count"],
            version="1",
        )
        assert claimed is not None


def finish(engine: Engine, job: dict[str, Any], result: object) -> None:
    with engine.begin() as connection:
        assert ledger.succeed(connection, UUID(job["id"]), 1, result=json.dumps(result), keep=KEEP)


def fail(engine: Engine, job: dict[str, Any]) -> None:
    with engine.begin() as connection:
        assert ledger.fail(
            connection,
            UUID(job["id"]),
            1,
            code="bad-shape",
            detail="it has no sides",
            retryable=False,
            keep=KEEP,
        )


def beat(
    engine: Engine,
    *,
    pool: str = "cpu",
    kinds: Sequence[str] = ("shape.draw",),
    slots: int = 2,
    draining: bool = False,
) -> None:
    with engine.begin() as connection:
        ledger.heartbeat(
            connection,
            Beat(
                worker_id=uuid4(),
                pool=pool,
                hostname="h",
                version="1",
                build="b1",
                kinds=kinds,
                slots=slots,
                draining=draining,
            ),
        )


# --- submitting -----------------------------------------------------------------------------------


async def test_a_job_is_accepted_and_found(client: AsyncClient) -> None:
    response = await submit(client, priority=7)
    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == f"{JOBS}/{job['id']}"
    assert (await client.get(response.headers["location"])).json() == job
    assert job | {"id": "", "created_at": ""} == {
        "id": "",
        "kind": "word.count",
        "state": "queued",
        "priority": 7,
        "attempt": 0,
        "tries": 0,
        "progress": 0.0,
        "message": "",
        "seq": 1,
        "cancel_requested": False,
        "dead_letter": False,
        "waiting": "no_workers",
        "error": None,
        "created_at": "",
        "not_before": None,
        "started_at": None,
        "finished_at": None,
        "expires_at": None,
    }


async def test_a_specification_is_stored_without_defaults(
    client: AsyncClient, engine: Engine
) -> None:
    await client.post(f"{JOBS}/shape.draw", json={"spec": {"label": "é"}})
    with engine.connect() as connection:
        row = connection.execute(
            text("SELECT spec, pool, max_tries FROM jobs JOIN job_runs ON id = job_id")
        )
        assert row.one() == ({"label": "é"}, "cpu", 3)


async def test_a_job_may_wait_for_its_time(client: AsyncClient) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    job = (await submit(client, not_before=later.isoformat())).json()
    assert (job["state"], job["waiting"]) == ("scheduled", None)
    assert datetime.fromisoformat(job["not_before"]) == later
    at_once = (await submit(client, not_before="2020-01-01T00:00:00Z")).json()
    assert at_once["state"] == "queued"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"spec": {}}, "body.spec.words"),
        ({"spec": {"words": "a", "letters": 1}}, "body.spec.letters"),
        ({"priority": 101}, "body.priority"),
        ({"priority": None}, "body.priority"),
        ({"not_before": "2030-01-01T00:00:00"}, "body.not_before"),
        ({"not_before": "9999-12-31T23:59:59-12:00"}, "body.not_before"),
        ({"timeout": 5}, "body.timeout"),
        ({"headers": {"idempotency-key": ""}}, "header.Idempotency-Key"),
        ({"headers": {"idempotency-key": "a" * 256}}, "header.Idempotency-Key"),
        ({"headers": {"idempotency-key": "é".encode()}}, "header.Idempotency-Key"),
    ],
)
async def test_what_does_not_fit_is_refused_by_name(
    client: AsyncClient, changes: dict[str, object], field: str
) -> None:
    response = await submit(client, **changes)
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]


@pytest.mark.parametrize("number", [b"1e999", b"Infinity", b"NaN"])
async def test_a_number_that_json_does_not_have(client: AsyncClient, number: bytes) -> None:
    response = await client.post(
        f"{JOBS}/shape.draw",
        content=b'{"spec": {"shapes": [{"shape": "circle", "radius": ' + number + b"}]}}",
        headers={"content-type": "application/json"},
    )
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == ["body.spec.shapes.0.radius"]


async def test_an_unknown_kind_is_told_which_there_are(client: AsyncClient) -> None:
    for response in (
        await client.post(f"{JOBS}/word.cuont", json={"spec": {}}),
        await client.post(f"{JOBS}/kinds", json={"spec": {}}),
        await client.get(f"{JOBS}/kinds/word.cuont/schema"),
    ):
        assert response.status_code == 404
        assert response.json()["type"].endswith("/unknown-job-kind")
        assert "shape.draw, word.count" in response.json()["detail"]


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True),
        ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", True),
        ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", False),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", False),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", False),
        ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01", False),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", False),
        ("x", False),
    ],
)
async def test_the_callers_trace_is_kept(
    client: AsyncClient, engine: Engine, header: str, kept: bool
) -> None:
    assert (await submit(client, headers={"traceparent": header})).status_code == 202
    with engine.connect() as connection:
        found = connection.execute(text("SELECT traceparent FROM jobs")).scalar_one()
    version, trace, span, flags = found.split("-")
    assert version == "00"
    assert int(flags, 16) & 1 == 0, "nothing is exported here"
    assert (trace == header[3:35]) is kept
    assert span != header[36:52], "the submit's own"


# --- idempotency ----------------------------------------------------------------------------------


async def test_the_same_request_makes_the_same_job(client: AsyncClient, engine: Engine) -> None:
    first = await submit(client, headers={"idempotency-key": "k"})
    assert "idempotent-replayed" not in first.headers
    claim(engine, first.json())
    # The order of keys and white space say nothing.
    again = await client.post(
        f"{JOBS}/word.count",
        content=b'{ "spec" : {"words":"a b"} }',
        headers={"idempotency-key": "k", "content-type": "application/json"},
    )
    assert again.status_code == 202
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert again.json()["id"] == first.json()["id"]
    # As it is by now.
    assert again.json()["state"] == "running"


async def test_a_key_that_stands_for_another_request_is_refused(client: AsyncClient) -> None:
    await submit(client, headers={"idempotency-key": "k"})
    other = await submit(client, priority=1, headers={"idempotency-key": "k"})
    assert other.status_code == 422
    assert other.json()["type"].endswith("/idempotency-key-reused")
    assert other.json()["errors"][0]["field"] == "header.Idempotency-Key"


async def test_a_key_belongs_to_an_owner_and_a_kind(
    client: AsyncClient, stranger: AsyncClient
) -> None:
    key = {"idempotency-key": "k"}
    jobs = {
        (await submit(client, headers=key)).json()["id"],
        (await submit(stranger, headers=key)).json()["id"],
        (await client.post(f"{JOBS}/shape.draw", json={"spec": {}}, headers=key)).json()["id"],
    }
    assert len(jobs) == 3


async def test_twenty_at_once_make_one_job(client: AsyncClient, engine: Engine) -> None:
    responses: list[Response] = []

    async def post() -> None:
        responses.append(await submit(client, headers={"idempotency-key": "k"}))

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(post)
    assert [response.status_code for response in responses] == [202] * 20
    assert len({response.json()["id"] for response in responses}) == 1
    replayed = [response.headers.get("idempotent-replayed") for response in responses]
    assert replayed.count(None) == 1
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM jobs")).scalar_one() == 1


# --- files ----------------------------------------------------------------------------------------


@pytest.fixture
def make_file(engine: Engine) -> Callable[..., str]:
    def make(email: str = "ada@example.com", state: str = "ready", hours: int = 1) -> str:
        with engine.begin() as connection:
            file: UUID = connection.execute(
                text(
                    """
                    INSERT INTO files
                        (owner_id, state, key, name, content_type, size, sha256, expires_at)
                    SELECT id, :state, gen_random_uuid()::text, 'n', 'text/plain', 1, 'x',
                           clock_timestamp() + make_interval(hours => :hours)
                    FROM users WHERE email = :email RETURNING id
                    """
                ),
                {"email": email, "state": state, "hours": hours},
            ).scalar_one()
        return str(file)

    return make


async def test_a_job_holds_its_files(
    draw: Draw, make_file: Callable[..., str], engine: Engine
) -> None:
    file = make_file()
    job = await draw(source=file)
    with engine.connect() as connection:
        held = connection.execute(text("SELECT job_id, file_id FROM job_files")).one()
    assert held == (UUID(job["id"]), UUID(file))


@pytest.mark.parametrize("why", ["missing", "foreign", "pending", "deleting", "expired"])
async def test_a_job_reads_only_its_owners_files(
    client: AsyncClient,
    stranger: AsyncClient,
    make_file: Callable[..., str],
    engine: Engine,
    why: str,
) -> None:
    file = {
        "missing": lambda: str(uuid4()),
        "foreign": lambda: make_file("eve@example.com"),
        "pending": lambda: make_file(state="pending"),
        "deleting": lambda: make_file(state="deleting"),
        "expired": lambda: make_file(hours=-1),
    }[why]()
    headers = {"idempotency-key": "k"}
    response = await client.post(
        f"{JOBS}/shape.draw", json={"spec": {"source": file}}, headers=headers
    )
    assert response.status_code == 422
    assert response.json()["type"].endswith("/invalid-input")
    assert [error["field"] for error in response.json()["errors"]] == ["body.spec.source"]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM jobs")).scalar_one() == 0


async def test_a_replay_does_not_need_the_files_any_more(
    client: AsyncClient, make_file: Callable[..., str], engine: Engine
) -> None:
    sent = {"json": {"spec": {"source": make_file()}}, "headers": {"idempotency-key": "k"}}
    first = await client.post(f"{JOBS}/shape.draw", **sent)  # type: ignore[arg-type]
    with engine.begin() as connection:
        connection.execute(text("UPDATE files SET state = 'deleting'"))
    again = await client.post(f"{JOBS}/shape.draw", **sent)  # type: ignore[arg-type]
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])


# --- kinds and workers ----------------------------------------------------------------------------


async def test_kinds_say_who_runs_them(client: AsyncClient, engine: Engine) -> None:
    beat(engine, slots=2)
    beat(engine, slots=3, kinds=["shape.draw", "word.count"])
    # Neither draining workers nor those of another pool, nor those that are gone.
    beat(engine, slots=5, draining=True)
    beat(engine, slots=7, pool="io")
    beat(engine, slots=11, pool="io", kinds=["word.count"])
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE workers SET expires_at = clock_timestamp() WHERE slots = 11")
        )
    kinds = (await client.get(f"{JOBS}/kinds")).json()["items"]
    assert kinds == [
        {
            "name": "shape.draw",
            "summary": "Draw shapes.",
            "description": "Draw shapes.",
            "pool": "cpu",
            "timeout": 60.0,
            "max_tries": 3,
            "slots": 5,
            "waiting": None,
        },
        {
            "name": "word.count",
            "summary": "Count words.",
            "description": "Count words.\n\nAll of them.",
            "pool": "io",
            "timeout": 30.0,
            "max_tries": 5,
            "slots": 0,
            "waiting": "no_workers",
        },
    ]


async def test_a_kind_has_a_schema(client: AsyncClient) -> None:
    response = await client.get(f"{JOBS}/kinds/shape.draw/schema")
    assert response.headers["content-type"] == "application/schema+json"
    schema = response.json()
    assert schema["properties"]["source"]["anyOf"][0]["format"] == "uuid"
    assert schema["additionalProperties"] is False


async def test_a_job_says_that_nobody_runs_it(
    draw: Draw, client: AsyncClient, engine: Engine
) -> None:
    job = await draw()
    assert job["waiting"] == "no_workers"
    beat(engine, draining=True)
    beat(engine, kinds=["word.count"])
    beat(engine, pool="io")
    assert (await get(client, job))["waiting"] == "no_workers"
    beat(engine)
    assert (await get(client, job))["waiting"] is None
    with engine.begin() as connection:
        connection.execute(text("UPDATE job_runs SET refused_by = '{1}'"))
    assert (await get(client, job))["waiting"] == "no_workers"
    with engine.begin() as connection:
        connection.execute(text("UPDATE job_runs SET refused_by = '{0}'"))
    assert (await get(client, job))["waiting"] is None


# --- as it goes -----------------------------------------------------------------------------------


async def test_progress_is_shown(draw: Draw, client: AsyncClient, engine: Engine) -> None:
    job = await draw()
    claim(engine, job)
    with engine.begin() as connection:
        ledger.progress(connection, UUID(job["id"]), 1, fraction=0.25, message="a quarter")
    running = await get(client, job)
    assert (running["state"], running["attempt"], running["waiting"]) == ("running", 1, None)
    assert (running["progress"], running["message"], running["seq"]) == (0.25, "a quarter", 3)
    assert running["started_at"] is not None


async def test_a_result_is_typed_by_its_kind(
    draw: Draw, client: AsyncClient, engine: Engine
) -> None:
    job = await draw()
    claim(engine, job)
    finish(engine, job, {"shapes": 3})
    response = await client.get(f"{JOBS}/{job['id']}/result")
    assert response.status_code == 200
    assert response.json() == {"job_id": job["id"], "kind": "shape.draw", "output": {"shapes": 3}}
    done = await get(client, job)
    assert (done["state"], done["progress"], done["error"]) == ("succeeded", 1.0, None)
    assert (done["attempt"], done["seq"], done["tries"]) == (1, 3, 0)
    assert done["expires_at"] > done["finished_at"] > done["started_at"] > done["created_at"]


async def test_a_job_that_has_no_result_says_why(
    draw: Draw, client: AsyncClient, engine: Engine
) -> None:
    job = await draw()
    url = f"{JOBS}/{job['id']}/result"

    async def check(status: int, name: str, detail: str) -> None:
        response = await client.get(url)
        assert response.status_code == status
        assert response.json()["type"].endswith(f"/{name}")
        assert detail in response.json()["detail"]

    await check(409, "job-not-finished", "")
    claim(engine, job)
    await check(409, "job-not-finished", "")
    fail(engine, job)
    await check(409, "job-has-no-result", "bad-shape: it has no sides")
    assert (await get(client, job))["error"] == {"code": "bad-shape", "detail": "it has no sides"}
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET expires_at = clock_timestamp()"))
    await check(410, "gone", "kept until")
    job = await draw()
    url = f"{JOBS}/{job['id']}/result"
    await client.post(f"{JOBS}/{job['id']}/cancel")
    await check(409, "job-has-no-result", "cancelled")


async def test_a_result_of_a_kind_that_is_gone(
    draw: Draw, client: AsyncClient, engine: Engine
) -> None:
    job = await draw()
    claim(engine, job)
    finish(engine, job, {"shapes": 3})
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET kind = 'shape.erase'"))
    response = await client.get(f"{JOBS}/{job['id']}/result")
    assert response.status_code == 404
    assert response.json()["type"].endswith("/unknown-job-kind")


@pytest.mark.parametrize(
    ("stored", "name", "detail"),
    [
        ('{"shapes": "three"}', "result-unreadable", "output.shapes"),
        ('{"shapes": 3, "sides": 4}', "result-unreadable", "output.sides"),
        ('{"sides": [], "shapes": null}', "result-unreadable", "output.shapes"),
        ('{"shapes": 13}', "result-unreadable", "LookupError"),
        ("[]", "result-unreadable", "output"),
        ("null", "result-unreadable", "output"),
        (f'{{"shapes": {"9" * 5000}}}', "result-unreadable", "number out of range"),
        (f'{{"shapes": "{"x" * 2_000_000}"}}', "result-too-large", "MAX_RESULT_BYTES"),
    ],
    ids=["type", "unknown field", "null", "validator", "list", "nothing", "5,000 digits", "2 MB"],
)
async def test_a_result_that_an_older_version_stored_wrongly_is_a_typed_problem(
    draw: Draw, client: AsyncClient, engine: Engine, stored: str, name: str, detail: str
) -> None:
    job = await draw()
    claim(engine, job)
    finish(engine, job, {"shapes": 3})
    with engine.begin() as connection:
        wrong = text("UPDATE jobs SET result = CAST(:stored AS jsonb)")
        connection.execute(wrong, {"stored": stored})
    response = await client.get(f"{JOBS}/{job['id']}/result")
    assert (response.status_code, response.json()["type"].rpartition("/")[2]) == (409, name)
    assert detail in response.json()["detail"]
    listed = (await client.get(JOBS)).json()["items"]
    assert [item["state"] for item in listed] == ["succeeded"]


@pytest.mark.parametrize(
    ("stored", "shown"), [("NaN", 0), ("Infinity", 1), ("-Infinity", 0), ("7", 1), ("-1", 0)]
)
async def test_a_progress_that_no_share_has_fails_no_list(
    draw: Draw, client: AsyncClient, engine: Engine, stored: str, shown: float
) -> None:
    job, other = await draw(), await draw()
    for each in job, other:
        claim(engine, each)
    with engine.begin() as connection:
        wrong = text(f"UPDATE job_runs SET progress = '{stored}' WHERE job_id = :job")
        connection.execute(wrong, {"job": job["id"]})
    response = await client.get(JOBS)
    assert response.status_code == 200
    assert [item["progress"] for item in response.json()["items"]] == [0, shown]
    assert (await get(client, job))["progress"] == shown
    cancelled = await client.post(f"{JOBS}/{job['id']}/cancel")
    assert cancelled.status_code == 202


# --- cancelling -----------------------------------------------------------------------------------


async def test_what_waits_is_cancelled_at_once(draw: Draw, client: AsyncClient) -> None:
    job = await draw()
    response = await client.post(f"{JOBS}/{job['id']}/cancel")
    assert response.status_code == 202
    assert (response.json()["state"], response.json()["cancel_requested"]) == ("cancelled", True)
    again = await client.post(f"{JOBS}/{job['id']}/cancel")
    assert (again.status_code, again.json()) == (202, response.json())


async def test_what_runs_is_asked(draw: Draw, client: AsyncClient, engine: Engine) -> None:
    job = await draw()
    claim(engine, job)
    response = await client.post(f"{JOBS}/{job['id']}/cancel")
    assert response.status_code == 202
    assert (response.json()["state"], response.json()["cancel_requested"]) == ("running", True)
    seq = response.json()["seq"]
    assert (await client.post(f"{JOBS}/{job['id']}/cancel")).json()["seq"] == seq


async def test_what_has_ended_stays_as_it_is(
    draw: Draw, client: AsyncClient, engine: Engine
) -> None:
    job = await draw()
    claim(engine, job)
    finish(engine, job, {"shapes": 0})
    response = await client.post(f"{JOBS}/{job['id']}/cancel")
    assert response.status_code == 202
    assert (response.json()["state"], response.json()["cancel_requested"]) == ("succeeded", False)


# --- lists ----------------------------------------------------------------------------------------


async def pages(client: AsyncClient, **params: Any) -> list[list[str]]:
    found: list[list[str]] = []
    cursor: str | None = None
    while cursor is not None or not found:
        sent = params if cursor is None else {**params, "cursor": cursor}
        response = await client.get(JOBS, params=sent)
        assert response.status_code == 200, response.text
        found.append([job["id"] for job in response.json()["items"]])
        cursor = response.json()["next_cursor"]
    return found


async def test_a_list_is_newest_first_and_in_pages(client: AsyncClient, draw: Draw) -> None:
    assert await pages(client) == [[]]
    jobs = [(await draw())["id"] for _ in range(5)][::-1]
    assert await pages(client) == [jobs]
    assert await pages(client, limit=2) == [jobs[:2], jobs[2:4], jobs[4:]]
    assert await pages(client, limit=5) == [jobs]


async def test_a_list_can_be_narrowed(client: AsyncClient, draw: Draw, engine: Engine) -> None:
    queued, running, failed, dead = [await draw() for _ in range(4)]
    counted = (await submit(client)).json()
    for job in (running, failed, dead):
        claim(engine, job)
    fail(engine, failed)
    fail(engine, dead)
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET dead = true WHERE id = :id"), {"id": dead["id"]})
    for params, expected in (
        ({"state": "queued"}, [counted, queued]),
        ({"state": ["queued", "running"]}, [counted, running, queued]),
        ({"state": "failed"}, [dead, failed]),
        ({"state": "cancelled"}, []),
        ({"kind": "word.count"}, [counted]),
        ({"kind": "shape.draw", "state": "queued"}, [queued]),
        ({"dead_letter": "true"}, [dead]),
        ({"dead_letter": "false", "state": "failed"}, [failed]),
    ):
        ids = [job["id"] for job in expected]
        assert await pages(client, **params) == [ids], params
        if len(ids) > 1:
            assert await pages(client, **params, limit=1) == [[job] for job in ids], params


async def test_a_cursor_knows_its_filters(client: AsyncClient, draw: Draw) -> None:
    for _ in range(2):
        await draw()
    params: dict[str, Any] = {"state": ["queued", "running"], "limit": 1}
    cursor = (await client.get(JOBS, params=params)).json()["next_cursor"]
    # The order that they are given in says nothing.
    same = {"state": ["running", "queued"], "cursor": cursor}
    assert (await client.get(JOBS, params=same)).status_code == 200
    for other in ({}, {"state": "queued"}, {**params, "kind": "shape.draw"}):
        response = await client.get(JOBS, params={**other, "cursor": cursor})
        assert response.status_code == 422
        assert [error["field"] for error in response.json()["errors"]] == ["query.cursor"]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"limit": 0}, "query.limit"),
        ({"limit": 101}, "query.limit"),
        ({"state": "lost"}, "query.state.0"),
        ({"cursor": "nonsense"}, "query.cursor"),
    ],
)
async def test_a_list_is_asked_for_properly(
    client: AsyncClient, params: dict[str, Any], field: str
) -> None:
    response = await client.get(JOBS, params=params)
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]


def test_every_state_can_be_asked_for() -> None:
    assert len(JobState) == 6
