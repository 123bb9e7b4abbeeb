"""The ledger's metrics, made of what a controller has read of it."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from app.core.metrics import JOB_BUCKETS
from app.models.job import TERMINAL, JobState
from app.services.demand import PoolLoad
from app.services.pools import REASONS, Shares, Unrunnable, Version
from app.services.survey import Survey
from app.services.tallies import BEYOND_TARGET, ENDINGS, WITHIN_TARGET, Total

STATES = (JobState.SCHEDULED, JobState.QUEUED, JobState.RUNNING)
OUTCOMES = sorted(TERMINAL)

# As Prometheus writes them.
BOUNDS = [*((bound, str(bound)) for bound in JOB_BUCKETS), (math.inf, "+Inf")]

# The most seconds of a wait target, by the urgency that it stands for.
URGENCIES = (("high", 10.0), ("normal", 120.0), ("low", math.inf))

# By a total's event, the value of the label `within_target`.
WITHIN = {WITHIN_TARGET: "true", BEYOND_TARGET: "false"}

# By kind, pool and a further label.
Counted = Counter[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class KnownKind:
    """A kind that is installed beside the controller; times in seconds."""

    name: str
    pool: str
    timeout: float
    wait_target: float

    @property
    def key(self) -> tuple[str, str]:
        return self.name, self.pool


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of the ledger in one go."""

    totals: Sequence[Total]
    pools: Sequence[PoolLoad]
    shares: Sequence[Shares] = ()
    versions: Sequence[Version] = ()
    unrunnable: Sequence[Unrunnable] = ()
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


def counters(totals: Sequence[Total], kinds: Iterable[KnownKind]) -> list[Metric]:
    """Counters and histograms.

    A kind without any job yet has its zeros, so that its first job is an increase; but not in the
    two histograms by outcome, which would be most of the page: these begin with its first job.
    """
    submitted: Counted = Counter()
    finished: Counted = Counter()
    dead: Counted = Counter()
    attempts: Counted = Counter()
    in_target: Counted = Counter()
    moved: dict[str, Counted] = {"dispatched": Counter(), "redispatched": Counter()}
    waits, runs, turnarounds = _Distribution(), _Distribution(), _Distribution()
    for total in totals:
        kind = total.kind, total.pool
        if total.event == "accepted":
            submitted[kind] += total.n
        elif total.event == "claimed":
            waits.add(kind, total)
        elif total.event in moved:
            moved[total.event][kind] += total.n
        elif total.event in WITHIN:
            in_target[*kind, WITHIN[total.event]] += total.n
        elif total.turnaround_of is not None:
            turnarounds.add((*kind, total.turnaround_of), total)
        if total.outcome is not None:
            finished[*kind, total.outcome] += total.n
            dead[kind] += total.n if total.dead else 0
        if total.ending is not None:
            attempts[*kind, total.ending] += total.n
            runs.add((*kind, total.ending), total)
    lost = Counter({kind[:2]: n for kind, n in attempts.items() if kind[2] == "lost"})
    plain = sorted({kind.key for kind in kinds} | {(t.kind, t.pool) for t in totals})
    by_outcome = [(*kind, outcome) for kind in plain for outcome in OUTCOMES]
    by_ending = [(*kind, ending) for kind in plain for ending in ENDINGS]
    used = sorted({(total.kind, total.pool) for total in totals})
    by_target = [(*kind, within) for kind in plain for within in WITHIN.values()]
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
        _counter(
            "heavylift_job_waits",
            "Attempts that started, by whether they waited no longer than their kind's target.",
            [*labels, "within_target"],
            by_target,
            in_target,
        ),
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
            [(*kind, ending) for kind in used for ending in ENDINGS],
        ),
        turnarounds.family(
            "heavylift_job_turnaround_seconds",
            "From when a job could first be taken to its end, over all its attempts.",
            outcome,
            [(*kind, ending) for kind in used for ending in OUTCOMES],
        ),
    ]


