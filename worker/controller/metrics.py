"""What a controller exports: the ledger's metrics, as it last read them, and its own turns.

A scrape touches no database. The ledger's numbers are the same from every controller, so a query
takes the `max` of them, never the sum.
"""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client import Counter as PrometheusCounter
from prometheus_client import Gauge, Histogram
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from typing_extensions import override

from app.core.metrics import JOB_BUCKETS
from app.models.job import TERMINAL, JobState
from app.services.demand import PoolLoad
from app.services.tallies import ENDINGS, Total

TURN_DURATION = Histogram(
    "heavylift_controller_turn_duration_seconds",
    "Turns of this controller's loops, those that failed included.",
    ["loop"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0),
)
TURN_FAILURES = PrometheusCounter(
    "heavylift_controller_turn_failures",
    "Turns that ended in an error, and were tried again.",
    ["loop"],
)
FOREIGN_DROPPED = PrometheusCounter(
    "heavylift_controller_foreign_dropped",
    "Keys of queues that this controller dropped because they had no list.",
)
PAUSED = Gauge("heavylift_dispatch_paused", "1 while this controller is set to dispatch nothing.")

# What was read longer ago (seconds) says nothing of now: gauges go, counters stay.
STALE = 15.0

STATES = (JobState.SCHEDULED, JobState.QUEUED, JobState.RUNNING)
OUTCOMES = sorted(TERMINAL)

# As Prometheus writes them.
BOUNDS = [*((bound, str(bound)) for bound in JOB_BUCKETS), (math.inf, "+Inf")]

