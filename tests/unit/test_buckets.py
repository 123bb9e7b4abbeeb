"""A histogram counts exactly at its bounds only: every objective is one."""

from collections.abc import Sequence
from typing import Any

import pytest
import yaml

from app.core import metrics
from loadtests import _metrics
from loadtests._settings import LoadSettings
from loadtests._slo import Slo

Bounds = Sequence[float]


def shipped() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(LoadSettings().slo.read_text())
    return content


def off_the_bounds(content: dict[str, Any], requests: Bounds, jobs: Bounds) -> set[str]:
    """Names of the objectives that are not bounds, in seconds."""
    slo = Slo.model_validate(content)
    found = {name for name, one in slo.scenarios.items() if one.p95_ms / 1000 not in requests}
    for name, milliseconds in slo.jobs:
        if milliseconds / 1000 not in jobs:
            found.add(name)
    return found


@pytest.mark.parametrize("module", [metrics, _metrics])
def test_every_objective_of_the_load_test_is_a_bound(module: Any) -> None:
    bounds = module.REQUEST_BUCKETS, module.JOB_BUCKETS
    assert off_the_bounds(shipped(), *bounds) == set()

    changed = shipped()
    changed["scenarios"]["LogIn"]["p95_ms"] = 1600
    assert off_the_bounds(changed, *bounds) == {"LogIn"}
    changed = shipped()
    changed["jobs"] = {"finished_p95_ms": 7500, "queue_wait_p95_ms": 2000}
    assert off_the_bounds(changed, *bounds) == {"finished_p95_ms", "queue_wait_p95_ms"}


def test_the_load_tests_histograms_have_the_bounds_of_the_servers() -> None:
    assert _metrics.REQUEST_BUCKETS == metrics.REQUEST_BUCKETS
    assert _metrics.JOB_BUCKETS == metrics.JOB_BUCKETS
