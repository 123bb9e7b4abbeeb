"""The ledger's metrics, as real controllers show them: exact to the last job, whatever died."""

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import psutil
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from app.services import demand, tallies
from tests.chaos.conftest import Stack
from tests.chaos.test_outages import freeze_postgres, stop_postgres
from tests.counting import Signals, counted, told
from tests.processes import Part, until
from worker.controller.ledger_families import Reading
from worker.controller.main import CONNECTIONS
from worker.controller.measure import known_kinds
from worker.controller.metrics import STALE, LedgerMetrics

PORT = {"HEAVYLIFT_SIGNALS_PORT": "0"}

KILLS = 20
JOBS = 1_000
SCRAPES = 300

# Some are long enough to be hit.
LONG = 40


def controller(stack: Stack) -> Part:
    return stack.parts.controller(**PORT)


def settled(stack: Stack, *signals: Signals) -> None:
    """Every tally counted, and read by all."""
    until(lambda: stack.ledger.count("job_tallies") == 0, seconds=30, what="all is counted")
    expected = counted(stack.ledger)
    for one in signals:
        until(lambda one=one: told(one.metrics()) == expected, seconds=15, what=f"{expected}")  # type: ignore[misc]


def killed(stack: Stack, workers: list[Part]) -> Iterator[str]:
    """One after the other, what a cluster loses: workers with all they hold, and their children."""
    dice = random.Random(5)
    while True:
        at = dice.randrange(len(workers))
        if dice.random() < 0.4:
            workers[at].kill()
            workers[at] = worker(stack).ready()
            yield "worker"
        elif children := workers[at].children():
            with suppress(psutil.NoSuchProcess):
                dice.choice(children).kill()
                yield "child"


def worker(stack: Stack) -> Part:
    return stack.parts.worker(concurrency=2, HEAVYLIFT_WORKER_JOBS_PER_CHILD="1")


