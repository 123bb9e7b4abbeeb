"""Marks on pods, out of a real ledger; the Kubernetes API is a stand-in."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import httpx2
import pytest
from lightkube import Client, KubeConfig
from sqlalchemy import Engine
from structlog.testing import capture_logs

from app.core.config import Settings
from app.services import ledger
from app.services.ledger import Beat
from tests.kubernetes import Cluster
from tests.ledger_view import KEEP, View
from tests.processes import parts, until
from worker.controller import mark
from worker.controller.main import CONNECTIONS
from worker.controller.mark import Mark
from worker.controller.mark_plan import RECHECK, SPACING, marks

POOLS = ["cpu", "io"]


@dataclass
class Pods:
    """Workers, each in a pod of its name, and what they do."""

    engine: Engine
    view: View
    workers: dict[str, UUID] = field(default_factory=dict)

    def live(self, *names: str) -> None:
        for name in names:
            worker = self.workers.setdefault(name, uuid4())
            beat = Beat(worker, "cpu", name, "1", "b", ["test.nap"], 4, False)
            with self.engine.begin() as connection:
                ledger.heartbeat(connection, beat)

    def begin(self, name: str) -> UUID:
        job = self.view.submit()
        worker = self.workers[name]
        with self.engine.begin() as connection:
            assert ledger.claim(connection, job, worker_id=worker, kinds=["test.nap"], version="1")
        return job

    def end(self, job: UUID) -> None:
        with self.engine.begin() as connection:
            assert ledger.succeed(connection, job, 1, result="{}", keep=KEEP)

    def leave(self, name: str) -> None:
        with self.engine.begin() as connection:
            ledger.deregister(connection, self.workers.pop(name))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now

    def later(self) -> None:
        """A pod may be looked at again."""
        self.now += SPACING


@pytest.fixture
def pods(engine: Engine, make_owner: Callable[..., UUID]) -> Pods:
    return Pods(engine, View(engine, make_owner()))


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster("a", "b", "c") as one:
        yield one


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def controller(engine: Engine, cluster: Cluster, clock: Clock) -> Iterator[Callable[[], Mark]]:
    clients = []

    def make() -> Mark:
        config = KubeConfig.from_dict(cluster.kubeconfig)
        clients.append(Client(config, timeout=httpx2.Timeout(mark.TIMEOUT)))
        return Mark(engine, clients[-1], POOLS, clock=clock)

    yield make
    for client in clients:
        client.close()


def written(busy: int) -> dict[str, str]:
    return {name: value for name, value in marks(busy).items() if value is not None}


def test_marks_follow_the_jobs_and_nothing_is_written_twice(
    pods: Pods, cluster: Cluster, clock: Clock, controller: Callable[[], Mark]
) -> None:
    marking = controller()
    pods.live("a", "b")
    job = pods.begin("a")
    marking.turn()
    assert cluster.pods == {"a": written(1), "b": written(0), "c": {}}
    clock.later()
    marking.turn()
    assert len(cluster.patched()) == 2, "nothing has changed"

    pods.begin("a")
    pods.begin("b")
    marking.turn()
    assert cluster.pods["a"] == written(2)
    assert cluster.pods["b"] == written(1)
    pods.end(job)
    marking.turn()
    assert cluster.pods["a"] == written(2), "not so soon"
    clock.later()
    marking.turn()
    assert cluster.pods["a"] == written(1)
    # What looked idle and was not came first.
    assert cluster.patched() == ["a", "b", "b", "a", "a"]


def test_an_idle_pod_loses_what_kept_its_node_and_only_that(
    pods: Pods, cluster: Cluster, clock: Clock, controller: Callable[[], Mark]
) -> None:
    cluster.pods["a"] = {"somebody.example/s": "own"}
    marking = controller()
    pods.live("a")
    job = pods.begin("a")
    marking.turn()
    assert cluster.pods["a"] == {"somebody.example/s": "own", **written(1)}
    pods.end(job)
    clock.later()
    marking.turn()
    assert cluster.pods["a"] == {"somebody.example/s": "own", **written(0)}


def test_controllers_side_by_side_write_once(
    pods: Pods, cluster: Cluster, clock: Clock, controller: Callable[[], Mark]
) -> None:
    several = [controller() for _ in range(3)]
    pods.live("a", "b")
    for _ in range(3):
        pods.begin("a")
        for one in several:
            one.turn()
        clock.later()
    assert cluster.patched() == ["a", "b", "a", "a"]
    assert cluster.pods["a"] == written(3)


def test_what_somebody_else_changed_is_mended(
    pods: Pods, cluster: Cluster, clock: Clock, controller: Callable[[], Mark]
) -> None:
    marking = controller()
    pods.live("a")
    pods.begin("a")
    marking.turn()
    cluster.pods["a"].clear()
    clock.now += RECHECK
    marking.turn()
    assert cluster.pods["a"] == written(1)


def test_a_pod_that_is_gone_is_passed_over_and_forgotten(
    pods: Pods, cluster: Cluster, clock: Clock, controller: Callable[[], Mark]
) -> None:
    marking = controller()
    pods.live("a", "gone")
    pods.begin("gone")
    marking.turn()
    assert cluster.pods["a"] == written(0)
    assert cluster.asked.count(("GET", "gone")) == 1
    marking.turn()
    assert cluster.asked.count(("GET", "gone")) == 1
    pods.leave("gone")
    clock.later()
    marking.turn()
    assert cluster.asked.count(("GET", "gone")) == 1
    assert "gone" not in marking._looks


def test_a_turn_looks_at_some_pods_and_the_next_at_others(
    pods: Pods,
    cluster: Cluster,
    controller: Callable[[], Mark],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mark, "PODS", 2)
    marking = controller()
    pods.live("a", "b", "c")
    pods.begin("c")
    marking.turn()
    assert cluster.pods["c"] == written(1), "who has a job goes first"
    assert len(cluster.patched()) == 2
    marking.turn()
    assert sorted(cluster.patched()) == ["a", "b", "c"]


def test_without_the_role_it_says_so_once_and_asks_no_more(
    pods: Pods, cluster: Cluster, clock: Clock, controller: Callable[[], Mark]
) -> None:
    marking = controller()
    cluster.refuses = 403
    pods.live("a", "b")
    with capture_logs() as logs:
        for _ in range(3):
            marking.turn()
            clock.later()
    assert len(cluster.asked) == 1
    [said] = logs
    assert (said["event"], said["log_level"]) == ("pods are not marked any more", "warning")
    assert said["error"].startswith("403 ")


@pytest.mark.parametrize("status", [401, 409, 429, 500, 503])
def test_what_passes_is_tried_again_and_holds_up_no_other_pod(
    pods: Pods, cluster: Cluster, clock: Clock, controller: Callable[[], Mark], status: int
) -> None:
    marking = controller()
    cluster.refuses = status
    pods.live("a", "b")
    for _ in range(2):
        with pytest.raises(httpx2.HTTPStatusError, match=f"^{status} "):
            marking.turn()
    assert cluster.asked == [("GET", "a"), ("GET", "b")]
    marking.turn()
    cluster.refuses = None
    clock.later()
    marking.turn()
    assert cluster.pods == {"a": written(0), "b": written(0), "c": {}}


@pytest.mark.slow
def test_a_controller_goes_on_without_an_api_server_and_marks_when_it_is_back(
    pods: Pods, settings: Settings, tmp_path: Path
) -> None:
    pods.live("a")
    with Cluster("a") as away:
        port = away.port
        (tmp_path / "kubeconfig").write_text(json.dumps(away.kubeconfig))
    with parts(settings, tmp_path) as running:
        controller = running.controller(
            HEAVYLIFT_CONTROLLER_MARK_PODS="true",
            HEAVYLIFT_SIGNALS_PORT="0",
            KUBECONFIG=str(tmp_path / "kubeconfig"),
        ).ready()
        assert re.search(rf"database_connections\W+{CONNECTIONS + 1}\b", controller.output)
        until(lambda: "turn failed" in controller.output, seconds=30, what="nobody answers")
        job = pods.view.submit()
        dispatched = f"job_runs WHERE job_id = '{job}' AND dispatched_at IS NOT NULL"
        until(lambda: pods.view.count(dispatched), seconds=30, what="it dispatches")
        for probe in ("livez", "readyz"):
            assert httpx2.get(f"{controller.signals()}/{probe}").status_code == 200
        with Cluster("a", port=port) as back:
            until(lambda: back.pods["a"] == written(0), seconds=60, what="it is marked")
            assert back.patched() == ["a"]
        controller.terminate()
        assert controller.process.wait(10) == 0
        # Not a line for each look at a pod.
        assert "HTTP Request" not in controller.output


@pytest.mark.slow
def test_where_there_is_no_cluster_it_says_so_once(
    clean: None, settings: Settings, tmp_path: Path
) -> None:
    with parts(settings, tmp_path) as running:
        controller = running.controller(
            HEAVYLIFT_CONTROLLER_MARK_PODS="true",
            HEAVYLIFT_SIGNALS_PORT="0",
            KUBECONFIG=str(tmp_path / "nowhere"),
        ).ready()
        assert controller.output.count("pods are not marked") == 1
        page = f"{controller.signals()}/readyz"
        until(lambda: httpx2.get(page).status_code == 200, seconds=30, what="it is ready")
