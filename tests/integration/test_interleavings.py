"""Claim, beat, finish, release, rescue and cancel, each in its own transaction, in every order.

Hypothesis draws which transactions there are and how their beginnings and commits interleave;
PostgreSQL, where one has to wait for another's row, decides the rest.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from app.core import db
from app.core.config import Settings
from app.services import ledger
from app.services.ledger import Beat, Claim, Submission
from tests.ledger_view import KEEP

pytestmark = pytest.mark.slow

WORKERS = 5

# How long a statement that waits for nobody may take before it counts as waiting (seconds). Taken
# for waiting when it was only slow, it is one more interleaving, no wrong verdict.
WAITS_AFTER = 0.05


@dataclass
class World:
    """One job, and what its transactions were told. `held` are the attempts that were begun."""

    job: UUID
    held: list[int] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """Each terminal state that some transaction was told it had written."""
    cancel_asked: bool = False

    def attempt(self) -> int:
        """The latest attempt that a worker knows of; before the first claim, a guess."""
        return max(self.held, default=1)


Operation = Callable[[Connection, World], object]


def ended(change: object, world: World) -> object:
    if isinstance(change, ledger.Change) and change.state in ("succeeded", "failed", "cancelled"):
        world.told.append(str(change.state))
    return change


def claim(connection: Connection, world: World) -> object:
    return ledger.claim(connection, world.job, worker_id=uuid4(), kinds=["a.b"], version="1")


def beat(connection: Connection, world: World) -> object:
    held = (world.job, world.attempt())
    worker = Beat(uuid4(), "cpu", "host", "1", "b1", ["a.b"], 1, draining=False, held=[held])
    return ledger.heartbeat(connection, worker)


def _succeed(connection: Connection, world: World, attempt: int) -> object:
    change = ledger.succeed(connection, world.job, attempt, result='{"n": 1}', keep=KEEP)
    # The fence: nobody ends another's attempt.
    assert change is None or change.attempt == attempt
    return ended(change, world)


def succeed(connection: Connection, world: World) -> object:
    return _succeed(connection, world, world.attempt())


def succeed_late(connection: Connection, world: World) -> object:
    """What the worker of the first attempt says, which may have lost its lease long ago."""
    return _succeed(connection, world, min(world.held, default=1))


def _fail(connection: Connection, world: World, *, retryable: bool) -> object:
    attempt = world.attempt()
    change = ledger.fail(
        connection, world.job, attempt, code="c", detail="d", retryable=retryable, keep=KEEP
    )
    assert change is None or change.attempt == attempt
    return ended(change, world)


def fail(connection: Connection, world: World) -> object:
    return _fail(connection, world, retryable=True)


def refuse(connection: Connection, world: World) -> object:
    return _fail(connection, world, retryable=False)


def release(connection: Connection, world: World) -> object:
    return _release(connection, world, world.attempt())


def release_late(connection: Connection, world: World) -> object:
    return _release(connection, world, min(world.held, default=1))


def _release(connection: Connection, world: World, attempt: int) -> object:
    change = ledger.release(connection, world.job, attempt, keep=KEEP)
    assert change is None or change.attempt == attempt
    return ended(change, world)


def rescue(connection: Connection, world: World) -> object:
    changes = ledger.rescue(connection, asked_at=ledger.now(connection), limit=10, keep=KEEP)
    for change in changes:
        ended(change, world)
    return changes


def expire(connection: Connection, world: World) -> object:
    return ledger.forfeit(connection, world.job, world.attempt())


def promote(connection: Connection, world: World) -> object:
    due = text("UPDATE job_runs SET due_at = clock_timestamp() WHERE state = 'scheduled'")
    connection.execute(due)
    return ledger.promote(connection, limit=10)


def cancel(connection: Connection, world: World) -> object:
    change = ledger.cancel(connection, world.job, keep=KEEP)
    world.cancel_asked = True
    return ended(change, world)


OPERATIONS: list[Operation] = [
    claim, beat, succeed, fail, refuse, release, rescue, expire, promote, cancel,
]  # fmt: skip
LATE: list[Operation] = [succeed_late, release_late]

# What was committed before the operations begin.
STARTS: dict[str, list[Operation]] = {
    "queued": [],
    "running": [claim],
    "expired": [claim, expire],
    "claimed again": [claim, expire, rescue, claim],
}


class Transaction:
    """An operation in a thread: it runs when told to begin, and commits when told to."""

    def __init__(self, engine: Engine, operation: Operation, world: World) -> None:
        self._engine = engine
        self._operation = operation
        self._world = world
        self._done = threading.Event()
        self._commit = threading.Event()
        self._future: Future[None] | None = None

    def begin(self, threads: ThreadPoolExecutor) -> None:
        self._future = threads.submit(self._run)
        self._done.wait(WAITS_AFTER)

    def _run(self) -> None:
        try:
            with self._engine.begin() as connection:
                answer = self._operation(connection, self._world)
                self._done.set()
                self._commit.wait(30)
            if isinstance(answer, Claim):
                self._world.held.append(answer.attempt)
        finally:
            self._done.set()

    def commit(self) -> None:
        """What waits for another transaction's row is committed when it can be."""
        self._commit.set()
        if self._future is not None and self._done.wait(WAITS_AFTER):
            self._future.result(30)

    def end(self) -> None:
        self._commit.set()
        if self._future is not None:
            self._future.result(30)