def test_counters_are_the_ledgers_own_after_kills_and_recycles(stack: Stack) -> None:
    controllers = [controller(stack).ready() for _ in range(2)]
    workers = [worker(stack).ready() for _ in range(2)]
    for n in range(JOBS):
        long = n % (JOBS // LONG) == 0
        stack.ledger.submit("test.nap" if long else "test.brief", seconds=1.5 if long else 0)
        if n % 100 == 0:
            stack.ledger.submit("test.fail", max_tries=2)
    kills = killed(stack, workers)
    victims: list[str] = []
    while len(victims) < KILLS:
        if len(victims) in (6, 13):
            # A controller that counts, dispatches and rescues, too.
            controllers[0].kill()
            controllers[0] = controller(stack).ready()
            victims.append("controller")
        done = stack.ledger.count("jobs WHERE outcome <> ''")
        until(
            lambda done=done: stack.ledger.count("jobs WHERE outcome <> ''") >= done + 10,  # type: ignore[misc]
            seconds=90,
            what="work goes on",
        )
        victims.append(next(kills))
    until(lambda: stack.ledger.count("job_runs") == 0, seconds=900, what="all have ended")

    signals = [Signals(one) for one in controllers]
    settled(stack, *signals)
    pages = [one.metrics() for one in signals]
    # Sizes and ages that are read every 30 s may differ.
    exact = ("heavylift_job_", "heavylift_jobs", "heavylift_dead_letters_total")
    assert pages[0].of(*exact) == pages[1].of(*exact)
    succeeded = pages[0].by("heavylift_jobs_finished_total", "outcome")
    assert succeeded == {"succeeded": JOBS, "failed": JOBS // 100, "cancelled": 0}
    assert sum(pages[0].by("heavylift_dead_letters_total", "pool").values()) == JOBS // 100
    attempts = pages[0].by("heavylift_job_attempts_total", "outcome")
    assert attempts["succeeded"] == JOBS
    assert attempts["failed"] == JOBS // 100
    # Each fails twice.
    assert attempts["retried"] == JOBS // 100
    assert attempts == pages[0].by("heavylift_job_run_duration_seconds_count", "outcome")
    rescues = sum(pages[0].by("heavylift_job_rescues_total", "pool").values())
    assert rescues == attempts["lost"] > 0
    # Each job had a child of its own; a few may have had a number that was another's before.
    children = stack.ledger.count(
        "(SELECT DISTINCT result->>'pid' FROM jobs WHERE outcome = 'succeeded') AS child"
    )
    assert children >= JOBS * 0.98
    for part, one in zip(controllers, signals, strict=True):
        assert_scrapes_are_cheap(part, one)
    assert_pages_are_cheap(stack)


def assert_scrapes_are_cheap(part: Part, signals: Signals) -> None:
    """By the processor time of the process that answers: a busy machine makes that no longer."""
    process = psutil.Process(part.pid)
    before, taken = process.cpu_times(), []
    for _ in range(SCRAPES):
        began = time.monotonic()
        assert signals.client.get("/metrics").status_code == 200
        taken.append(time.monotonic() - began)
    after = process.cpu_times()
    print(f"scrapes: p99 {sorted(taken)[int(SCRAPES * 0.99)] * 1000:.0f} ms")  # noqa: T201
    assert (after.user + after.system - before.user - before.system) / SCRAPES < 0.05


def assert_pages_are_cheap(stack: Stack) -> None:
    """The slowest hundredth, by the processor time of the thread that makes them."""
    metrics = LedgerMetrics(known_kinds(stack.settings), window_per_slot=2, demand_limit=10_000)
    with stack.ledger.engine.begin() as connection:
        pools = demand.load(connection, stack.settings.jobs.pools, limit=10_000)
        metrics.show(Reading(tallies.totals(connection), pools))
    registry = CollectorRegistry()
    registry.register(metrics)
    taken = []
    for _ in range(SCRAPES):
        began = time.thread_time()
        generate_latest(registry)
        taken.append(time.thread_time() - began)
    assert sorted(taken)[int(len(taken) * 0.99)] < 0.05


OF_JOBS = ("heavylift_jobs_", "heavylift_job_", "heavylift_dead_letters_total")

# Metrics of settings, which stay while the ledger cannot be read.
SETTINGS = {"heavylift_pool_wait_target_seconds", "heavylift_pool_workers_max"}


@pytest.mark.parametrize("begin", [stop_postgres, freeze_postgres])
def test_an_outage_leaves_a_controller_alive_and_ready_and_asks_for_nothing(
    stack: Stack, begin: Callable[[Stack], Callable[[], None]]
) -> None:
    part = controller(stack).ready()
    signals = Signals(part)
    jobs = [stack.ledger.submit(seconds=0) for _ in range(3)]
    until(lambda: signals.status("/readyz") == 200, seconds=10, what="ready")
    page = 'heavylift_pool_demand_slots{pool="cpu"} 3\n'
    until(lambda: page in signals.client.get("/demand").text, seconds=10, what="3 are asked for")
    settled(stack, signals)
    before = signals.metrics()
    end = begin(stack)
    until(lambda: signals.status("/demand") == 503, seconds=STALE + 15, what="demand is not known")
    until(
        lambda: {name for name, _ in signals.metrics().of("heavylift_pool_")} <= SETTINGS,
        seconds=STALE + 15,
        what="gauges go",
    )
    during = signals.metrics()
    assert "heavylift_jobs" not in during.families
    assert during.value("heavylift_dependency_up", dependency="postgresql") == 0
    assert during.value("heavylift_dependency_up", dependency="redis") == 1
    assert during.value("heavylift_ledger_read_age_seconds") > 3
    # A gauge of jobs that goes, as those of pools do.
    gone = {key for key in before.of(*OF_JOBS) if key[0] == "heavylift_jobs_unrunnable"}
    assert before.of(*OF_JOBS).keys() - during.of(*OF_JOBS).keys() == gone
    assert during.of(*OF_JOBS).items() <= before.of(*OF_JOBS).items()
    assert (signals.status("/livez"), signals.status("/readyz")) == (200, 200)
    end()
    stack.ledger.engine.dispose()
    until(lambda: page in signals.client.get("/demand").text, seconds=20, what="it is read again")
    assert stack.ledger.count("job_runs") == len(jobs)


def test_a_controller_says_what_it_takes_and_leaves_at_a_second_signal(stack: Stack) -> None:
    part = controller(stack).ready()
    signals = Signals(part)
    until(lambda: signals.status("/readyz") == 200, seconds=10, what="ready")
    assert re.search(rf"database_connections\W+{CONNECTIONS}\b", part.output)
    most = max(
        stack.ledger.count("pg_stat_activity WHERE backend_type = 'client backend'")
        for _ in range(50)
    )
    # The test has one open itself.
    assert most - 1 <= CONNECTIONS
    # Its loops wait for a database that says nothing.
    end = freeze_postgres(stack)
    try:
        time.sleep(5)
        part.terminate()
        until(lambda: signals.client.get("/readyz").text == "draining\n", seconds=3, what="unready")
        assert signals.status("/livez") == 200
        part.terminate()
        assert part.process.wait(3) == 0
    finally:
        end()
