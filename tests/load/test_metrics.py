"""The metrics that a load test exports, as its recorder writes them."""

import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from loadtests._failures import (
    RESULTS,
    JobFailed,
    Limited,
    TimedOut,
    Unfinished,
    WrongContent,
    refused,
)
from loadtests._metrics import Recorder, Totals, exported
from loadtests._mix import MIX
from loadtests._schedule import Schedule
from loadtests._settings import LoadSettings
from loadtests._slo import Slo, load_slo
from tests.observe.test_observe import ROW as ROW_OF_PROCESSES

SHIPPED = LoadSettings().slo
DOCUMENT = Path(__file__).parents[2] / "docs" / "signals.md"

# | `name` | type | `label`, … | what it says |
ROW = re.compile(r"^\| `(heavylift_loadtest_\w+)` \| (\w+) \|([^|\n]*)\| [^|\n]+ \|$", re.MULTILINE)

JOBS = ("PollJob",)


@pytest.fixture
def slo() -> Slo:
    return load_slo(SHIPPED)


@pytest.fixture
def recorder(slo: Slo) -> Recorder:
    return Recorder(slo, ("LogIn", "PollJob"), JOBS)


Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def page(totals: Totals) -> Series:
    registry = CollectorRegistry()
    registry.register(totals)
    return read(registry)


