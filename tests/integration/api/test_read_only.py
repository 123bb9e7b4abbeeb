"""A server that takes no writes for a while, as a primary that is fenced, and what goes on."""

from collections.abc import Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import psycopg
import pytest
from httpx2 import AsyncClient
from prometheus_client import REGISTRY
from pydantic import SecretStr
from structlog.testing import capture_logs

from app.core.config import Settings
from app.core.db import sync_engine
from app.embedded import EmbeddedPostgres
from app.jobs import JobContext, JobOptions, KindRegistry, job_kind
from app.main import create_app
from app.migrations import upgrade
from app.services import ledger
from tests.integration.api.conftest import connect, is_ready, serving
from tests.integration.api.kinds import KINDS
from tests.ledger_view import View
from tests.processes import until
from tests.servers import scratch_folder
from worker.controller.measure import Measure
from worker.controller.metrics import LedgerMetrics
from worker.controller.rescue import Contact
from worker.executor import Executor
from worker.identity import Identity
from worker.slots import Slots

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

# Seconds from the moment that a server takes writes to the last refusal.
BACK_WITHIN = 5.0


class Server:
    def __init__(self, postgres: EmbeddedPostgres, settings: Settings) -> None:
        self.postgres = postgres
        self.settings = settings
        self.engine = sync_engine(settings.database, connections=5)

    def read_only(self, on: bool) -> None:
        """For all that do not ask for more: as its administrator, or a full disk, does it."""
        with psycopg.connect(self.postgres.url(), autocommit=True) as connection:
            value = "on" if on else "off"
            connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
            connection.execute("SELECT pg_reload_conf()")

        def is_so() -> bool:
            with psycopg.connect(self.postgres.url()) as other:
                row = other.execute("SHOW default_transaction_read_only").fetchone()
            return row == (value,)

        until(is_so, seconds=20, what=f"the server is read-only: {on}")


@pytest.fixture(scope="module")
def server(settings: Settings) -> Iterator[Server]:
    with scratch_folder() as folder:
        postgres = EmbeddedPostgres(folder / "pg", durable=False)
        try:
            postgres.start()
            database = settings.database.model_copy(update={"url": SecretStr(postgres.url())})
            upgrade(database)
            server = Server(postgres, settings.model_copy(update={"database": database}))
            yield server
            server.engine.dispose()
        finally:
            postgres.stop()


async def eventually_posts(client: AsyncClient) -> None:
    with anyio.fail_after(BACK_WITHIN):
        while (await submit(client)) != 202:  # noqa: ASYNC110
            await anyio.sleep(0.05)


async def submit(client: AsyncClient) -> int:
    answer = await client.post("/api/v1/jobs/shape.draw", json={"spec": {}})
    if answer.status_code == 503:
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["type"].endswith("/unavailable")
    return answer.status_code


async def state(client: AsyncClient) -> tuple[str, str | None]:
    answer = await client.get("/readyz")
    assert answer.status_code == 200
    found = answer.json()["dependencies"]["postgresql"]
    return found["state"], found["detail"]


async def eventually_is(client: AsyncClient, *expected: object) -> None:
    with anyio.fail_after(20):
        while await state(client) != expected:  # noqa: ASYNC110
            await anyio.sleep(0.05)


def up() -> float | None:
    return REGISTRY.get_sample_value("heavylift_dependency_up", {"dependency": "postgresql"})


async def test_a_read_only_server_refuses_writes_as_an_outage_and_serves_reads(
    server: Server,
) -> None:
    async with serving(create_app(server.settings, KINDS)) as served, connect(served) as client:
        await is_ready(client)
        account = {"email": f"{uuid4().hex}@example.com", "password": "correct horse battery"}
        assert (await client.post("/api/v1/users", json=account)).status_code == 201
        form = {"username": account["email"], "password": account["password"]}
        login = await client.post("/api/v1/auth/login", data=form)
        client.headers["Authorization"] = f"Bearer {login.json()['access_token']}"
        assert await submit(client) == 202
        await eventually_is(client, "up", None)
        await anyio.to_thread.run_sync(server.read_only, True)
        assert {await submit(client) for _ in range(12)} == {503}
        assert (await client.get("/api/v1/jobs")).status_code == 200
        await eventually_is(client, "down", "the server is read-only")
        await anyio.to_thread.run_sync(until_zero)
        await anyio.to_thread.run_sync(server.read_only, False)
        await eventually_posts(client)
        assert {await submit(client) for _ in range(12)} == {202}
        await eventually_is(client, "up", None)


