"""Names of the series that Heavylift's processes export, out of the code that exports them."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric

from app.api import gauges, metrics  # noqa: F401  (they register)
from app.core.signals import BuildInfo
from app.services.survey import Server, Survey
from worker.controller import ledger_families
from worker.controller import metrics as controller
from worker.controller.ledger_families import Reading
from worker.messages import Foreign
from worker.metrics import WorkerMetrics

SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}


def _series(families: Iterable[Metric]) -> set[str]:
    return {
        family.name + suffix for family in families for suffix in SUFFIXES.get(family.type, ("",))
    }


def ledger_series() -> set[str]:
    """Those that every controller exports alike."""
    return _series(
        [
            *ledger_families.counters([], []),
            *ledger_families.settings([], {}),
            *ledger_families.gauges(Reading([], []), [], window_per_slot=1, demand_limit=1),
            *ledger_families.surveyed(Survey([], [], Server(0, 0, 0.0)), [], []),
        ]
    )


def worker_series() -> set[str]:
    slots = SimpleNamespace(count=0, assignments=list)
    parent = SimpleNamespace(
        memory_per_slot=0,
        restarts=SimpleNamespace(counts={}),
        beats=0,
        late_beats=0,
        beat_age=0.0,
        ledger_up=True,
    )
    workers = WorkerMetrics("cpu", cast("Any", slots), cast("Any", parent), Foreign())
    return _series(workers.collect())


def exported_series() -> set[str]:
    """All of them, and what the client library says of the interpreter."""
    own = controller.LedgerMetrics([], window_per_slot=1, demand_limit=1).collect()
    settings = SimpleNamespace(revision="")
    build = BuildInfo("api", cast("Any", settings)).collect()
    return ledger_series() | worker_series() | _series([*own, *build]) | _series(REGISTRY.collect())
