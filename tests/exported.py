"""Collects every series that Heavylift's processes export, from the code that defines them."""

import math
from collections.abc import Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import cast

from prometheus_client import REGISTRY, CollectorRegistry, Metric

import app.api.gauges
import app.api.metrics
import app.core.validity
import loadtests._metrics
import worker.controller.main
from app.core.config import Signals
from app.core.metrics import JOB_BUCKETS
from app.core.signals import BuildInfo
from app.services.demand import PoolLoad
from app.services.pools import Shares, Unrunnable, Version
from app.services.survey import DeadLetters, Relation, Server, Survey
from app.services.tallies import Total
from loadtests._failures import Limited
from loadtests._metrics import Recorder, Totals
from loadtests._settings import LoadSettings
from loadtests._slo import load_slo
from worker.controller.ledger_families import KnownKind, Reading
from worker.controller.metrics import LedgerMetrics
from worker.messages import Foreign
from worker.metrics import WorkerMetrics
from worker.parent import Parent
from worker.slots import Slots

# Suffixes of the samples of a family, by its type.
SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
    "info": ("_info",),
}

# The names of the labels of each sample, by its name.
Series = Mapping[str, frozenset[str]]


def _labels(family: Metric) -> frozenset[str]:
    return frozenset(name for sample in family.samples for name in sample.labels) - {"le"}


def _series(families: Iterable[Metric]) -> Iterator[tuple[str, frozenset[str]]]:
    for family in families:
        labels = _labels(family)
        for suffix in SUFFIXES[family.type]:
            bound = {"le"} if suffix == "_bucket" else set()
            yield family.name + suffix, labels | bound


def ledger() -> CollectorRegistry:
    """A controller's page after it has read a ledger with one of everything."""
    metrics = LedgerMetrics(
        [KnownKind("text.extract", "cpu", 60.0, 5.0)],
        window_per_slot=2,
        demand_limit=100,
        max_workers={"cpu": 4},
    )
    total = Total("cpu", "text.extract", "accepted", "", "queued", False, JOB_BUCKETS[0], 1, 0.0)
    metrics.show(
        Reading(
            [total],
            [PoolLoad("cpu", 1, 0, 0, 1, 2, 0, 0, 1.0)],
            [Shares("cpu", 1, 0.5, 0.0, 0.0)],
            [Version("cpu", "1.0", "abc", 1)],
            [Unrunnable("cpu", "text.extract", "refused", 1)],
        )
    )
    metrics.show_survey(
        Survey(
            [DeadLetters("text.extract", 1, 1.0, 60.0)],
            [Relation("jobs", "", 8192, 0), Relation("jobs", "jobs_pkey", 8192, 0)],
            Server(1, 97, 0.0),
        )
    )
    registry = CollectorRegistry()
    registry.register(metrics)
    return registry


def _worker() -> CollectorRegistry:
    parent = SimpleNamespace(
        memory_per_slot=math.inf,
        restarts=SimpleNamespace(counts={"recycled": 0}),
        beats=1,
        late_beats=0,
        beat_age=1.0,
        ledger_up=True,
    )
    registry = CollectorRegistry()
    registry.register(WorkerMetrics("cpu", Slots(1), cast("Parent", parent), Foreign()))
    return registry


def _builds() -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(BuildInfo("api", Signals()))
    return registry


def _declared() -> Iterator[tuple[str, frozenset[str]]]:
    """Metrics that modules declare; those with labels have no samples before their first use."""
    modules = (app.api.metrics, app.api.gauges, app.core.validity, worker.controller.metrics)
    for module in modules:
        for one in vars(module).values():
            if hasattr(one, "_labelnames") and hasattr(one, "describe"):
                (family,) = one.describe()
                for suffix in SUFFIXES[family.type]:
                    bound = {"le"} if suffix == "_bucket" else set()
                    yield family.name + suffix, frozenset(one._labelnames) | bound


def series() -> Series:
    """The series of all components."""
    found: dict[str, frozenset[str]] = dict(_series(REGISTRY.collect()))
    for registry in (ledger(), _worker(), _builds()):
        for name, labels in _series(registry.collect()):
            found[name] = found.get(name, frozenset()) | labels
    return found | dict(_declared())


def load_test() -> Series:
    """The series of a load test's page, once an answer was a problem."""
    slo = load_slo(LoadSettings().slo)
    scenarios = tuple(slo.scenarios)
    recorder = Recorder(slo, scenarios, scenarios)
    recorder.saw(
        "GET", f"{scenarios[0]} /api/v1/items", 1.0, Limited("429", problem="too-many-requests")
    )
    page = loadtests._metrics.exported(Totals(recorder), slo, scenarios, scenarios, lambda: 1)
    return dict(_series(page.collect()))


def of_ledger() -> Series:
    """The series that every controller exports with the same values."""
    own = {"heavylift_ledger_read_age_seconds", "heavylift_dependency_up"}
    return {name: labels for name, labels in _series(ledger().collect()) if name not in own}