def until_zero() -> None:
    until(lambda: up() == 0.0, seconds=10, what="the metric says so")


UNAVAILABLE = "the ledger is unavailable, waiting for it"


@pytest.fixture
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    with capture_logs() as logs:
        yield logs


def events(logs: list[MutableMapping[str, Any]]) -> set[str]:
    return {line["event"] for line in logs}


class Nothing(JobOptions):
    seconds: float = 0


@pytest.fixture
def owner(server: Server) -> UUID:
    return View(server.engine, uuid4()).new_owner(f"{uuid4().hex}@example.com")


def test_a_result_waits_for_a_server_that_takes_it(
    server: Server, owner: UUID, tmp_path: Path, logs: list[MutableMapping[str, Any]]
) -> None:
    runs = 0

    @job_kind("test.count", pool="cpu", timeout=60)
    def count(spec: Nothing, job: JobContext) -> Nothing:
        nonlocal runs
        runs += 1
        server.read_only(True)
        return Nothing(seconds=1.5)

    identity = Identity(uuid4(), "cpu", "1", KindRegistry([count]))
    executor = Executor(
        server.settings,
        identity,
        Slots(1),
        slot=0,
        scratch=tmp_path / "scratch",
        memory_per_slot=1 << 40,
    )
    view = View(server.engine, owner)
    job = view.submit("test.count")
    with ThreadPoolExecutor(1) as thread:
        executing = thread.submit(executor.execute, job)
        until(lambda: UNAVAILABLE in events(logs), seconds=20, what="its result is refused")
        assert not executing.done()
        assert view.running(job, 1)
        server.read_only(False)
        executing.result(20)
    executor._engine.dispose()
    executor._announcer.close()
    found = view.job(job)
    assert (found["state"], found["attempt"], found["tries"], runs) == ("succeeded", 1, 0, 1)
    assert found["result"] == {"seconds": 1.5}


def test_a_controller_shows_a_read_only_ledger_as_down(server: Server) -> None:
    metrics = LedgerMetrics([], window_per_slot=2, demand_limit=10)
    measure = Measure(server.engine, metrics, Contact(), ["cpu"], limit=10)

    def shown() -> set[tuple[str, float]]:
        return {
            (sample.labels["dependency"], sample.value)
            for family in metrics.collect()
            if family.name == "heavylift_dependency_up"
            for sample in family.samples
        }

    measure.turn()
    assert shown() == {("postgresql", 1.0)}
    server.read_only(True)
    try:
        measure.turn()
        assert shown() == {("postgresql", 0.0)}
        # It can be read: scaling goes on.
        assert metrics.demand() is not None
    finally:
        server.read_only(False)
    measure.turn()
    assert shown() == {("postgresql", 1.0)}


def test_a_claim_that_meets_a_read_only_server_begins_no_attempt(
    server: Server, owner: UUID
) -> None:
    view = View(server.engine, owner)
    job = view.submit("test.count")
    server.read_only(True)
    try:
        for _ in range(2):
            with pytest.raises(Exception, match="read-only"), server.engine.begin() as connection:
                ledger.claim(connection, job, worker_id=uuid4(), kinds=["test.count"], version="1")
    finally:
        server.read_only(False)
    with server.engine.begin() as connection:
        assert ledger.claim(connection, job, worker_id=uuid4(), kinds=["test.count"], version="1")
    assert view.running(job, 1)
