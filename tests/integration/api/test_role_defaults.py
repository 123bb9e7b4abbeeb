"""Roles and databases with defaults of their own, which their administrators or other applications
want: a job's whole life is the same under each of them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, text

from app.core.config import Settings
from app.core.database_url import parse, render
from app.core.db import sync_engine
from app.main import create_app
from app.services import demand, ledger, tallies
from app.services.ledger import Beat, Change, Lease, Message
from tests.integration.api.conftest import connect, is_ready, serving
from tests.integration.api.kinds import KINDS
from tests.integration.listening import as_new
from tests.ledger_view import KEEP, View
from tests.processes import until
from worker.controller import rescue
from worker.controller.dispatch import fill, register_pools
from worker.controller.rescue import Rescue
from worker.persist import persist

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

KIND = "shape.draw"

# Beyond Latin-1, and what a careless quoting would stumble over.
TITLE = "50 % of it's \\ 漢字 €"

# Requests at once, each of which adds to the same tables.
COMPETITORS = 20

DEFAULTS = [
    "default_transaction_isolation = 'serializable'",
    "default_transaction_isolation = 'repeatable read'",
    "default_transaction_read_only = on",
    "default_transaction_deferrable = on",
    "datestyle = 'SQL, DMY'",
    "datestyle = 'German, YMD'",
    "intervalstyle = 'sql_standard'",
    "intervalstyle = 'iso_8601'",
    "timezone = 'Asia/Kolkata'",
    "timezone = '<-0330>+03:30'",
    "bytea_output = 'escape'",
    "client_encoding = 'LATIN1'",
    "client_encoding = 'SQL_ASCII'",
    "extra_float_digits = -15",
    "standard_conforming_strings = off",
    "array_nulls = off",
    "search_path = elsewhere, public",
    "row_security = off",
    "jit = on",
    "statement_timeout = 250",
    "lock_timeout = 50",
    "idle_in_transaction_session_timeout = 50",
    "idle_session_timeout = 2000",
    "client_min_messages = 'debug5'",
    "quote_all_identifiers = on",
    "transform_null_equals = on",
    "plan_cache_mode = 'force_generic_plan'",
    "enable_indexscan = off",
]


Start = Callable[[], AbstractAsyncContextManager[AsyncClient]]


@pytest.fixture(scope="module")
def role(engine: Engine) -> Iterator[str]:
    name = f"tuned_{uuid4().hex[:8]}"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {name} LOGIN SUPERUSER"))
    yield name
    with engine.begin() as connection:
        connection.execute(text(f"DROP ROLE {name}"))


@pytest.fixture(scope="module")
def of_role(settings: Settings, role: str) -> Settings:
    url = render({**parse(settings.database.url.get_secret_value()), "user": role})
    database = settings.database.model_copy(update={"url": SecretStr(url)})
    return settings.model_copy(update={"database": database})


@pytest.fixture(scope="module")
def built(of_role: Settings) -> FastAPI:
    return create_app(of_role, KINDS)


@pytest.fixture
def tune(engine: Engine, role: str, settings: Settings) -> Iterator[Callable[..., None]]:
    """Give the role, or the database, a default."""
    database = parse(settings.database.url.get_secret_value())["dbname"]

    def tune(default: str, *, of: str = f"ROLE {role}") -> None:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"ALTER {of} SET {default}".replace("%", "%%"))

    yield tune
    with engine.begin() as connection:
        # A connection of the fixture's own does not have the defaults.
        connection.exec_driver_sql(f"ALTER ROLE {role} RESET ALL")
        connection.exec_driver_sql(f"ALTER DATABASE {database} RESET ALL")


@pytest.fixture
def database(settings: Settings) -> str:
    return f"DATABASE {parse(settings.database.url.get_secret_value())['dbname']}"


@pytest.fixture
def worker(of_role: Settings) -> Iterator[Engine]:
    """Made when it is first used, under the defaults of that moment."""
    engine = sync_engine(of_role.database)
    yield engine
    engine.dispose()


@pytest.fixture
def owner(make_owner: Callable[..., UUID]) -> UUID:
    return make_owner()


@pytest.fixture
def start(built: FastAPI, clean: None, owner: UUID, sign_in: Callable[..., str]) -> Start:
    """Of an application that starts when it is asked for: under the defaults of that moment."""

    @asynccontextmanager
    async def start() -> AsyncIterator[AsyncClient]:
        async with serving(as_new(built)) as served, connect(served, sign_in(owner)) as client:
            await is_ready(client)
            yield client

    return start


def claim(worker: Engine, job: UUID) -> ledger.Claim:
    with worker.begin() as connection:
        found = ledger.claim(connection, job, worker_id=uuid4(), kinds=[KIND], version="1")
    assert found is not None
    return found


def live_through(worker: Engine, job: UUID) -> None:
    """Dispatch, claim, beat, report, be lost, be rescued, be claimed again, and finish."""
    beat = Beat(uuid4(), "cpu", "host", "1", "b", [KIND], 2, draining=False)
    register_pools(worker, ["cpu"])
    with worker.begin() as connection:
        ledger.heartbeat(connection, beat)
    with worker.begin() as connection:
        messages, _ = fill(connection, "cpu", window_per_slot=2, queued={})
    assert messages == [Message(job, 0, 1, "cpu", None)]
    first = claim(worker, job)
    assert json.loads(first.spec)["label"] == TITLE
    with worker.begin() as connection:
        held = Beat(beat.worker_id, "cpu", "host", "1", "b", [KIND], 2, False, [(job, 1)])
        assert ledger.heartbeat(connection, held) == {(job, 1): Lease.RENEWED}
        assert ledger.progress(connection, job, 1, fraction=1 / 3, message=TITLE) is not None
    with worker.begin() as connection:
        assert ledger.forfeit(connection, job, 1)
    rescued: list[Change] = []
    Rescue(worker, KEEP, rescued.append, lambda: None).turn()
    assert [change.job_id for change in rescued] == [job]
    assert claim(worker, job).attempt == 2
    with worker.begin() as connection:
        file = ledger.reserve_output(
            connection, job, 2, key=f"outputs/{job}", name=TITLE, content_type="text/plain",
            size=1, sha256=b"\\\0\xff'" * 8, pending_ttl=timedelta(hours=1),
        )  # fmt: skip
        assert file is not None
        again = connection.execute(text("SELECT sha256 FROM files WHERE id = :id"), {"id": file})
        assert again.scalar_one() == b"\\\0\xff'" * 8
    result = '{"shapes": 3}'
    change = persist(
        worker, lambda connection: ledger.succeed(connection, job, 2, result=result, keep=KEEP)
    )
    assert change is not None
    with worker.begin() as connection:
        assert tallies.count(connection, limit=100) > 0
        assert any(total.event == "lost" for total in tallies.totals(connection))
        demand.load(connection, ["cpu", "io"], limit=100)
        third = connection.execute(text("SELECT CAST(:third AS float8)"), {"third": 1 / 3})
        assert third.scalar_one() == 1 / 3


async def submit(client: AsyncClient) -> UUID:
    body = {"spec": {"label": TITLE}}
    answer = await client.post(f"/api/v1/jobs/{KIND}", json=body)
    assert answer.status_code == 202, answer.text
    return UUID(answer.json()["id"])


async def a_whole_life(start: Start, worker: Engine, engine: Engine, owner: UUID) -> None:
    later = datetime.now(UTC) + timedelta(days=30)
    async with start() as client:
        job = await submit(client)
        # More at once than there are connections, of one pool's rows.
        await asyncio.gather(*(submit(client) for _ in range(COMPETITORS)))
        body = {"spec": {}, "not_before": later.isoformat()}
        scheduled = (await client.post(f"/api/v1/jobs/{KIND}", json=body)).json()
        assert datetime.fromisoformat(scheduled["not_before"]) == later
        with engine.begin() as connection:
            # The first alone is to be dispatched.
            alone = text("UPDATE job_runs SET state = 'scheduled', due_at = :at WHERE job_id <> :i")
            connection.execute(alone, {"at": later, "i": job})
        await asyncio.to_thread(live_through, worker, job)
        listed = (await client.get("/api/v1/jobs", params={"limit": 100})).json()["items"]
        assert len(listed) == COMPETITORS + 2
        assert [one["state"] for one in listed if one["id"] == str(job)] == ["succeeded"]
        result = await client.get(f"/api/v1/jobs/{job}/result")
        assert result.json()["output"] == {"shapes": 3}
        cancelled = await client.post(f"/api/v1/jobs/{scheduled['id']}/cancel")
        assert cancelled.json()["state"] == "cancelled"
        dependencies = (await client.get("/readyz")).json()["dependencies"]
        assert dependencies["postgresql"]["state"] == "up"
    assert View(engine, owner).job(job)["attempt"] == 2


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rescue has been in contact with the database for long enough."""
    monkeypatch.setattr(rescue, "LEASE", timedelta(0))