# A pool and one of its kinds.
Kind = tuple[str, str]
# By pool, kind and a further label; with the bucket's bound, where it is a histogram's.
Counted = Counter[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of the ledger in one go."""

    totals: Sequence[Total]
    pools: Sequence[PoolLoad]
    writable: bool = True
    """Whether the server takes writes: without them the ledger is down."""


class _Distribution:
    """Observations in buckets, by labels."""

    def __init__(self) -> None:
        self._counts: defaultdict[tuple[str, ...], Counter[float]] = defaultdict(Counter)
        self._sums: defaultdict[tuple[str, ...], float] = defaultdict(float)

    def add(self, labels: tuple[str, ...], total: Total) -> None:
        self._counts[labels][total.le] += total.n
        self._sums[labels] += total.seconds

    def family(
        self, name: str, documentation: str, labels: list[str], series: Iterable[tuple[str, ...]]
    ) -> HistogramMetricFamily:
        family = HistogramMetricFamily(name, documentation, labels=labels)
        for values in series:
            counts = self._counts[values]
            # A bound that some other version had is in the next one up.
            buckets = [
                (written, sum(n for le, n in counts.items() if le <= bound))
                for bound, written in BOUNDS
            ]
            family.add_metric(values, buckets, self._sums[values])
        return family


def _counter(
    name: str, documentation: str, labels: list[str], series: Iterable[tuple[str, ...]], n: Counted
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, documentation, labels=labels)
    for values in series:
        family.add_metric(values, n[values])
    return family


def counters(totals: Sequence[Total], kinds: Iterable[Kind]) -> list[Metric]:
    """What only grows. A kind that nobody has used yet has its zeros, so that a first one shows."""
    submitted: Counted = Counter()
    finished: Counted = Counter()
    dead: Counted = Counter()
    attempts: Counted = Counter()
    moved: dict[str, Counted] = {"dispatched": Counter(), "redispatched": Counter()}
    waits, runs = _Distribution(), _Distribution()
    for total in totals:
        kind = total.kind, total.pool
        if total.event == "accepted":
            submitted[kind] += total.n
        elif total.event == "claimed":
            waits.add(kind, total)
        elif total.event in moved:
            moved[total.event][kind] += total.n
        if total.outcome is not None:
            finished[*kind, total.outcome] += total.n
            dead[kind] += total.n if total.dead else 0
        if total.ending is not None:
            attempts[*kind, total.ending] += total.n
            runs.add((*kind, total.ending), total)
    lost = Counter({kind[:2]: n for kind, n in attempts.items() if kind[2] == "lost"})
    plain = sorted({(kind, pool) for pool, kind in kinds} | {(t.kind, t.pool) for t in totals})
    by_outcome = [(*kind, outcome) for kind in plain for outcome in OUTCOMES]
    by_ending = [(*kind, ending) for kind in plain for ending in ENDINGS]
    labels, outcome = ["kind", "pool"], ["kind", "pool", "outcome"]
    return [
        _counter("heavylift_jobs_submitted", "Jobs accepted.", labels, plain, submitted),
        _counter("heavylift_jobs_finished", "Jobs that ended.", outcome, by_outcome, finished),
        _counter("heavylift_dead_letters", "Jobs given up.", labels, plain, dead),
        _counter("heavylift_job_attempts", "Attempts that ended.", outcome, by_ending, attempts),
        _counter("heavylift_job_dispatches", "Messages sent.", labels, plain, moved["dispatched"]),
        _counter(
            "heavylift_job_redispatches",
            "Messages that were lost, and sent again.",
            labels,
            plain,
            moved["redispatched"],
        ),
        _counter("heavylift_job_rescues", "Attempts lost with their worker.", labels, plain, lost),
        waits.family(
            "heavylift_job_queue_duration_seconds",
            "From when a job could be taken to its claim, of each attempt.",
            labels,
            plain,
        ),
        runs.family(
            "heavylift_job_run_duration_seconds",
            "From an attempt's claim to its end.",
            outcome,
            by_ending,
        ),
    ]


def gauges(
    reading: Reading, kinds: Iterable[Kind], *, window_per_slot: int, demand_limit: int
) -> list[Metric]:
    """What is so now."""
    jobs: Counted = Counter()
    for total in reading.totals:
        jobs[total.kind, total.pool, total.to_state] += total.n
        jobs[total.kind, total.pool, total.from_state] -= total.n
    known = {(kind, pool) for pool, kind in kinds} | {key[:2] for key in jobs}
    by_state = GaugeMetricFamily(
        "heavylift_jobs", "Jobs that have not ended.", labels=["kind", "pool", "state"]
    )
    for kind, pool in sorted(known):
        for state in STATES:
            by_state.add_metric([kind, pool, state], jobs[kind, pool, state])
    families: list[Metric] = [by_state]
    of_pools: list[tuple[str, str, Callable[[PoolLoad], float]]] = [
        ("demand_slots", DEMAND, lambda pool: pool.demand(demand_limit)),
        ("slots", "Slots of the workers that take jobs.", lambda pool: pool.slots),
        ("slots_busy", "Slots of theirs that have one.", lambda pool: pool.busy),
        ("workers", "Live workers that take jobs.", lambda pool: pool.workers),
        (
            "oldest_eligible_age_seconds",
            "For how long the job has waited that could be taken first; 0 if none waits.",
            lambda pool: pool.oldest,
        ),
        ("window_messages", "Messages that nobody has claimed.", lambda pool: pool.unclaimed),
        (
            "window_limit",
            "Messages that may be out unclaimed.",
            lambda pool: pool.slots * window_per_slot,
        ),
    ]
    for name, documentation, value in of_pools:
        family = GaugeMetricFamily(f"heavylift_pool_{name}", documentation, labels=["pool"])
        for load in reading.pools:
            family.add_metric([load.pool], value(load))
        families.append(family)
    return families


DEMAND = "Slots that the pool should have: what waits and runs, and the rest of busy workers."


def demand(pools: Sequence[PoolLoad], *, limit: int) -> str:
    """Classic text, that one series alone: KEDA reads the whole page or nothing of it."""
    name = "heavylift_pool_demand_slots"
    lines = [f"# HELP {name} {DEMAND}", f"# TYPE {name} gauge"]
    lines += [f'{name}{{pool="{pool.pool}"}} {pool.demand(limit)}' for pool in pools]
    return "\n".join(lines) + "\n"


class LedgerMetrics(Collector):
    """The last reading, as a scrape shows it. Until there is one, none of it: a zero would lie."""

    def __init__(
        self,
        kinds: Collection[Kind],
        *,
        window_per_slot: int,
        demand_limit: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kinds = kinds
        self._window_per_slot = window_per_slot
        self._demand_limit = demand_limit
        self._clock = clock
        self._read_at = clock()
        self._counters: list[Metric] = []
        self._gauges: list[Metric] = []
        self._demand: str | None = None
        self._up: dict[str, bool] = {}

    def show(self, reading: Reading) -> None:
        # Made here, in the loop's thread: a scrape has only to write them down.
        self._counters = counters(reading.totals, self._kinds)
        self._gauges = gauges(
            reading,
            self._kinds,
            window_per_slot=self._window_per_slot,
            demand_limit=self._demand_limit,
        )
        self._demand = demand(reading.pools, limit=self._demand_limit)
        self._read_at = self._clock()
        self.dependency("postgresql", up=reading.writable)

    def unreadable(self) -> None:
        """The ledger could not be read: what it asks for is not known."""
        self._demand = None
        self.dependency("postgresql", up=False)

    def dependency(self, name: str, *, up: bool) -> None:
        self._up = {**self._up, name: up}

    @property
    def shown(self) -> bool:
        """Whether there was ever a reading."""
        return bool(self._counters)

    @property
    def age(self) -> float:
        """Seconds since the last reading; since the start, where there was none."""
        return self._clock() - self._read_at

    def demand(self) -> str | None:
        """None where it is not known."""
        return self._demand if self.age <= STALE else None

    @override
    def collect(self) -> Iterator[Metric]:
        age = self.age
        yield from self._counters
        if age <= STALE:
            yield from self._gauges
        yield GaugeMetricFamily(
            "heavylift_ledger_read_age_seconds", "Since the ledger was last read.", age
        )
        up = GaugeMetricFamily(
            "heavylift_dependency_up", "Whether it answers this process.", labels=["dependency"]
        )
        for name, answers in self._up.items():
            # A reading that never comes back is no answer either.
            up.add_metric([name], answers and (name != "postgresql" or age <= STALE))
        yield up
