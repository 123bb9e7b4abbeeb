"""What a running load test exports, beside its own report."""

import csv
import re
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.core.config import Settings
from app.embedded.stack import free_port
from loadtests.__main__ import UNLIMITED
from loadtests._mix import MIX
from tests.load.runs import SECONDS, USERS, load
from tests.load.test_metrics import documented
from tests.processes import Parts, until

# Accounts, and some of the users: the log-ins of the others are refused.
FEW_LOGINS = {**UNLIMITED, "HEAVYLIFT_AUTH_LOGINS_PER_ADDRESS": "8/minute"}

# From one scrape to the next.
INTERVAL = 0.5


class Sample(NamedTuple):
    name: str
    labels: dict[str, str]
    value: float


Page = list[Sample]


def scrape(port: int, over: Callable[[], bool]) -> Iterator[Page]:
    """Pages for as long as there are any."""
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        while not over():
            try:
                text = client.get("/metrics").raise_for_status().text
            except httpx2.TransportError:
                # It is not there yet, or no more.
                pass
            else:
                yield [
                    Sample(one.name.removeprefix("heavylift_loadtest_"), one.labels, one.value)
                    for family in text_string_to_metric_families(text)
                    for one in family.samples
                ]
            time.sleep(INTERVAL)


def total(page: Page, name: str, **labels: str) -> float:
    return sum(
        one.value for one in page if one.name == name and labels.items() <= one.labels.items()
    )


class Reported(NamedTuple):
    ended: int = 0
    failures: int = 0
    milliseconds: float = 0.0