@pytest.mark.parametrize("default", DEFAULTS)
async def test_a_roles_default_changes_nothing(
    start: Start,
    worker: Engine,
    engine: Engine,
    owner: UUID,
    tune: Callable[..., None],
    no_patience: None,
    default: str,
) -> None:
    tune(default)
    await a_whole_life(start, worker, engine, owner)


@pytest.mark.parametrize(
    "default",
    [
        "default_transaction_isolation = 'serializable'",
        "default_transaction_read_only = on",
        "datestyle = 'SQL, DMY'",
    ],
)
async def test_nor_does_a_databases(
    start: Start,
    worker: Engine,
    engine: Engine,
    owner: UUID,
    tune: Callable[..., None],
    database: str,
    no_patience: None,
    default: str,
) -> None:
    tune(default, of=database)
    await a_whole_life(start, worker, engine, owner)


async def test_nor_do_all_of_them_together(
    start: Start,
    worker: Engine,
    engine: Engine,
    owner: UUID,
    tune: Callable[..., None],
    no_patience: None,
) -> None:
    # Without those that contradict each other.
    for default in {default.partition(" =")[0]: default for default in DEFAULTS}.values():
        tune(default)
    await a_whole_life(start, worker, engine, owner)


@pytest.mark.parametrize("default", ["statement_timeout = 50", "lock_timeout = 50"])
def test_a_limit_of_the_roles_cancels_no_finish_that_waits_for_a_lock(
    worker: Engine,
    engine: Engine,
    owner: UUID,
    tune: Callable[..., None],
    default: str,
) -> None:
    view = View(engine, owner)
    job = view.submit(KIND)
    claim(worker, job)
    worker.dispose()
    tune(default)
    tries = 0
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")

    def finish(connection: Connection) -> Change | None:
        nonlocal tries
        tries += 1
        return ledger.succeed(connection, job, 1, result="{}", keep=KEEP)

    with ThreadPoolExecutor(1) as thread:
        with engine.begin() as other:
            other.execute(text("SELECT FROM job_runs WHERE job_id = :id FOR UPDATE"), {"id": job})
            finished = thread.submit(persist, worker, finish)

            def waits() -> bool:
                with engine.begin() as connection:
                    return bool(connection.execute(waiting).scalar_one())

            until(waits, seconds=20, what="it waits for the row")
            # Several times the limit.
            other.execute(text("SELECT pg_sleep(0.3)"))
        assert finished.result(20) is not None
    assert tries == 1


async def test_a_session_that_idles_too_long_costs_no_request_and_no_claim(
    start: Start, worker: Engine, engine: Engine, owner: UUID, role: str, tune: Callable[..., None]
) -> None:
    # Longer than a busy machine lets a session wait between two statements of one request.
    tune("idle_session_timeout = 1000")
    left = text("SELECT count(*) FROM pg_stat_activity WHERE usename = :role AND state = 'idle'")

    def ended() -> bool:
        with engine.begin() as connection:
            return bool(connection.execute(left, {"role": role}).scalar_one() == 0)

    async with start() as client:
        for _ in range(3):
            job = await submit(client)
            claim(worker, job)
            # The watch of the API connects again and again: some moment has none.
            await asyncio.to_thread(until, ended, seconds=20, what="the idle sessions have ended")
            readiness = (await client.get("/readyz")).json()["dependencies"]["postgresql"]
            assert readiness["state"] == "up", readiness
