"""A release at work: the built-in kinds, its pods' rights, its scaling, its memory."""

import secrets
from pathlib import Path

import anyio
import pytest
from rich.console import Console

from demo import inputs
from demo.inputs import Inputs
from demo.story import tell
from tests.cluster.commands import CommandFailed
from tests.cluster.release import Release
from tests.cluster.table import Table
from tests.cluster.users import User
from tests.processes import until


def test_all_kinds_run_on_the_demos_inputs(
    release: Release, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("demo.story.EMAIL", f"{secrets.token_hex(6)}@example.com")
    given = Inputs(inputs.photograph(), inputs.page(), inputs.flights(tmp_path))
    with table.row("the demo's three jobs") as row, (tmp_path / "told").open("w+") as told:
        anyio.run(tell, Console(file=told, width=100), release.ingress(), given)
        told.seek(0)
        for kind in ("image.transform", "text.extract", "dataset.aggregate"):
            assert kind in told.read()
            told.seek(0)
        row.saw("image.transform, text.extract, dataset.aggregate succeeded in pods")


def test_its_pods_are_restricted_and_none_that_is_not_gets_in(
    release: Release, table: Table
) -> None:
    with table.row("restricted Pod Security") as row:
        pods = release.get("pods")["items"]
        for pod in pods:
            account = pod["spec"]["automountServiceAccountToken"]
            component = pod["metadata"]["labels"]["app.kubernetes.io/component"]
            assert account is (component == "controller"), pod["metadata"]["name"]
        with pytest.raises(CommandFailed, match="violates PodSecurity"):
            release.kubectl("run", "root", "--image=docker.io/library/debian:trixie-slim")
        for component in ("api", "controller", "worker-io"):
            with pytest.raises(CommandFailed, match="Read-only file system"):
                release.execute(
                    release.ready(component)[0],
                    *("python", "-c", "open('/opt/heavylift/here', 'w')"),
                )
        row.saw(f"{len(pods)} pods run, one as root was refused, file systems are read-only")


def test_a_worker_is_ready_whatever_else_is_not(release: Release) -> None:
    (probe,) = {
        probe["readinessProbe"]["httpGet"]["path"]
        for pod in release.pods("worker-io")
        for probe in pod["spec"]["containers"]
    }
    assert probe == "/readyz"


# Slots of one pod each: `cpu` has one.
MOST = 4


def costs(release: Release) -> list[str]:
    """Of the pods of `cpu`, as their marks have it."""
    return sorted(
        pod["metadata"].get("annotations", {}).get("controller.kubernetes.io/pod-deletion-cost", "")
        for pod in release.pods("worker-cpu")
    )


def test_a_pool_scales_with_its_demand_and_idle_pods_go_first(
    user: User, release: Release, table: Table
) -> None:
    def replicas() -> int:
        return len(release.pods("worker-cpu"))

    with table.row("pool cpu: 0 -> 4 -> 1 -> 0, by demand") as row:
        until(lambda: replicas() == 0, seconds=120, what="it is empty")
        long = user.submit(seconds=90)
        short = [user.submit(seconds=30) for _ in range(MOST - 1)]
        until(lambda: replicas() == MOST, seconds=90, what="one for each")
        until(lambda: costs(release) == ["1"] * MOST, seconds=60, what="all are marked as busy")
        user.wait(*short)
        until(lambda: replicas() < MOST, seconds=120, what="idle ones go")
        least = replicas()
        assert user.job(long)["state"] == "running"
        user.wait(long)
        assert user.job(long)["attempt"] == 1
        until(lambda: replicas() == 0, seconds=120, what="none is left")
        marked = release.number("SELECT sum(greatest(attempt - 1, 0)) FROM jobs")
        row.saw(f"{MOST} then {least} with one at work, which went on; then none")
        row.saw(f"{marked} jobs put back")
        assert user.tries() == 0


def test_work_goes_on_while_a_pool_scales(user: User, release: Release, table: Table) -> None:
    """Whatever is scaled in took a job a moment ago, at worst: it drains."""
    with table.row("pool cpu: jobs that come and go while it scales") as row:
        jobs = [user.submit(seconds=1 + number % 7) for number in range(40)]
        user.wait(*jobs, seconds=240)
        again = release.number(
            f"SELECT count(*) FROM jobs WHERE owner_id = '{user.id}' AND attempt > 1"
        )
        row.saw(f"{user.ended()} of {len(jobs)} succeeded, {again} of them put back once")
        assert (user.ended(), user.tries()) == (len(jobs), 0)


def test_a_child_that_takes_too_much_memory_fails_alone(
    user: User, release: Release, table: Table
) -> None:
    with table.row("a job takes more memory than its slot has") as row:
        greedy = user.submit("test.hoard", seconds=0)
        release.wait_ready("worker-cpu")
        user.wait(greedy, state="failed", seconds=120)
        error = user.job(greedy)["error"]
        # Those of the scaling before it may still be there.
        statuses = [pod["status"] for pod in release.pods("worker-cpu")]
        containers = [one for status in statuses for one in status.get("containerStatuses", [])]
        assert {container["restartCount"] for container in containers} == {0}
        row.saw(f"{error['code']}: {error['detail']}; its pod stays")
        assert error["code"] == "out-of-memory"


# Memory that is nobody's but the container's, until its first process has to go: so it ends where
# all of a container is killed as one (cgroup v2), and where the kernel chooses (v1).
FILL = """
import os
with open("/proc/1/oom_score_adj", "w") as file:
    file.write("1000")
memory = os.memfd_create("filled")
while True:
    os.write(memory, bytes(1 << 22))
"""


def test_a_container_killed_for_memory_costs_each_of_its_jobs_one_attempt(
    user: User, release: Release, table: Table
) -> None:
    with table.row("a container killed for its memory") as row:
        jobs = [user.submit("test.wait", seconds=40) for _ in range(4)]
        user.wait(*jobs, state="running")
        held = release.query(
            "SELECT hostname, count(*) FROM job_runs JOIN workers ON workers.id = worker_id "
            "WHERE state = 'running' GROUP BY hostname ORDER BY 2 DESC"
        )
        pod, count = held[0]
        with pytest.raises(CommandFailed):
            release.execute(pod, "python", "-c", FILL)
        until(lambda: release.restarts(pod) == 1, seconds=60, what="it is started again")

        def ended() -> dict[str, str] | None:
            """The kubelet may say how it ended only after it has said that it is started again."""
            status = release.get("pod", pod)["status"]["containerStatuses"][0]
            found: dict[str, str] | None = status["lastState"].get("terminated")
            return found

        reason = until(ended, seconds=60, what="its end has a reason")["reason"]
        user.wait(*jobs, seconds=180)
        again = [job for job in jobs if user.job(job)["attempt"] == 2]
        row.saw(f"{reason}: {len(again)} of {len(jobs)} jobs lost their worker, each once")
        assert reason == "OOMKilled"
        assert len(again) == int(count)
        assert {user.job(job)["attempt"] for job in jobs} <= {1, 2}
        # Of their losses, not of their tries: it was not theirs.
        assert user.tries() == 0
