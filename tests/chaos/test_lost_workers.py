"""Killed and frozen workers: a lease at most, and never a job."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from sqlalchemy import text

from app.core.db import IDLE_IN_TRANSACTION
from app.services import ledger
from tests.chaos.conftest import Stack
from tests.ledger_view import KEEP
from tests.processes import Part, environment, until

# A lease of 30 s, a turn of rescue and of dispatch, and what a busy machine adds.
RESCUED_WITHIN = 45

# What five losses (a job's last) would take if each cost a lease is 150 s: of that, less (seconds).
FIVE_QUICK_LOSSES = 120


def working_child(log: Path) -> int:
    """The process that the last started attempt runs in."""
    line = until(
        lambda: (
            [line for line in log.read_text().splitlines() if line.startswith("start")]
            if log.exists()
            else None
        ),
        seconds=30,
        what="a started attempt",
    )[-1]
    return int(line.split()[-1])


@pytest.mark.parametrize("victim", ["parent", "child"])
def test_a_killed_workers_job_runs_again_and_succeeds(
    stack: Stack, tmp_path: Path, victim: str
) -> None:
    stack.parts.controller().ready()
    worker = stack.parts.worker(concurrency=1).ready()
    # Ready first: on a busy machine, the job might end before.
    other = stack.parts.worker(concurrency=1).ready()
    log = tmp_path / "attempts"
    job = stack.ledger.submit(seconds=6, log=str(log))
    child = working_child(log)
    mine = child in {process.pid for process in worker.children()}
    owner = worker if mine else other
    if victim == "parent":
        owner.kill()
        assert not psutil.pid_exists(child) or until(
            lambda: not psutil.pid_exists(child), seconds=5, what="children die with their parent"
        )
    else:
        psutil.Process(child).kill()

    until(
        lambda: stack.ledger.running(job, 2),
        seconds=RESCUED_WITHIN,
        what="the second attempt runs",
    )
    with stack.ledger.engine.begin() as connection:
        assert ledger.progress(connection, job, 1, fraction=1, message="late") is None
        assert ledger.succeed(connection, job, 1, result='{"late": true}', keep=KEEP) is None
        assert ledger.release(connection, job, 1, keep=KEEP) is None
    assert stack.ledger.running(job, 2)
    until(lambda: stack.ledger.succeeded(job), seconds=60, what="the second attempt succeeds")
    ended = stack.ledger.job(job)
    assert ended["attempt"] == 2
    assert ended["result"]["attempt"] == 2  # type: ignore[index]


def test_a_child_that_ends_right_after_its_claim_costs_a_loss_and_no_lease(stack: Stack) -> None:
    """Nobody has seen it alive: the watch looks four times a second, it lives for milliseconds."""
    stack.parts.controller().ready()
    stack.parts.worker(concurrency=2).ready()
    jobs = [stack.ledger.submit_spec("test.vanish", how=how) for how in ("exit", "segfault")]
    until(
        lambda: all(stack.ledger.state(job) == "failed" for job in jobs),
        seconds=FIVE_QUICK_LOSSES,
        what="both are given up",
    )
    for job in jobs:
        ended = stack.ledger.job(job)
        assert (ended["error_code"], ended["attempt"], ended["tries"]) == ("worker-lost", 5, 0)
    after = stack.ledger.submit(seconds=0)
    until(lambda: stack.ledger.succeeded(after), seconds=30, what="the slots go on")


def test_a_zombie_overwrites_nothing(stack: Stack, tmp_path: Path) -> None:
    """Frozen past its lease, then thawed: what it wrote is not what the owner gets."""
    stack.parts.controller().ready()
    worker = stack.parts.worker(concurrency=1).ready()
    log = tmp_path / "attempts"
    job = stack.ledger.submit("test.write", seconds=3, log=str(log))
    working_child(log)
    frozen = [psutil.Process(worker.pid), *worker.children()]
    for process in frozen:
        process.suspend()
    stack.parts.worker(concurrency=1).ready()
    until(lambda: stack.ledger.succeeded(job), seconds=90, what="a second attempt succeeds")
    for process in frozen:
        process.resume()
    until(
        lambda: (
            "end" in [line.split()[0] for line in log.read_text().splitlines()[2:]]
            and "refused" in worker.output
        ),
        seconds=30,
        what="the zombie tries to finish, and is refused",
    )
    result = stack.ledger.job(job)["result"]
    assert result["attempt"] == 2  # type: ignore[index]
    assert stack.ledger.count("files WHERE state = 'ready'") == 1
    assert stack.ledger.count("files WHERE state = 'ready' AND attempt = 2") == 1
    assert stack.ledger.count("files WHERE state = 'pending' AND expires_at < now()") == 1


FREEZE_IN_A_TRANSACTION = """
import os, signal, sys
from uuid import UUID
from app.core.config import load_settings
from app.core.db import sync_engine
from app.services import ledger

