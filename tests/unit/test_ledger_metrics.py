"""What a controller shows of the ledger's totals; no database is near."""

import math

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

from app.core.metrics import JOB_BUCKETS
from app.services.demand import PoolLoad
from app.services.pools import Shares, Unrunnable, Version
from app.services.survey import DeadLetters, Relation, Server, Survey
from app.services.tallies import BEYOND_TARGET, ENDINGS, TURNAROUND, WITHIN_TARGET, Total
from tests.exposition import Exposition
from worker.controller.ledger_families import KnownKind, Reading, urgency
from worker.controller.metrics import STALE, SURVEY_STALE, LedgerMetrics

CPU = PoolLoad("cpu", 5, 2, 3, 2, 8, 3, 8, 12.5)
IO = PoolLoad("io", 0, 0, 0, 0, 0, 0, 0, 0.0)


def total(
    event: str,
    n: int,
    before: str = "",
    after: str = "",
    *,
    kind: str = "a.b",
    pool: str = "cpu",
    dead: bool = False,
    le: float = math.inf,
    seconds: float = 0.0,
) -> Total:
    return Total(pool, kind, event, before, after, dead, le, n, seconds)


TOTALS = [
    total("accepted", 10, after="queued"),
    total("accepted", 2, after="scheduled"),
    total("dispatched", 11),
    total("redispatched", 1),
    total("claimed", 6, "queued", "running", le=JOB_BUCKETS[2], seconds=0.4),
    total("claimed", 3, "queued", "running", seconds=9e9),
    total("released", 1, "running", "queued", le=1.0, seconds=0.7),
    total("lost", 1, "running", "queued", le=60.0, seconds=40),
    total("lost", 1, "running", "failed", le=60.0, seconds=41, dead=True),
    total("succeeded", 3, "running", "succeeded", le=0.25, seconds=0.6),
    total("cancelled", 1, "queued", "cancelled"),
    total("accepted", 1, after="queued", kind="c.d", pool="io"),
    total(WITHIN_TARGET, 7),
    total(BEYOND_TARGET, 2),
    total(f"{TURNAROUND}succeeded", 3, le=1.0, seconds=2.5),
]

SURVEY = Survey(
    [DeadLetters("a.b", 4, 900.0, 86_400.0), DeadLetters("g.h", 1, 5.0, 60.0)],
    [Relation("jobs", "", 8192, 12), Relation("jobs", "jobs_pkey", 4096, 0)],
    Server(17, 97, 3.5),
)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(clock: Clock) -> LedgerMetrics:
    return LedgerMetrics(
        [KnownKind("e.f", "io", 60.0, 5.0)],
        window_per_slot=2,
        demand_limit=100,
        max_workers={"cpu": 12},
        clock=clock,
    )


def shown(metrics: LedgerMetrics) -> Exposition:
    registry = CollectorRegistry()
    registry.register(metrics)
    return Exposition(generate_latest(registry).decode())


def test_before_the_first_reading_there_is_no_zero_that_lies(metrics: LedgerMetrics) -> None:
    found = shown(metrics)
    assert {name for name, _ in found.samples} == {
        "heavylift_ledger_read_age_seconds",
        "heavylift_job_timeout_seconds",
        "heavylift_job_wait_target_seconds",
        "heavylift_pool_wait_target_seconds",
        "heavylift_pool_workers_max",
    }
    assert metrics.demand() is None
    assert not metrics.shown


