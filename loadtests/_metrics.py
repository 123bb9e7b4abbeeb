"""The metrics of a load test while it runs; docs/signals.md says what each of them means."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from loadtests._failures import RESULTS, Failure
from loadtests._schedule import Schedule
from loadtests._slo import Slo

# Seconds: those of the API's and of the controllers' histograms, which hold every objective of
# slo.yaml. Another file's objectives are added to them.
REQUEST_BUCKETS = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
JOB_BUCKETS = (
    0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0,
    3600.0, 4 * 3600.0,
)  # fmt: skip

# A sample's name, its labels and its value.
Row = tuple[str, dict[str, str], float]

# Rows of each family, by its name.
Report = dict[str, list[Row]]


def seconds(milliseconds: float) -> float:
    return milliseconds / 1000


def result_of(error: BaseException | None) -> str:
    if error is None:
        return "ok"
    # Not a failure of the server's: the load test itself is wrong.
    return error.result if isinstance(error, Failure) else "error"


class Recorder:
    """Counters and histograms of what the users of one process offer and see.

    Series of `scenarios` are there from the start, so that the first failure is an increase;
    `with_jobs` are those of them whose journeys submit jobs.
    """

    def __init__(self, slo: Slo, scenarios: Iterable[str], with_jobs: Collection[str]) -> None:
        self._registry = CollectorRegistry()
        self._schedules: dict[str, list[Schedule]] = {name: [] for name in scenarios}
        self._completed = Counter(
            "heavylift_loadtest_journeys_completed",
            "Journeys that ended, by result: ok, or the failure that ended them.",
            ["scenario", "result"],
            registry=self._registry,
        )
        self._outcomes = Counter(
            "heavylift_loadtest_outcomes",
            "Requests and jobs that ended, by result: the load test's error rate counts both.",
            ["scenario", "type", "result"],
            registry=self._registry,
        )
        self._problems = Counter(
            "heavylift_loadtest_problems",
            "Answers with a problem document in place of the expected answer, by its type.",
            ["scenario", "problem"],
            registry=self._registry,
        )
        self._requests = Histogram(
            "heavylift_loadtest_request_duration_seconds",
            "From when a request was due until its answer was read.",
            ["scenario"],
            buckets=bounds(REQUEST_BUCKETS, (one.p95_ms for one in slo.scenarios.values())),
            registry=self._registry,
        )
        self._finished = Histogram(
            "heavylift_loadtest_job_finished_seconds",
            "From when a job's submit was due until its user knew that the job had ended.",
            buckets=bounds(JOB_BUCKETS, [slo.jobs.finished_p95_ms]),
            registry=self._registry,
        )
        self._waits = Histogram(
            "heavylift_loadtest_job_wait_seconds",
            "From when a job was accepted until it started, by the server's own times.",
            buckets=bounds(JOB_BUCKETS, [slo.jobs.queue_wait_p95_ms]),
            registry=self._registry,
        )
        for name in self._schedules:
            self._requests.labels(name)
            for result in RESULTS:
                self._completed.labels(name, result)
                self._outcomes.labels(name, "request", result)
                if name in with_jobs:
                    self._outcomes.labels(name, "job", result)

    def follow(self, scenario: str, schedule: Schedule) -> None:
        """Count what falls due by the schedule of one more user."""
        self._schedules.setdefault(scenario, []).append(schedule)

    def ended(self, scenario: str, result: str) -> None:
        """Count a journey."""
        self._completed.labels(scenario, result).inc()

    def saw(
        self,
        request_type: str,
        name: str,
        response_time: float,
        exception: BaseException | None = None,
        **_: Any,
    ) -> None:
        """Count an entry of Locust's statistics: `name` is `<scenario> <route>`."""
        scenario = name.partition(" ")[0]
        took = seconds(response_time)
        match request_type:
            case "QUEUE":
                self._waits.observe(took)
            case "JOB":
                self._finished.observe(took)
                self._outcomes.labels(scenario, "job", result_of(exception)).inc()
            case _:
                self._requests.labels(scenario).observe(took)
                self._outcomes.labels(scenario, "request", result_of(exception)).inc()
                if isinstance(exception, Failure) and exception.problem is not None:
                    self._problems.labels(scenario, exception.problem).inc()

    def families(self) -> Iterator[Metric]:
        yield self._offered()
        yield from self._registry.collect()

    def _offered(self) -> Metric:
        family = CounterMetricFamily(
            "heavylift_loadtest_journeys_offered",
            "Journeys that were due by the users' schedules, whether or not they have begun.",
            labels=["scenario"],
        )
        now = time.perf_counter()
        for name, schedules in self._schedules.items():
            family.add_metric([name], sum(schedule.due(now) for schedule in schedules))
        return family

    def report(self) -> Report:
        """All of it, for another process to add to its own."""
        return {family.name: samples(family) for family in self.families()}


class Totals(Collector):
    """Sums of a process's own records and, with Locust's workers, of their last reports."""

    def __init__(self, own: Recorder) -> None:
        self._own = own
        self._reports: dict[str, Report] = {}

    def take(self, reporter: str, report: Report) -> None:
        """In place of the reporter's last: counters hold all since its start."""
        self._reports[reporter] = report

    @override
    def collect(self) -> Iterator[Metric]:
        for family in self._own.families():
            total: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
            rows = samples(family)
            for report in self._reports.values():
                rows += report.get(family.name, ())
            for name, labels, value in rows:
                key = name, tuple(labels.items())
                total[key] = total.get(key, 0.0) + value
            summed = Metric(family.name, family.documentation, family.type)
            for (name, labelled), value in total.items():
                summed.add_sample(name, dict(labelled), value)
            yield summed


def samples(family: Metric) -> list[Row]:
    # Times of creation are left out: their sum would mean nothing.
    return [
        (one.name, one.labels, one.value)
        for one in family.samples
        if not one.name.endswith("_created")
    ]


def exported(
    totals: Totals,
    slo: Slo,
    scenarios: Iterable[str],
    with_jobs: Collection[str],
    users: Callable[[], int],
) -> CollectorRegistry:
    """All that is on the page: the totals, users at work and the objectives of the scenarios."""
    registry = CollectorRegistry()
    registry.register(totals)
    at_work = Gauge("heavylift_loadtest_users", "Users that are at work.", registry=registry)
    at_work.set_function(users)
    targets = Gauge(
        "heavylift_loadtest_objective_seconds",
        "The longest time that meets the objective, at its quantile.",
        ["objective", "scenario", "quantile"],
        registry=registry,
    )
    errors = Gauge(
        "heavylift_loadtest_objective_error_ratio",
        "The largest part of a scenario's requests and jobs that may fail.",
        ["scenario"],
        registry=registry,
    )
    own: Mapping[str, Any] = slo.scenarios
    for name in scenarios:
        if (one := own.get(name)) is not None:
            targets.labels("response", name, "0.95").set(seconds(one.p95_ms))
            errors.labels(name).set(one.error_rate)
    if with_jobs:
        targets.labels("finished", "", "0.95").set(seconds(slo.jobs.finished_p95_ms))
        targets.labels("wait", "", "0.95").set(seconds(slo.jobs.queue_wait_p95_ms))
    return registry


def bounds(usual: Sequence[float], milliseconds: Iterable[float]) -> list[float]:
    """The usual bounds and the objectives: only a bound is counted exactly."""
    return sorted({*usual, *map(seconds, milliseconds)})