@st.composite
def interleavings(draw: st.DrawFn) -> list[tuple[str, int, Operation]]:
    """Beginnings and commits, each transaction's commit after its beginning."""
    operations = draw(st.lists(st.sampled_from([*OPERATIONS, *LATE]), min_size=2, max_size=WORKERS))
    order = draw(st.permutations([n for n in range(len(operations)) for _ in range(2)]))
    begun: set[int] = set()
    steps = []
    for n in order:
        steps.append(("commit" if n in begun else "begin", n, operations[n]))
        begun.add(n)
    return steps


@pytest.fixture(scope="module")
def engines(settings: Settings) -> Iterator[Engine]:
    engine = db.sync_engine(settings.database, connections=WORKERS + 1)
    yield engine
    engine.dispose()


def submit(engine: Engine) -> UUID:
    with engine.begin() as connection:
        owner = connection.execute(
            text("INSERT INTO users (email, password_hash) VALUES (:email, '!') RETURNING id"),
            {"email": f"{uuid4()}@example.com"},
        ).scalar_one()
        job = ledger.accept(connection, Submission(owner, "a.b", "cpu", 2, "{}"))
    assert job is not None
    return job


def state(engine: Engine, job: UUID) -> tuple[str | None, str | None, bool]:
    """The outcome, the run's state, and whether it is to be cancelled."""
    query = text(
        "SELECT job.outcome, run.state, run.cancel_requested_at IS NOT NULL"
        " FROM jobs AS job LEFT JOIN job_runs AS run ON run.job_id = job.id WHERE job.id = :job"
    )
    with engine.begin() as connection:
        row = connection.execute(query, {"job": job}).one()
    return row[0], row[1], row[2]


def check(engine: Engine, world: World) -> None:
    outcome, run, cancelling = state(engine, world.job)
    # One or the other, never both, never neither.
    assert (outcome is None) != (run is None)
    assert world.told == ([] if outcome is None else [outcome])
    # Cancel wins: what was asked to end has ended, or runs and knows.
    if world.cancel_asked and outcome is None:
        assert (run, cancelling) == ("running", True)


def play(engine: Engine, steps: list[tuple[str, int, Operation]], *, start: str) -> None:
    world = World(submit(engine))
    for operation in STARTS[start]:
        with engine.begin() as connection:
            answer = operation(connection, world)
        assert answer, operation
        if isinstance(answer, Claim):
            world.held.append(answer.attempt)
    with ThreadPoolExecutor(WORKERS) as threads:
        transactions: dict[int, Transaction] = {}
        for step, n, operation in steps:
            if step == "begin":
                transactions[n] = Transaction(engine, operation, world)
                transactions[n].begin(threads)
            else:
                transactions[n].commit()
        for transaction in transactions.values():
            transaction.end()
    # Two claims that both began an attempt began different ones.
    assert len(set(world.held)) == len(world.held)
    check(engine, world)

    # Whatever is left of it comes to exactly one end.
    deadline = time.monotonic() + 20
    while state(engine, world.job)[0] is None:
        assert time.monotonic() < deadline
        with engine.begin() as connection:
            promote(connection, world)
            claimed = claim(connection, world)
            if isinstance(claimed, Claim):
                world.held.append(claimed.attempt)
            succeed(connection, world)
    check(engine, world)
    with engine.begin() as connection:
        assert ledger.cancel(connection, world.job, keep=KEEP) is None
        assert claim(connection, world) is None


PAIRS: list[tuple[str, Operation, Operation]] = [
    *((start, first, second) for start in ("queued", "running")
      for first in OPERATIONS for second in OPERATIONS),
    # Where a lease has run out, what matters is who else comes for the row with the rescue.
    *(("expired", rescue, other) for other in [*OPERATIONS, *LATE]),
    *(("expired", other, rescue) for other in [*OPERATIONS, *LATE]),
    *(("claimed again", late, other) for late in LATE for other in OPERATIONS),
    *(("claimed again", other, late) for late in LATE for other in OPERATIONS),
]  # fmt: skip


@pytest.mark.parametrize(
    ("start", "first", "second"),
    [
        pytest.param(*pair, id="-".join([pair[0], *(op.__name__ for op in pair[1:])]))
        for pair in PAIRS
    ],
)
def test_one_terminal_state_of_every_two(
    engines: Engine, clean: None, start: str, first: Operation, second: Operation
) -> None:
    """The second begins while the first holds the row, and goes on when that has committed."""
    steps = [("begin", 0, first), ("begin", 1, second), ("commit", 0, first), ("commit", 1, second)]
    play(engines, steps, start=start)


@pytest.mark.parametrize("start", STARTS)
@hypothesis(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=interleavings())
def test_one_terminal_state_whatever_the_order(
    engines: Engine, clean: None, start: str, steps: list[tuple[str, int, Operation]]
) -> None:
    play(engines, steps, start=start)