def test_the_totals_are_shown_as_counters_histograms_and_gauges(metrics: LedgerMetrics) -> None:
    metrics.show(Reading(TOTALS, [CPU, IO]))
    found = shown(metrics)
    ab = {"kind": "a.b", "pool": "cpu"}
    assert found.value("heavylift_jobs_submitted_total", **ab) == 12
    assert found.value("heavylift_job_dispatches_total", **ab) == 11
    assert found.value("heavylift_job_redispatches_total", **ab) == 1
    assert found.value("heavylift_job_rescues_total", **ab) == 2
    assert found.value("heavylift_dead_letters_total", **ab) == 1
    finished = {
        outcome: found.value("heavylift_jobs_finished_total", **ab, outcome=outcome)
        for outcome in ("succeeded", "failed", "cancelled")
    }
    assert finished == {"succeeded": 3, "failed": 1, "cancelled": 1}
    attempts = {
        ending: found.value("heavylift_job_attempts_total", **ab, outcome=ending)
        for ending in ENDINGS
    }
    assert attempts == {**dict.fromkeys(ENDINGS, 0), "released": 1, "lost": 2, "succeeded": 3}
    jobs = {
        state: found.value("heavylift_jobs", **ab, state=state)
        for state in ("scheduled", "queued", "running")
    }
    assert jobs == {"scheduled": 2, "queued": 2, "running": 3}

    queue = "heavylift_job_queue_duration_seconds"
    assert found.value(f"{queue}_bucket", **ab, le=str(JOB_BUCKETS[1])) == 0
    assert found.value(f"{queue}_bucket", **ab, le=str(JOB_BUCKETS[2])) == 6
    assert found.value(f"{queue}_bucket", **ab, le=str(JOB_BUCKETS[-1])) == 6
    assert found.value(f"{queue}_bucket", **ab, le="+Inf") == 9
    assert found.value(f"{queue}_count", **ab) == 9
    assert found.value(f"{queue}_sum", **ab) == 9e9 + 0.4
    run = "heavylift_job_run_duration_seconds"
    assert found.value(f"{run}_count", **ab, outcome="lost") == 2
    assert found.value(f"{run}_sum", **ab, outcome="lost") == 81

    waits = "heavylift_job_waits_total"
    assert found.value(waits, **ab, within_target="true") == 7
    assert found.value(waits, **ab, within_target="false") == 2
    turnaround = "heavylift_job_turnaround_seconds"
    assert found.value(f"{turnaround}_bucket", **ab, outcome="succeeded", le="0.5") == 0
    assert found.value(f"{turnaround}_bucket", **ab, outcome="succeeded", le="1.0") == 3
    assert found.value(f"{turnaround}_sum", **ab, outcome="succeeded") == 2.5
    assert found.value(f"{turnaround}_count", **ab, outcome="failed") == 0

    assert found.by("heavylift_pool_demand_slots", "pool") == {"cpu": 10, "io": 0}
    assert found.by("heavylift_pool_slots", "pool") == {"cpu": 8, "io": 0}
    assert found.by("heavylift_pool_slots_busy", "pool") == {"cpu": 3, "io": 0}
    assert found.by("heavylift_pool_workers", "pool") == {"cpu": 2, "io": 0}
    assert found.by("heavylift_pool_oldest_eligible_age_seconds", "pool") == {"cpu": 12.5, "io": 0}
    assert found.by("heavylift_pool_window_messages", "pool") == {"cpu": 2, "io": 0}
    assert found.by("heavylift_pool_window_limit", "pool") == {"cpu": 16, "io": 0}


def test_shares_builds_and_what_no_worker_can_run_are_shown(metrics: LedgerMetrics) -> None:
    reading = Reading(
        TOTALS,
        [CPU],
        [Shares("cpu", 3, 0.75, 40.0, 2.5)],
        [Version("cpu", "1.0", "abc", 2), Version("cpu", "1.1", "def", 1)],
        [Unrunnable("cpu", "a.b", "refused", 5), Unrunnable("cpu", "a.b", "refused", 1)],
    )
    metrics.show(reading)
    found = shown(metrics)
    assert found.value("heavylift_pool_owners_waiting", pool="cpu") == 3
    assert found.value("heavylift_pool_largest_share_ratio", pool="cpu") == 0.75
    assert found.value("heavylift_pool_longest_owner_wait_seconds", pool="cpu") == 40
    assert found.value("heavylift_pool_oldest_cancel_age_seconds", pool="cpu") == 2.5
    assert found.by("heavylift_pool_build_workers", "version") == {"1.0": 2, "1.1": 1}
    assert found.by("heavylift_jobs_unrunnable", "kind") == {"a.b": 6, "c.d": 0, "e.f": 0}
    assert found.by("heavylift_jobs_unrunnable", "reason") == {
        "no-workers": 0,
        "unknown-kind": 0,
        "refused": 6,
    }
    assert found.by("heavylift_pool_workers_max", "pool") == {"cpu": 12}
    assert found.value("heavylift_job_wait_target_seconds", kind="e.f", pool="io") == 5
    assert found.value("heavylift_job_timeout_seconds", kind="e.f", pool="io") == 60
    assert found.value("heavylift_pool_wait_target_seconds", pool="io", urgency="high") == 5


def test_a_pools_urgency_is_that_of_its_most_urgent_kind() -> None:
    assert [urgency(target) for target in (0.5, 10, 10.1, 120, 121, 1e9)] == [
        "high", "high", "normal", "normal", "low", "low",
    ]  # fmt: skip
    kinds = [KnownKind("a.b", "cpu", 60, 300), KnownKind("c.d", "cpu", 60, 60)]
    metrics = LedgerMetrics(kinds, window_per_slot=2, demand_limit=100)
    found = shown(metrics)
    assert found.by("heavylift_pool_wait_target_seconds", "urgency") == {"normal": 60}