def report(folder: Path) -> dict[tuple[str, str], Reported]:
    """Locust's table by scenario and by what was counted: request, JOB or QUEUE."""
    found: dict[tuple[str, str], Reported] = defaultdict(Reported)
    with (folder / "load_stats.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["Name"] == "Aggregated":
                continue
            kind = row["Type"] if row["Type"] in ("JOB", "QUEUE") else "request"
            key = row["Name"].partition(" ")[0], kind
            before, count = found[key], int(row["Request Count"])
            found[key] = Reported(
                before.ended + count,
                before.failures + int(row["Failure Count"]),
                before.milliseconds + count * float(row["Average Response Time"]),
            )
    return found


@pytest.mark.slow
@pytest.mark.parametrize("processes", [(), ("--processes", "2")], ids=["alone", "two workers"])
def test_the_last_scrape_has_the_totals_of_the_report(
    running: Parts, settings: Settings, tmp_path: Path, processes: tuple[str, ...]
) -> None:
    host = f"http://127.0.0.1:{running.api(**FEW_LOGINS)}"
    port = free_port()
    with ThreadPoolExecutor(1) as thread:
        loaded = thread.submit(
            load,
            settings,
            host,
            tmp_path / "report",
            *processes,
            LOADTEST_METRICS_PORT=str(port),
            LOADTEST_METRICS_LINGER="20",
        )
        pages = list(scrape(port, loaded.done))
        code, said = loaded.result()
    # Refused log-ins are failures.
    assert code == 1, said
    assert "Traceback" not in said
    assert "up to 20 s for a last scrape" in said

    # While it runs.
    most = max(total(page, "users") for page in pages)
    # A worker of a slow machine reports some of its users only when they are about to leave.
    assert 0 < most <= USERS if processes else most == USERS
    for name in ("journeys_offered_total", "journeys_completed_total", "outcomes_total"):
        growing = [total(page, name) for page in pages]
        assert growing == sorted(growing)
        assert len(set(growing)) > 4, growing

    last = pages[-1]
    # A master quits before its workers say that their users are gone.
    assert processes or total(last, "users") == 0
    seen = report(tmp_path / "report")
    assert {scenario for scenario, _ in seen} == set(MIX)
    for scenario in MIX:
        for kind, found in (("request", seen[scenario, "request"]), ("job", seen[scenario, "JOB"])):
            labels = {"scenario": scenario, "type": kind}
            assert total(last, "outcomes_total", **labels) == found.ended, labels
            ok = total(last, "outcomes_total", result="ok", **labels)
            assert ok == found.ended - found.failures, labels
        requests, jobs = seen[scenario, "request"], seen[scenario, "JOB"]
        duration = "request_duration_seconds"
        assert total(last, f"{duration}_count", scenario=scenario) == requests.ended
        took = total(last, f"{duration}_sum", scenario=scenario)
        assert took == pytest.approx(requests.milliseconds / 1000)
        judged = re.search(rf"^{scenario} errors .* \((\d+) of (\d+)\)", said, re.MULTILINE)
        assert judged is not None, said
        outcomes = total(last, "outcomes_total", scenario=scenario)
        assert outcomes == int(judged[2]) == requests.ended + jobs.ended
        ended = total(last, "journeys_completed_total", scenario=scenario)
        offered = total(last, "journeys_offered_total", scenario=scenario)
        # A user who is behind at the end leaves what was due.
        assert 0 < ended <= offered <= ended + USERS
    for kind, name in (("JOB", "job_finished_seconds"), ("QUEUE", "job_wait_seconds")):
        entries = [found for (_, what), found in seen.items() if what == kind]
        assert total(last, f"{name}_count") == sum(one.ended for one in entries)
        milliseconds = sum(one.milliseconds for one in entries)
        assert total(last, f"{name}_sum") == pytest.approx(milliseconds / 1000)

    refused = total(last, "outcomes_total", type="request", result="refused")
    assert refused == total(last, "problems_total") > 0
    assert {one.labels["problem"] for one in last if one.name == "problems_total"} == {
        "too-many-requests"
    }
    assert total(last, "outcomes_total", result="error") == 0
    # All that is documented and nothing else.
    assert {
        f"heavylift_loadtest_{re.sub('_(bucket|sum|count)$', '', one.name)}" for one in last
    } == set(documented())


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = subprocess.run(
            [
                *(sys.executable, "-m", "loadtests", "--report", str(tmp_path)),
                *("--host", "http://127.0.0.1:9"),
            ],
            env={"LOADTEST_METRICS_PORT": str(port)},
            capture_output=True,
            text=True,
        )
    assert ran.returncode == 2
    said = f"load test: LOADTEST_METRICS_PORT: 127.0.0.1:{port}: Address already in use"
    assert said in ran.stderr.splitlines()
    assert "Traceback" not in ran.stderr


@pytest.mark.observe
def test_observed_prometheus_has_the_load_test_beside_the_stack(tmp_path: Path) -> None:
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "loadtests", "--observe", "-t", f"{SECONDS}s"),
            *("--report", str(tmp_path / "report")),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as ran:
        assert ran.stdout is not None
        said = ""
        found: dict[str, set[str]] = {}
        for line in ran.stdout:
            said += line
            if address := re.match(r"load test: prometheus: (http://\S+)/graph$", line):
                found = jobs_of(address[1])
    assert ran.returncode == 0, said
    assert found == {
        "heavylift_loadtest_users": {"heavylift-loadtest"},
        "heavylift_jobs_submitted_total": {"heavylift-controller"},
    }


def jobs_of(prometheus: str) -> dict[str, set[str]]:
    """Of these metrics, once they are there: the jobs of Prometheus that they are from."""

    def look() -> dict[str, set[str]] | None:
        found: dict[str, set[str]] = {}
        for query in ("heavylift_loadtest_users", "heavylift_jobs_submitted_total"):
            answer = client.get("/api/v1/query", params={"query": f"{query} > 0"}).json()
            found[query] = {one["metric"]["job"] for one in answer["data"]["result"]}
        return found if all(found.values()) else None

    with httpx2.Client(base_url=prometheus, timeout=10) as client:
        return until(look, seconds=SECONDS, what="all are scraped")