def _gauge(
    name: str, documentation: str, labels: list[str], samples: Mapping[tuple[str, ...], float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"heavylift_{name}", documentation, labels=labels)
    for values, value in samples.items():
        family.add_metric(values, value)
    return family


def settings(kinds: Collection[KnownKind], max_workers: Mapping[str, int]) -> list[Metric]:
    """What the kinds and the settings say, which a graph shows beside what is measured."""
    targets: dict[str, float] = {}
    for kind in kinds:
        targets[kind.pool] = min(kind.wait_target, targets.get(kind.pool, math.inf))
    return [
        _gauge(
            "job_wait_target_seconds",
            "Within which an attempt should start.",
            ["kind", "pool"],
            {kind.key: kind.wait_target for kind in kinds},
        ),
        _gauge(
            "job_timeout_seconds",
            "Within which an attempt must end.",
            ["kind", "pool"],
            {kind.key: kind.timeout for kind in kinds},
        ),
        _gauge(
            "pool_wait_target_seconds",
            "The shortest of the targets of the pool's kinds, and the urgency that it stands for.",
            ["pool", "urgency"],
            {(pool, urgency(target)): target for pool, target in targets.items()},
        ),
        _gauge(
            "pool_workers_max",
            "Workers that the pool is scaled out to at most.",
            ["pool"],
            {(pool,): count for pool, count in max_workers.items()},
        ),
    ]


def urgency(target: float) -> str:
    """Of a wait target in seconds."""
    return next(name for name, most in URGENCIES if target <= most)


def gauges(
    reading: Reading, kinds: Collection[KnownKind], *, window_per_slot: int, demand_limit: int
) -> list[Metric]:
    """What is so now."""
    jobs: Counted = Counter()
    for total in reading.totals:
        jobs[total.kind, total.pool, total.to_state] += total.n
        jobs[total.kind, total.pool, total.from_state] -= total.n
    known = sorted({kind.key for kind in kinds} | {key[:2] for key in jobs})
    unrunnable: Counted = Counter()
    for one in reading.unrunnable:
        unrunnable[one.kind, one.pool, one.reason] += one.jobs
    return [
        _gauge(
            "jobs",
            "Jobs that have not ended.",
            ["kind", "pool", "state"],
            {(*kind, state): jobs[*kind, state] for kind in known for state in STATES},
        ),
        _gauge(
            "jobs_unrunnable",
            "Waiting jobs that no live worker of their pool can run, by the reason.",
            ["kind", "pool", "reason"],
            {(*kind, reason): unrunnable[*kind, reason] for kind in known for reason in REASONS},
        ),
        *_of_pools(LOADS, reading.pools),
        _gauge(
            "pool_demand_slots",
            DEMAND,
            ["pool"],
            {(load.pool,): load.demand(demand_limit) for load in reading.pools},
        ),
        _gauge(
            "pool_window_limit",
            "Messages that may be out unclaimed.",
            ["pool"],
            {(load.pool,): load.slots * window_per_slot for load in reading.pools},
        ),
        *_of_pools(SHARES, reading.shares),
        _gauge(
            "pool_build_workers",
            "Live workers by what they run, those that drain too.",
            ["pool", "version", "build"],
            {(one.pool, one.version, one.build): one.workers for one in reading.versions},
        ),
    ]


DEMAND = "Slots that the pool should have: what waits and runs, and the rest of busy workers."

LOADS: list[tuple[str, str, Callable[[PoolLoad], float]]] = [
    ("slots", "Slots of the workers that take jobs.", lambda load: load.slots),
    ("slots_busy", "Slots of theirs that have one.", lambda load: load.busy),
    ("workers", "Live workers that take jobs.", lambda load: load.workers),
    (
        "oldest_eligible_age_seconds",
        "For how long the job has waited that could be taken first; 0 if none waits.",
        lambda load: load.oldest,
    ),
    ("window_messages", "Messages that nobody has claimed.", lambda load: load.unclaimed),
]

SHARES: list[tuple[str, str, Callable[[Shares], float]]] = [
    (
        "owners_waiting",
        "Owners with a job that waits and has no message out.",
        lambda shares: shares.owners_waiting,
    ),
    (
        "largest_share_ratio",
        "The part of the places in use that one owner has; 0 if none is in use.",
        lambda shares: shares.largest,
    ),
    (
        "longest_owner_wait_seconds",
        "For how long an owner without any place has waited for the first; 0 if there is none.",
        lambda shares: shares.longest_wait,
    ),
    (
        "oldest_cancel_age_seconds",
        "For how long a job has gone on after it was cancelled; 0 if none does.",
        lambda shares: shares.oldest_cancel,
    ),
]

OfPool = TypeVar("OfPool", PoolLoad, Shares)


def _of_pools(
    shown: Iterable[tuple[str, str, Callable[[OfPool], float]]], pools: Sequence[OfPool]
) -> list[Metric]:
    return [
        _gauge(f"pool_{name}", documentation, ["pool"], {(one.pool,): value(one) for one in pools})
        for name, documentation, value in shown
    ]


def surveyed(survey: Survey, kinds: Iterable[KnownKind], totals: Sequence[Total]) -> list[Metric]:
    """What changes slowly."""
    # A finished job does not say which pool it was in.
    pools = {total.kind: total.pool for total in totals} | {kind.name: kind.pool for kind in kinds}
    letters = {one.kind: one for one in survey.dead_letters}
    known = sorted({*pools, *letters})
    tables = {(one.table,): one for one in survey.relations if not one.index}
    labels = ["kind", "pool"]
    return [
        _gauge(
            "dead_letters_open",
            "Jobs given up that are still kept.",
            labels,
            {
                (kind, pools.get(kind, "")): letters[kind].count if kind in letters else 0
                for kind in known
            },
        ),
        _gauge(
            "dead_letters_oldest_age_seconds",
            "Since the first of the jobs given up ended; 0 if none is kept.",
            labels,
            {
                (kind, pools.get(kind, "")): letters[kind].oldest if kind in letters else 0
                for kind in known
            },
        ),
        _gauge(
            "dead_letters_expiry_seconds",
            "Until the first of the jobs given up is removed; none without one.",
            labels,
            {(kind, pools.get(kind, "")): one.expires for kind, one in letters.items()},
        ),
        _gauge(
            "ledger_table_bytes",
            "A table's size on disk, without its indexes.",
            ["table"],
            {key: one.bytes for key, one in tables.items()},
        ),
        _gauge(
            "ledger_index_bytes",
            "An index's size on disk.",
            ["table", "index"],
            {(one.table, one.index): one.bytes for one in survey.relations if one.index},
        ),
        _gauge(
            "ledger_dead_rows",
            "Row versions that vacuum has not removed yet.",
            ["table"],
            {key: one.dead_rows for key, one in tables.items()},
        ),
        _gauge(
            "database_connections",
            "PostgreSQL's sessions of all its clients.",
            [],
            {(): survey.server.connections},
        ),
        _gauge(
            "database_connections_max",
            "Sessions that PostgreSQL allows its clients.",
            [],
            {(): survey.server.connections_max},
        ),
        _gauge(
            "database_oldest_transaction_seconds",
            "For how long the oldest open transaction has been open.",
            [],
            {(): survey.server.oldest_transaction},
        ),
    ]
