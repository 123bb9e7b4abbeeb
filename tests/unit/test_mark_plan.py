"""The plan of a turn that marks pods."""

import pytest

from worker.controller.mark_plan import COST, RECHECK, SPACING, Look, marks, to_look_at

NOW = 1000.0
LONG_AGO = NOW - SPACING
JUST_NOW = LONG_AGO + 0.1


def test_an_idle_pod_costs_nothing_and_keeps_no_node() -> None:
    assert marks(0) == {
        "controller.kubernetes.io/pod-deletion-cost": "0",
        "karpenter.sh/do-not-disrupt": None,
        "cluster-autoscaler.kubernetes.io/safe-to-evict": None,
    }


def test_a_busy_pod_costs_its_jobs_and_keeps_its_node() -> None:
    assert marks(3) == {
        "controller.kubernetes.io/pod-deletion-cost": "3",
        "karpenter.sh/do-not-disrupt": "true",
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    }
    assert marks(1)[COST] == "1"


@pytest.mark.parametrize(
    ("busy", "looks", "expected"),
    [
        pytest.param({}, {}, [], id="no worker"),
        pytest.param({"a": 0}, {}, ["a"], id="one that is new, idle or not"),
        pytest.param({"a": 1}, {"a": Look(LONG_AGO, 0)}, ["a"], id="it has a job now"),
        pytest.param({"a": 0}, {"a": Look(LONG_AGO, 1)}, ["a"], id="it has none any more"),
        pytest.param({"a": 2}, {"a": Look(LONG_AGO, 1)}, ["a"], id="it has one more"),
        pytest.param({"a": 1}, {"a": Look(LONG_AGO, 1)}, [], id="nothing has changed"),
        pytest.param({"a": 1}, {"a": Look(JUST_NOW, 0)}, [], id="changed, and just written"),
        pytest.param({"a": 1}, {"a": Look(LONG_AGO, None)}, ["a"], id="the last look failed"),
        pytest.param({"a": 0}, {"a": Look(JUST_NOW, None)}, [], id="it has only just failed"),
        pytest.param({"a": 1}, {"a": Look(NOW - RECHECK, 1)}, ["a"], id="right, some time ago"),
        pytest.param({}, {"a": Look(LONG_AGO, 1)}, [], id="its worker has left"),
        pytest.param(
            {"idle": 0, "more": 2, "new": 1, "begun": 1},
            {"idle": Look(1, 1), "more": Look(2, 1), "begun": Look(3, 0)},
            ["new", "begun", "idle", "more"],
            id="first what looks idle and is not, then the oldest",
        ),
        pytest.param(
            {"a": 1, "b": 1, "c": 1, "d": 1},
            {"a": Look(4, 0), "b": Look(3, 0), "c": Look(2, 0), "d": Look(1, 0)},
            ["d", "c", "b"],
            id="no more than the limit, the others next time",
        ),
    ],
)
def test_to_look_at(busy: dict[str, int], looks: dict[str, Look], expected: list[str]) -> None:
    limit = 4 if "new" in busy else 3
    assert to_look_at(busy, looks, now=NOW, limit=limit) == expected