with sync_engine(load_settings().database).begin() as connection:
    assert ledger.progress(connection, UUID(sys.argv[1]), 1, fraction=0.5, message="frozen")
    os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_a_worker_that_froze_before_a_commit_holds_its_row_no_longer(stack: Stack) -> None:
    """Nor would a node that vanished: to PostgreSQL both are a session that says nothing more."""
    stack.parts.controller().ready()
    job = stack.ledger.submit()
    with stack.ledger.engine.begin() as connection:
        assert ledger.claim(connection, job, worker_id=uuid4(), kinds=["test.nap"], version="1")
    frozen = subprocess.Popen(
        [sys.executable, "-c", FREEZE_IN_A_TRANSACTION, str(job)], env=environment(stack.settings)
    )
    try:
        until(
            lambda: psutil.Process(frozen.pid).status() == psutil.STATUS_STOPPED,
            seconds=30,
            what="it has written and not committed",
        )
        free = text("SELECT job_id FROM job_runs FOR UPDATE SKIP LOCKED")
        with stack.ledger.engine.begin() as connection:
            assert connection.execute(free).all() == [], "it holds the row"
        until(
            lambda: stack.ledger.state(job) == "queued",
            seconds=RESCUED_WITHIN + IDLE_IN_TRANSACTION,
            what="rescue has taken it",
        )
        frozen.send_signal(signal.SIGCONT)
        assert frozen.wait(30) != 0, "what it wrote late was not refused"
    finally:
        frozen.kill()
        frozen.wait()
    stack.parts.worker(concurrency=1).ready()
    until(lambda: stack.ledger.succeeded(job), seconds=30, what="the second attempt succeeds")
    assert stack.ledger.job(job)["attempt"] == 2


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_job_that_an_idle_lost_worker_was_sent_starts_elsewhere(
    stack: Stack, how: signal.Signals
) -> None:
    """Its blocking read may have swallowed the message; the row knows better."""
    stack.parts.controller().ready()
    workers = [stack.parts.worker(concurrency=1).ready() for _ in range(2)]
    until(lambda: stack.ledger.count("workers") == 2, seconds=10, what="both registered")
    lost = workers[0]
    for process in [psutil.Process(lost.pid), *lost.children()]:
        process.send_signal(how)
    job = stack.ledger.submit(seconds=0.1)
    started = time.monotonic()
    until(lambda: stack.ledger.succeeded(job), seconds=30, what="it runs elsewhere")
    # The bound is the promise itself, some seconds for a lost message; unlike a speed, a busy
    # machine stretches it little.
    assert time.monotonic() - started < 15
    assert stack.ledger.job(job)["attempt"] == 1