def read(registry: CollectorRegistry) -> Series:
    """Series of the page, as Prometheus reads it."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


def value(series: Series, name: str, **labels: str) -> float:
    return series[f"heavylift_loadtest_{name}", frozenset(labels.items())]


# --- what is due ----------------------------------------------------------------------------------


def test_journeys_are_due_by_the_schedule_however_few_have_begun() -> None:
    schedule = Schedule(first=10.0, every=2.0)
    assert [schedule.due(now) for now in (0.0, 9.9, 10.0, 11.9, 12.0, 15.0)] == [0, 0, 1, 1, 2, 3]
    assert schedule.wait(9.0) == 1.0
    assert schedule.begin(10.5) == 0.5
    # The first one took 7 s: the next begins at once, and is as late as that.
    assert schedule.wait(17.5) == 0.0
    assert schedule.begin(17.5) == 5.5
    assert schedule.begin(17.6) == pytest.approx(3.6)
    assert schedule.due(17.6) == 4


def test_a_journey_that_a_timer_began_early_is_due() -> None:
    schedule = Schedule(first=10.0, every=2.0)
    assert schedule.begin(9.999) == 0.0
    assert schedule.due(9.999) == 1
    assert schedule.due(10.0) == 1


def test_nothing_is_due_after_the_user_was_asked_to_stop() -> None:
    schedule = Schedule(first=0.0, every=1.0)
    schedule.end(3.5)
    schedule.end(9.5)
    assert schedule.due(100.0) == 4


def test_offered_sums_the_schedules_of_a_scenarios_users(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.perf_counter", lambda: 20.0)
    recorder.follow("LogIn", Schedule(first=10.0, every=4.0))
    recorder.follow("LogIn", Schedule(first=11.0, every=1.0))
    recorder.follow("PollJob", Schedule(first=30.0, every=1.0))
    series = page(Totals(recorder))
    assert value(series, "journeys_offered_total", scenario="LogIn") == 3 + 10
    assert value(series, "journeys_offered_total", scenario="PollJob") == 0


# --- what is seen ---------------------------------------------------------------------------------


def test_series_of_every_result_are_there_before_the_first_request(recorder: Recorder) -> None:
    series = page(Totals(recorder))
    for result in RESULTS:
        for scenario in ("LogIn", "PollJob"):
            labels = {"scenario": scenario, "result": result}
            assert value(series, "journeys_completed_total", **labels) == 0
            assert value(series, "outcomes_total", type="request", **labels) == 0
        labels = {"scenario": "PollJob", "result": result}
        assert value(series, "outcomes_total", type="job", **labels) == 0
    assert not any({("scenario", "LogIn"), ("type", "job")} <= labels for _, labels in series)
    assert len(RESULTS) == len(set(RESULTS)) == 10


PROBLEM = "application/problem+json"


def problem(name: str) -> bytes:
    return f'{{"type": "https://h.dev/problems/{name}"}}'.encode()


@pytest.mark.parametrize(
    ("error", "result", "counted"),
    [
        (None, "ok", None),
        (refused(429, PROBLEM, problem("too-many-requests")), "refused", "too-many-requests"),
        (refused(429, "text/html", b"slow down"), "refused", None),
        (refused(503, PROBLEM, problem("unavailable")), "problem", "unavailable"),
        (refused(500, PROBLEM, b"[]"), "problem", "without a type"),
        (refused(502, "text/html", b"<html>"), "wrong-status", None),
        (TimedOut("no answer in time"), "timeout", None),
        (WrongContent("another user"), "wrong-content", None),
        (Unfinished("the run ended before the answer"), "unfinished", None),
        (KeyError("id"), "error", None),
    ],
)
def test_requests_are_counted_by_their_result_and_problems_by_their_type(
    recorder: Recorder, error: Exception | None, result: str, counted: str | None
) -> None:
    before = page(Totals(recorder))
    recorder.saw("GET", "LogIn /api/v1/users/me", 250.0, error, response_length=3, url="x")
    after = page(Totals(recorder))
    grown = {key for key in after if after[key] != before.get(key, 0.0)}
    names = {name.removeprefix("heavylift_loadtest_") for name, _ in grown}
    duration = {f"request_duration_seconds_{part}" for part in ("bucket", "sum", "count")}
    assert names - duration == {"outcomes_total"} | ({"problems_total"} if counted else set())
    outcome = {"scenario": "LogIn", "type": "request", "result": result}
    assert value(after, "outcomes_total", **outcome) == 1
    if counted:
        assert value(after, "problems_total", scenario="LogIn", problem=counted) == 1


def test_a_job_counts_once_and_its_refused_submit_is_the_requests_problem(
    recorder: Recorder,
) -> None:
    refusal = Limited("429 queue-full", problem="queue-full")
    recorder.saw("POST", "PollJob /api/v1/jobs/image.transform", 20.0, refusal)
    recorder.saw("JOB", "PollJob image.transform", 21.0, refusal)
    recorder.saw("JOB", "PollJob image.transform", 9_000.0, JobFailed("failed timeout"))
    recorder.saw("JOB", "PollJob image.transform", 4_000.0)
    recorder.saw("QUEUE", "PollJob image.transform", 1_500.0)
    recorder.ended("PollJob", "refused")
    series = page(Totals(recorder))
    jobs = {"scenario": "PollJob", "type": "job"}
    for result in ("ok", "refused", "job-failed"):
        assert value(series, "outcomes_total", result=result, **jobs) == 1
    assert value(series, "problems_total", scenario="PollJob", problem="queue-full") == 1
    assert value(series, "job_finished_seconds_count") == 3
    assert value(series, "job_finished_seconds_sum") == pytest.approx(13.021)
    assert value(series, "job_wait_seconds_count") == 1
    assert value(series, "job_wait_seconds_bucket", le="1.0") == 0
    assert value(series, "job_wait_seconds_bucket", le="2.5") == 1
    completed = {"scenario": "PollJob", "result": "refused"}
    assert value(series, "journeys_completed_total", **completed) == 1
    # Jobs and waits are no requests.
    assert value(series, "request_duration_seconds_count", scenario="PollJob") == 1


def test_an_objective_of_another_file_is_a_bound_too(slo: Slo) -> None:
    content = yaml.safe_load(SHIPPED.read_text())
    content["scenarios"]["LogIn"]["p95_ms"] = 1234
    content["jobs"] = {"finished_p95_ms": 7_777, "queue_wait_p95_ms": 333}
    recorder = Recorder(Slo.model_validate(content), MIX, JOBS)
    recorder.saw("GET", "LogIn /x", 1_234.0)
    recorder.saw("GET", "LogIn /x", 1_235.0)
    recorder.saw("JOB", "PollJob x", 7_777.0)
    recorder.saw("QUEUE", "PollJob x", 333.0)
    series = page(Totals(recorder))
    assert value(series, "request_duration_seconds_bucket", scenario="LogIn", le="1.234") == 1
    assert value(series, "job_finished_seconds_bucket", le="7.777") == 1
    assert value(series, "job_wait_seconds_bucket", le="0.333") == 1


# --- workers of Locust's --------------------------------------------------------------------------


def test_a_master_serves_the_sum_of_the_last_report_of_each_worker(slo: Slo) -> None:
    workers = [Recorder(slo, ("LogIn",), ()) for _ in range(2)]
    totals = Totals(Recorder(slo, ("LogIn",), ()))

    def report() -> None:
        for number, worker in enumerate(workers):
            totals.take(f"worker-{number}", worker.report())

    report()
    busy = Limited("429 busy", problem="busy")
    for number, worker in enumerate(workers):
        for _ in range(number + 1):
            worker.saw("GET", "LogIn /x", 300.0, busy)
            worker.ended("LogIn", "refused")
        worker.follow("LogIn", ended(after=3))
    report()
    report()
    series = page(totals)
    assert value(series, "outcomes_total", scenario="LogIn", type="request", result="refused") == 3
    assert value(series, "problems_total", scenario="LogIn", problem="busy") == 3
    assert value(series, "journeys_completed_total", scenario="LogIn", result="refused") == 3
    assert value(series, "journeys_offered_total", scenario="LogIn") == 6
    assert value(series, "request_duration_seconds_sum", scenario="LogIn") == pytest.approx(0.9)
    bucket = "request_duration_seconds_bucket"
    assert value(series, bucket, scenario="LogIn", le="0.25") == 0
    assert value(series, bucket, scenario="LogIn", le="0.5") == 3
    assert value(series, bucket, scenario="LogIn", le="+Inf") == 3


def ended(*, after: int) -> Schedule:
    schedule = Schedule(first=0.0, every=1.0)
    schedule.end(after - 0.5)
    return schedule


# --- what is documented ---------------------------------------------------------------------------


def test_objectives_are_gauges_of_the_scenarios_that_run(slo: Slo) -> None:
    totals = Totals(Recorder(slo, ("LogIn",), ()))
    series = read(exported(totals, slo, ["LogIn", "SomebodyElses"], (), lambda: 7))
    targets = {key: found for key, found in series.items() if "objective" in key[0]}
    response = {"objective": "response", "scenario": "LogIn", "quantile": "0.95"}
    assert value(series, "objective_seconds", **response) == 1.5
    assert value(series, "objective_error_ratio", scenario="LogIn") == 0.01
    # Nothing is submitted: nothing is said of jobs.
    assert len(targets) == 2
    assert value(series, "users") == 7


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    return {
        name: (kind, frozenset(re.findall(r"`([a-z_]+)`", labels)))
        for name, kind, labels in ROW.findall(DOCUMENT.read_text())
    }


def test_the_documents_table_has_every_metric_with_its_type_and_labels(
    recorder: Recorder, slo: Slo
) -> None:
    recorder.saw("GET", "LogIn /x", 1.0, Limited("429 busy", problem="busy"))
    registry = exported(Totals(recorder), slo, ("LogIn", "PollJob"), JOBS, lambda: 1)
    found = {
        family.name + ("_total" if family.type == "counter" else ""): (
            family.type,
            frozenset(family.samples[0].labels) - {"le"},
        )
        for family in registry.collect()
    }
    assert documented() == found


def test_the_table_of_the_other_processes_has_none_of_them() -> None:
    """It is compared with a run that has no load test."""
    rows = [row[0] for row in ROW_OF_PROCESSES.findall(DOCUMENT.read_text())]
    assert len(rows) > 20
    assert not [name for name in rows if name.startswith("heavylift_loadtest")]
