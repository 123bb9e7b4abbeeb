"""A release beside its users: a load test, a backup, and where that is restored."""

import json
import re

from tests.cluster.commands import run
from tests.cluster.release import Release
from tests.cluster.table import Table
from tests.cluster.users import User
from tests.processes import until

# Of how fast it is nothing is said here: other tests share the machine.
SLO = {
    "scenarios": {
        name: {"p95_ms": 30_000, "error_rate": 0}
        for name in (
            "BrowseAndEdit",
            "LogIn",
            "TransformPicture",
            "FollowJob",
            "PollJob",
            "ReadLists",
        )
    },
    "jobs": {"finished_p95_ms": 60_000, "queue_wait_p95_ms": 60_000},
}

# No Prometheus scrapes this cluster, so that the Job need not wait for a scrape.
SETTINGS = {"LOADTEST_RATE": 0.4, "LOADTEST_ACCOUNTS": 2, "LOADTEST_METRICS_LINGER": 0}

FETCH = """
import sys
from obstore.store import from_url
sys.stdout.buffer.write(bytes(from_url(sys.argv[1]).get("report.html").bytes()))
"""


def test_a_load_test_is_a_job_with_a_report(release: Release, table: Table) -> None:
    with table.row("the load test's Job") as row:
        try:
            release.upgrade(
                *("--set", "loadtest.enabled=true,loadtest.users=10,loadtest.runTime=30"),
                *("--set", "loadtest.report=s3://heavylift/reports"),
                *("--set-json", f"loadtest.slo={json.dumps(SLO)}"),
                *("--set-json", f"loadtest.settings={json.dumps(SETTINGS)}"),
            )
            (job,) = release.get("jobs", "--selector", "app.kubernetes.io/component=loadtest")[
                "items"
            ]
            name = job["metadata"]["name"]

            def ended() -> dict[str, int] | None:
                status = release.get("job", name)["status"]
                return status if status.get("succeeded") or status.get("failed") else None

            status = until(ended, seconds=240, what="it has ended")
            said = release.kubectl("logs", f"job/{name}")
            assert status.get("succeeded") == 1, said
            assert "\nPASSED\n" in said
            report = release.execute(
                f"deployment/{release.name}-worker-io",
                *("python", "-c", FETCH, f"s3://heavylift/reports/{name}"),
            )
            assert "BrowseAndEdit /api/v1/items/{item_id}" in report
            found = re.search(r"^BrowseAndEdit p95 +<= [\d,]+ ms +(\S+ ms)", said, re.MULTILINE)
            assert found
            row.saw(f"PASSED (BrowseAndEdit p95 {found[1]}); its report, {len(report):,} bytes")
        finally:
            release.upgrade()


def test_a_backup_is_restored_into_a_fresh_release(
    user: User, release: Release, table: Table
) -> None:
    """As the chart's README says; what had ended before the dump would run again."""
    dump = "pg_dump", "--username=heavylift", "--format=custom", "heavylift"
    fresh = Release("heavylift-restored")
    fresh.remove()
    with table.row("a backup, restored into a fresh release") as row:
        long = [user.submit("test.wait", seconds=20) for _ in range(2)]
        user.wait(*long, state="running")
        later = user.call(
            "POST",
            "/jobs/test.wait",
            json={"spec": {"seconds": 0}, "not_before": "2099-01-01T00:00:00Z"},
        ).json()["id"]
        backup = run(
            *("kubectl", "--namespace", release.namespace, "exec"),
            *(f"{release.name}-postgresql-0", "--", *dump),
        )
        # Done since: a mail that it sends would have gone out.
        user.wait(*long)
        try:
            paused = "controller.paused=true,migrations.enabled=false,ingress.enabled=false"
            fresh.install("--set", paused)
            fresh.wait_ready("postgresql")
            restore = "pg_restore", "--username=heavylift", "--dbname=heavylift", "--no-owner"
            fresh.execute(
                f"{fresh.name}-postgresql-0",
                *(*restore, "--single-transaction", "--exit-on-error"),
                stdin=backup,
            )
            fresh.wait_ready("controller", 2)
            fresh.wait_ready("worker-io", 2)
            controller = f"deployment/{fresh.name}-controller"
            reconcile = "heavylift", "jobs", "reconcile"
            listed = json.loads(fresh.execute(controller, *reconcile, "--json"))
            would_run = {job["id"]: job["state"] for job in listed["jobs"]}
            assert would_run.keys() == {*long, later}
            assert would_run[later] == "scheduled"
            said = fresh.execute(controller, *reconcile, "--cancel", later, "--cancel", long[0])
            assert "2 jobs cancelled" in said
            fresh.upgrade("--set", "ingress.enabled=false")
            mine = f"SELECT id, outcome FROM jobs WHERE id IN ('{long[0]}', '{long[1]}', '{later}')"
            expected = {long[0]: "cancelled", long[1]: "succeeded", later: "cancelled"}
            until(
                lambda: dict(fresh.query(mine)) == expected,
                seconds=120,
                what="what was not cancelled has run again",
            )
            row.saw(f"{len(backup):,} bytes; {len(would_run)} would run, 2 cancelled, 1 ran again")
        finally:
            fresh.remove()
