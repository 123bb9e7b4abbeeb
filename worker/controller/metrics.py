"""What a controller exports: the ledger's metrics, as it last read them, and its own turns.

A scrape touches no database. The ledger's numbers are the same from every controller, so a query
takes the `max` of them, never the sum.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from app.services.demand import PoolLoad
from app.services.survey import Survey
from app.services.tallies import Total
from worker.controller import ledger_families as families
from worker.controller.ledger_families import DEMAND, KnownKind, Reading

TURN_DURATION = Histogram(
    "heavylift_controller_turn_duration_seconds",
    "Turns of this controller's loops, those that failed included.",
    ["loop"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0),
)
TURN_FAILURES = Counter(
    "heavylift_controller_turn_failures",
    "Turns that ended in an error, and were tried again.",
    ["loop"],
)
FOREIGN_DROPPED = Counter(
    "heavylift_controller_foreign_dropped",
    "Keys of queues that this controller dropped because they had no list.",
)
PAUSED = Gauge("heavylift_dispatch_paused", "1 while this controller is set to dispatch nothing.")

# What was read longer ago (seconds) says nothing of now: gauges go, counters stay.
STALE = 15.0

# The same of the survey, which is taken every 30 s.
SURVEY_STALE = 120.0


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
        kinds: Collection[KnownKind],
        *,
        window_per_slot: int,
        demand_limit: int,
        max_workers: Mapping[str, int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kinds = kinds
        self._window_per_slot = window_per_slot
        self._demand_limit = demand_limit
        self._clock = clock
        self._read_at = self._surveyed_at = clock()
        self._totals: Sequence[Total] = ()
        self._counters: list[Metric] = []
        self._gauges: list[Metric] = []
        self._survey: list[Metric] = []
        self._settings = families.settings(kinds, max_workers or {})
        self._demand: str | None = None
        self._up: dict[str, bool] = {}

    def show(self, reading: Reading) -> None:
        # Made here, in the loop's thread: a scrape has only to write them down.
        self._totals = reading.totals
        self._counters = families.counters(reading.totals, self._kinds)
        self._gauges = families.gauges(
            reading,
            self._kinds,
            window_per_slot=self._window_per_slot,
            demand_limit=self._demand_limit,
        )
        self._demand = demand(reading.pools, limit=self._demand_limit)
        self._read_at = self._clock()
        self.dependency("postgresql", up=reading.writable)

    def show_survey(self, survey: Survey) -> None:
        self._survey = families.surveyed(survey, self._kinds, self._totals)
        self._surveyed_at = self._clock()

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
        yield from self._settings
        yield from self._counters
        if age <= STALE:
            yield from self._gauges
        if self._clock() - self._surveyed_at <= SURVEY_STALE:
            yield from self._survey
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
