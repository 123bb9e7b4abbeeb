"""What a worker's parent says of itself and its children, read when it is asked for."""

from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from worker.messages import Foreign
from worker.parent import Parent
from worker.processes import alive, family_memory
from worker.slots import Slots


class WorkerMetrics(Collector):
    """No value is kept here and no lock held: a child that is forked meanwhile misses neither."""

    def __init__(self, pool: str, slots: Slots, parent: Parent, foreign: Foreign) -> None:
        self._pool = pool
        self._slots = slots
        self._parent = parent
        self._foreign = foreign
        self._broker_up: bool | None = None

    def broker(self, up: bool) -> None:
        self._broker_up = up

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"heavylift_worker_{name}", text, labels=["pool"])
        family.add_metric([self._pool], value)
        return family

    def _counter(self, name: str, text: str, value: float) -> Metric:
        family = CounterMetricFamily(f"heavylift_worker_{name}", text, labels=["pool"])
        family.add_metric([self._pool], value)
        return family

    @override
    def collect(self) -> Iterator[Metric]:
        parent = self._parent
        busy = sum(alive(assignment.pid) for assignment in self._slots.assignments())
        yield self._gauge("slots", "Jobs that it runs at once.", self._slots.count)
        yield self._gauge("slots_busy", "Slots that run a job.", busy)
        yield self._memory()
        yield self._gauge(
            "child_memory_limit_bytes", "What a child is killed beyond.", parent.memory_per_slot
        )
        yield self._restarts()
        yield self._counter("heartbeats", "Heartbeats that the ledger took.", parent.beats)
        yield self._counter("heartbeats_late", "Heartbeats more than 5 s late.", parent.late_beats)
        if (age := parent.beat_age) is not None:
            yield self._gauge("heartbeat_age_seconds", "Since the last heartbeat.", age)
        yield self._dropped()
        yield self._dependencies()

    def _memory(self) -> Metric:
        family = GaugeMetricFamily(
            "heavylift_worker_child_memory_bytes",
            "Resident memory of a slot's child and of the processes that its job has started.",
            labels=["pool", "slot"],
        )
        for slot in range(self._slots.count):
            child = self._slots.child(slot)
            limit = self._parent.memory_per_slot
            memory = family_memory(child, limit=limit) if child else 0
            family.add_metric([self._pool, str(slot)], memory)
        return family

    def _restarts(self) -> Metric:
        family = CounterMetricFamily(
            "heavylift_worker_child_restarts",
            "Children that took another's place, by what became of that.",
            labels=["pool", "reason"],
        )
        for reason, count in sorted(self._parent.restarts.counts.items()):
            family.add_metric([self._pool, reason], count)
        return family

    def _dropped(self) -> Metric:
        family = CounterMetricFamily(
            "heavylift_worker_foreign_dropped",
            "Elements and keys dropped from its queues because they were not messages.",
            labels=["pool", "what"],
        )
        for what, count in sorted(self._foreign.counts.items()):
            family.add_metric([self._pool, what], count)
        return family

    def _dependencies(self) -> Metric:
        family = GaugeMetricFamily(
            "heavylift_dependency_up",
            "Whether it answered when it was last asked.",
            labels=["dependency"],
        )
        # A worker asks one after the other: it says nothing of the one that it has not yet asked.
        found = {"postgresql": self._parent.ledger_up, "redis": self._broker_up}
        for name, up in found.items():
            if up is not None:
                family.add_metric([name], up)
        return family
