"""Errors of a real server: what each engine, the API and a worker make of them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.core.config import Settings
from app.core.db import sync_engine
from app.core.outages import Fault, fault, sqlstate
from app.jobs import JobContext, JobOptions, KindRegistry, job_kind
from app.jobs.registry import AnyKind
from tests.ledger_view import View
from worker.executor import Executor
from worker.identity import Identity
from worker.persist import persist
from worker.slots import Slots

PID = text("SELECT pg_backend_pid()")


@pytest.fixture
def one(settings: Settings) -> Iterator[Engine]:
    """An engine with one connection."""
    engine = sync_engine(settings.database)
    yield engine
    engine.dispose()


def raising(state: str) -> str:
    """A statement that fails with that SQLSTATE, as the server would say it."""
    return f"DO $$ BEGIN RAISE EXCEPTION 'so it is' USING ERRCODE = '{state}'; END $$"


def backend(engine: Engine) -> int:
    with engine.begin() as connection:
        pid: int = connection.execute(PID).scalar_one()
    return pid


READ_ONLY = "SET TRANSACTION READ ONLY"
INSERT = "INSERT INTO pools (name) VALUES ('x')"


@pytest.mark.parametrize(
    ("statements", "expected", "dropped"),
    [
        ([READ_ONLY, INSERT], Fault.UNAVAILABLE, True),
        ([raising("57P03")], Fault.UNAVAILABLE, True),
        ([raising("53200")], Fault.UNAVAILABLE, True),
        ([raising("08006")], Fault.UNAVAILABLE, True),
        ([raising("58030")], Fault.UNAVAILABLE, True),
        ([raising("40001")], Fault.BUSY, False),
        (["SET LOCAL statement_timeout = 10", "SELECT pg_sleep(5)"], Fault.BUSY, False),
        ([raising("54000")], Fault.UNSTORABLE, False),
        (["""SELECT CAST('{"a": "\\u0000"}' AS jsonb)"""], Fault.UNSTORABLE, False),
        (["SELECT CAST('x' AS integer)"], Fault.UNSTORABLE, False),
        (["SELECT nothing"], Fault.BUG, False),
    ],
    ids=lambda value: value[-1][:30] if isinstance(value, list) else None,
)
def test_a_worker_drops_the_connection_to_a_server_that_can_not(
    one: Engine, clean: None, statements: list[str], expected: Fault, dropped: bool
) -> None:
    before = backend(one)

    def run() -> None:
        with one.begin() as connection:
            for statement in statements:
                connection.execute(text(statement.replace(":", "\\:")))

    with pytest.raises(DBAPIError) as raised:
        run()
    assert fault(raised.value) is expected
    assert (backend(one) != before) is dropped


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("statements", "expected", "dropped"),
    [
        ([READ_ONLY, INSERT], Fault.UNAVAILABLE, True),
        ([raising("57P01")], Fault.UNAVAILABLE, True),
        ([raising("53100")], Fault.UNAVAILABLE, True),
        ([raising("40P01")], Fault.BUSY, False),
        ([raising("54000")], Fault.UNSTORABLE, False),
        (["SELECT nothing"], Fault.BUG, False),
    ],
    ids=lambda value: value[-1][:30] if isinstance(value, list) else None,
)
async def test_so_does_the_api(
    async_engine: AsyncEngine, statements: list[str], expected: Fault, dropped: bool
) -> None:
    async def pid() -> int:
        async with async_engine.begin() as connection:
            found: int = (await connection.execute(PID)).scalar_one()
        return found

    async def run() -> None:
        async with async_engine.begin() as connection:
            for statement in statements:
                await connection.execute(text(statement.replace(":", "\\:")))

    before = await pid()
    with pytest.raises(DBAPIError) as raised:
        await run()
    assert fault(raised.value) is expected
    assert (await pid() != before) is dropped


@pytest.mark.anyio
async def test_a_transaction_that_could_not_begin_spoils_no_later_one(
    async_engine: AsyncEngine,
) -> None:
    async with async_engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        driver.begin = "BEGIN; SELECT 1/0;"
        with pytest.raises(DBAPIError):
            await connection.execute(PID)
    for _ in range(2):
        async with async_engine.begin() as connection:
            await connection.execute(text("SELECT 1"))


@pytest.mark.parametrize("state", ["25006", "53100", "40001", "57014"])
def test_a_write_that_must_get_through_outlasts_an_outage(one: Engine, state: str) -> None:
    tries = 0

    def write(connection: Connection) -> int:
        nonlocal tries
        tries += 1
        if tries == 1:
            connection.execute(text(raising(state)))
        return tries

    assert persist(one, write) == 2


@pytest.mark.parametrize("state", ["54000", "22P05", "23514", "42703"])
def test_a_write_that_no_server_takes_is_not_tried_again(one: Engine, state: str) -> None:
    tries = 0

    def write(connection: Connection) -> None:
        nonlocal tries
        tries += 1
        connection.execute(text(raising(state)))

    with pytest.raises(DBAPIError) as raised:
        persist(one, write)
    assert (sqlstate(raised.value), tries) == (state, 1)


def test_a_session_that_idled_too_long_fails_no_transaction(one: Engine, engine: Engine) -> None:
    """As with `idle_session_timeout`: the server ends it between two transactions."""
    before = backend(one)
    with engine.begin() as other:
        other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": before})
    assert backend(one) != before


# --- results --------------------------------------------------------------------------------------


class Nothing(JobOptions):
    seconds: float = 0


class Words(JobOptions):
    words: str


@pytest.fixture
def view(engine: Engine, make_owner: Callable[..., UUID]) -> View:
    return View(engine, make_owner())


@pytest.fixture
def execute(settings: Settings, view: View, tmp_path: Path) -> Iterator[Callable[[AnyKind], UUID]]:
    """Run a job of the kind: its id."""
    executors = []

    def execute(kind: AnyKind) -> UUID:
        identity = Identity(uuid4(), "cpu", "1", KindRegistry([kind]))
        executor = Executor(
            settings,
            identity,
            Slots(1),
            slot=0,
            scratch=tmp_path / "scratch",
            memory_per_slot=1 << 40,
        )
        executors.append(executor)
        job = view.submit(kind.name)
        executor.execute(job)
        return job

    yield execute
    for executor in executors:
        executor._engine.dispose()
        executor._announcer.close()


def test_a_result_that_can_not_be_stored_fails_the_job_once_by_name(
    execute: Callable[[AnyKind], UUID], view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The check of results knows all that PostgreSQL is known to refuse: here it lets a NUL through.
    monkeypatch.setattr(
        "worker.executor.stored_result", lambda _, result, **__: result.model_dump_json()
    )

    @job_kind("test.nul", pool="cpu", timeout=60, max_tries=3)
    def nul(spec: Nothing, job: JobContext) -> Words:
        return Words(words="a\0b")

    found = view.job(execute(nul))
    assert (found["state"], found["error_code"]) == ("failed", "result-not-storable")
    assert (found["tries"], found["dead"]) == (1, False)