def test_sigterm_finishes_the_short_and_puts_back_the_long(stack: Stack) -> None:
    stack.parts.controller().ready()
    drain = 8.0
    worker = stack.parts.worker(concurrency=2, HEAVYLIFT_WORKER_DRAIN=str(drain)).ready()
    short = stack.ledger.submit(seconds=3)
    long = stack.ledger.submit(seconds=600)
    until(
        lambda: stack.ledger.running(short, 1) and stack.ledger.running(long, 1),
        seconds=20,
        what="both run",
    )
    worker.terminate()
    stack.parts.worker(concurrency=1).ready()
    # The deadline, what is kept for the last writes, and what a busy machine adds.
    worker.process.wait(drain + 7)
    assert worker.process.returncode == 0, worker.output
    assert stack.ledger.count("workers") == 1, "it has said goodbye"
    ended = stack.ledger.job(short)
    assert (ended["state"], ended["attempt"]) == ("succeeded", 1)
    until(lambda: stack.ledger.running(long, 2), seconds=20, what="the long one runs elsewhere")
    moved = stack.ledger.job(long)
    assert (moved["tries"], moved["losses"], moved["releases"]) == (0, 0, 1)
    with stack.ledger.engine.begin() as connection:
        ledger.cancel(connection, long, keep=KEEP)
    until(lambda: stack.ledger.state(long) == "cancelled", seconds=30, what="cancelled")


def test_a_second_sigterm_puts_all_back_at_once(stack: Stack) -> None:
    stack.parts.controller().ready()
    worker = stack.parts.worker(concurrency=2, HEAVYLIFT_WORKER_DRAIN="300").ready()
    jobs = [stack.ledger.submit(seconds=600), stack.ledger.submit("test.spin", seconds=60)]
    until(lambda: all(stack.ledger.running(job, 1) for job in jobs), seconds=20, what="both run")
    worker.terminate()
    until(lambda: "draining" in worker.output, seconds=10, what="draining")
    worker.terminate()
    worker.process.wait(15)
    for job in jobs:
        found = stack.ledger.job(job)
        assert (found["state"], found["tries"], found["losses"]) == ("queued", 0, 0)


def child_pids(worker: Part) -> set[int]:
    return {process.pid for process in worker.children()}


def test_the_parent_ends_what_does_not_listen(stack: Stack) -> None:
    """C code that holds the interpreter's lock: its lease is kept, its timeout and cancel too."""
    stack.parts.controller().ready()
    worker = stack.parts.worker(concurrency=1, HEAVYLIFT_WORKER_CANCEL_GRACE="1").ready()
    children = child_pids(worker)
    stuck = stack.ledger.submit("test.spin", seconds=120, max_tries=1)
    until(lambda: stack.ledger.state(stuck) == "failed", seconds=30, what="timed out")
    ended = stack.ledger.job(stuck)
    assert (ended["error_code"], ended["attempt"], ended["dead"]) == ("timeout", 1, True)

    cancelled = stack.ledger.submit(seconds=600)
    until(lambda: stack.ledger.running(cancelled, 1), seconds=20, what="it runs")
    with stack.ledger.engine.begin() as connection:
        ledger.cancel(connection, cancelled, keep=KEEP)
    until(lambda: stack.ledger.state(cancelled) == "cancelled", seconds=20, what="cancelled")
    assert child_pids(worker) != children
    assert stack.ledger.count("job_runs") == 0


def test_a_child_that_takes_too_much_memory_fails_alone(stack: Stack) -> None:
    stack.parts.controller().ready()
    stack.parts.worker(concurrency=2, HEAVYLIFT_WORKER_MEMORY_PER_SLOT=str(256 << 20)).ready()
    neighbour = stack.ledger.submit(seconds=8)
    greedy = stack.ledger.submit("test.hoard")
    until(lambda: stack.ledger.state(greedy) == "failed", seconds=30, what="out of memory")
    ended = stack.ledger.job(greedy)
    assert (ended["error_code"], ended["attempt"]) == ("out-of-memory", 1)
    until(lambda: stack.ledger.succeeded(neighbour), seconds=30, what="the neighbour goes on")
    assert stack.ledger.job(neighbour)["attempt"] == 1