def test_a_survey_is_shown_until_it_is_stale(metrics: LedgerMetrics, clock: Clock) -> None:
    metrics.show(Reading(TOTALS, [CPU]))
    metrics.show_survey(SURVEY)
    found = shown(metrics)
    assert found.by("heavylift_dead_letters_open", "kind") == {
        "a.b": 4, "c.d": 0, "e.f": 0, "g.h": 1,
    }  # fmt: skip
    assert found.value("heavylift_dead_letters_open", kind="e.f", pool="io") == 0
    # Nobody knows its pool any more.
    assert found.value("heavylift_dead_letters_open", kind="g.h", pool="") == 1
    assert found.value("heavylift_dead_letters_oldest_age_seconds", kind="a.b", pool="cpu") == 900
    assert found.by("heavylift_dead_letters_expiry_seconds", "kind") == {"a.b": 86_400, "g.h": 60}
    assert found.by("heavylift_ledger_table_bytes", "table") == {"jobs": 8192}
    assert found.by("heavylift_ledger_index_bytes", "index") == {"jobs_pkey": 4096}
    assert found.by("heavylift_ledger_dead_rows", "table") == {"jobs": 12}
    assert found.value("heavylift_database_connections") == 17
    assert found.value("heavylift_database_connections_max") == 97
    assert found.value("heavylift_database_oldest_transaction_seconds") == 3.5
    surveyed = ("heavylift_dead_letters_open", "heavylift_ledger_table", "heavylift_database")
    clock.now += SURVEY_STALE
    assert shown(metrics).of(*surveyed) == found.of(*surveyed)
    clock.now += 1
    assert not shown(metrics).of(*surveyed)


def test_a_kind_that_nobody_has_used_has_all_its_zeros(metrics: LedgerMetrics) -> None:
    metrics.show(Reading(TOTALS, [CPU, IO]))
    found = shown(metrics)

    def of(kind: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        return {
            (name, labels - {("kind", kind), ("pool", "io"), ("pool", "cpu")}): value
            for (name, labels), value in found.samples.items()
            if ("kind", kind) in labels
        }

    set_up = ("heavylift_job_timeout_seconds", "heavylift_job_wait_target_seconds")
    used = {key: value for key, value in of("e.f").items() if key[0] not in set_up}
    assert set(used.values()) == {0}
    # They begin with the kind's first job: twenty series for each of ten outcomes.
    later = ("heavylift_job_run_duration_seconds_", "heavylift_job_turnaround_seconds_")
    assert of("a.b").keys() - used.keys() == {key for key in of("a.b") if key[0].startswith(later)}
    assert used.keys() <= of("a.b").keys()
    assert of("a.b").keys() == of("c.d").keys()


def test_a_bound_of_another_version_is_in_the_next_one_up(metrics: LedgerMetrics) -> None:
    odd = (JOB_BUCKETS[3] + JOB_BUCKETS[4]) / 2
    metrics.show(Reading([total("claimed", 1, "queued", "running", le=odd)], []))
    found = shown(metrics)
    name, kind = "heavylift_job_queue_duration_seconds_bucket", {"kind": "a.b", "pool": "cpu"}
    assert found.value(name, **kind, le=str(JOB_BUCKETS[3])) == 0
    assert found.value(name, **kind, le=str(JOB_BUCKETS[4])) == 1


def test_what_is_stale_goes_and_what_counts_stays(metrics: LedgerMetrics, clock: Clock) -> None:
    metrics.show(Reading(TOTALS, [CPU, IO]))
    metrics.dependency("redis", up=True)
    before = shown(metrics)
    assert before.by("heavylift_dependency_up", "dependency") == {"postgresql": 1, "redis": 1}
    clock.now += STALE + 1
    after = shown(metrics)
    assert after.value("heavylift_ledger_read_age_seconds") == STALE + 1
    assert after.by("heavylift_dependency_up", "dependency") == {"postgresql": 0, "redis": 1}
    gone = {name for name, _ in before.samples} - {name for name, _ in after.samples}
    assert gone
    gauges = ("heavylift_jobs", "heavylift_jobs_unrunnable")
    assert all(name in gauges or name.startswith("heavylift_pool_") for name in gone)
    counters = ("heavylift_job_", "heavylift_jobs_s", "heavylift_jobs_f", "heavylift_dead")
    assert after.of(*counters) == before.of(*counters)
    assert metrics.demand() is None
    metrics.show(Reading(TOTALS, [CPU, IO]))
    assert shown(metrics).samples == before.samples


def test_demand_is_not_known_while_the_ledger_can_not_be_read(metrics: LedgerMetrics) -> None:
    metrics.show(Reading(TOTALS, [CPU, IO]))
    metrics.unreadable()
    assert metrics.demand() is None
    assert shown(metrics).by("heavylift_dependency_up", "dependency") == {"postgresql": 0}
    # The others' last values are good for a few seconds more.
    assert shown(metrics).value("heavylift_pool_slots", pool="cpu") == 8


def test_demand_is_a_page_of_its_own(metrics: LedgerMetrics) -> None:
    metrics.show(Reading(TOTALS, [CPU, IO]))
    page = metrics.demand()
    assert page is not None
    found = Exposition(page)
    assert found.samples == shown(metrics).of("heavylift_pool_demand_slots")
    assert found.families["heavylift_pool_demand_slots"].type == "gauge"


def test_openmetrics_is_well_formed(metrics: LedgerMetrics) -> None:
    metrics.show(Reading(TOTALS, [CPU, IO]))
    registry = CollectorRegistry()
    registry.register(metrics)
    page = openmetrics(registry)  # type: ignore[no-untyped-call]
    assert page.endswith(b"# EOF\n")
