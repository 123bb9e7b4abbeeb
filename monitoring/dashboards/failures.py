"""Failures and dead letters of jobs, two sections of the jobs dashboard."""

from monitoring.dashboards.frame import Section
from monitoring.dashboards.panels import (
    COUNT,
    DAYS,
    JOBS_PER_SECOND,
    NONE_IS_GOOD,
    PERCENT,
    SECONDS,
    Column,
    Query,
    falling,
    graph,
    more,
    of_cell,
    of_series,
    rising,
    rows,
)
from monitoring.dashboards.queries import (
    in_days,
    ledger,
    ledger_increase,
    ledger_rate,
    ratio,
    total,
)

TO_POOLS = more("heavylift-pools", "Pools in detail")
TO_LEDGER = more("heavylift-ledger", "Controller and ledger")
THIS_KIND = of_series("heavylift-jobs", "Only ${__field.labels.kind}", "kind")

FINISHED = "heavylift_jobs_finished_total"
ATTEMPTS = "heavylift_job_attempts_total"
OPEN = "heavylift_dead_letters_open"
AGE = "heavylift_dead_letters_oldest_age_seconds"
EXPIRY = "heavylift_dead_letters_expiry_seconds"
UNRUNNABLE = "heavylift_jobs_unrunnable"

# Endings that the job itself caused; a drain, a lost worker and a user cause the others.
TRIED = 'outcome=~"succeeded|failed|retried"'
UNSUCCESSFUL = 'outcome=~"failed|retried"'

FAILED = ledger_increase(FINISHED, 'outcome="failed"', over="$__range")


def success(over: str, *by: str) -> str:
    return ratio(
        total(ledger_rate(FINISHED, 'outcome="succeeded"', over=over), *by),
        total(ledger_rate(FINISHED, 'outcome!="cancelled"', over=over), *by),
    )


def failing_attempts(over: str, *by: str) -> str:
    return ratio(
        total(ledger_rate(ATTEMPTS, UNSUCCESSFUL, over=over), *by),
        total(ledger_rate(ATTEMPTS, TRIED, over=over), *by),
    )


TROUBLE = Section(
    "Failures",
    [
        graph(
            "Unsuccessful attempts by ending",
            """Attempts by ending: `failed` and `retried` are errors of the job, `lost` a dead
            worker, `released` a draining worker, `refused` a worker that could not read the
            job. For losses check the pools, for refusals the versions that run.""",
            JOBS_PER_SECOND,
            Query(total(ledger_rate(ATTEMPTS, 'outcome!="succeeded"'), "outcome"), "{{outcome}}"),
            stacked=True,
            width=6,
            links=[TO_POOLS],
        ),
        graph(
            "Failing attempts by kind",
            """Share of a kind's attempts that raised an error or timed out. Compare jumps with
            roll-outs; a steady share means that some inputs cannot be processed: read their
            errors.""",
            PERCENT,
            Query(failing_attempts("$__rate_interval", "kind"), "{{kind}}"),
            highest=1,
            width=6,
            data_links=[THIS_KIND],
        ),
        graph(
            "Jobs that no worker can run by reason",
            """Waiting jobs that no live worker of their pool can run. For `no-workers` start
            workers, for `unknown-kind` workers that have the kind installed, for `refused`
            workers of the version that accepted the jobs.""",
            COUNT,
            Query(total(ledger(UNRUNNABLE), "reason"), "{{reason}}"),
            stacked=True,
            width=6,
            links=[TO_POOLS],
        ),
        graph(
            "Lost attempts and lost messages",
            """Attempts taken from lost workers, and messages that were lost in Redis and sent
            again. Both recover on their own; steady message loss means that Redis evicts keys
            or was emptied: check its memory policy.""",
            JOBS_PER_SECOND,
            Query(total(ledger_rate("heavylift_job_rescues_total")), "attempts"),
            Query(total(ledger_rate("heavylift_job_redispatches_total")), "messages"),
            width=6,
            links=[TO_LEDGER],
        ),
        rows(
            "Failing kinds",
            """Each kind over the time range, most failures first. Take the first one, read the
            error of its newest dead letter and search the log for the job's id.""",
            {"kind": "Kind", "pool": "Pool"},
            Column(
                "Attempts that fail",
                failing_attempts("$__range", "kind", "pool"),
                PERCENT,
                rising(0.05, 0.25),
            ),
            Column(
                "Jobs that succeed",
                success("$__range", "kind", "pool"),
                PERCENT,
                falling(0.99, 0.9),
            ),
            Column("No worker", total(ledger(UNRUNNABLE), "kind", "pool"), COUNT, NONE_IS_GOOD),
            Column("Open dead letters", ledger(OPEN), COUNT, rising(1, 100)),
            Column("Oldest dead letter", ledger(AGE), SECONDS),
            Column(
                "Failures",
                f"round({total(FAILED, 'kind', 'pool')})",
                COUNT,
            ),
            height=8,
            cell_links={"Kind": of_cell("heavylift-jobs", "Only ${__value.raw}", "kind")},
        ),
    ],
)

DEAD_LETTERS = Section(
    "Dead letters",
    [
        graph(
            "New dead letters by kind",
            """Jobs that failed for good, per second. The first one marks the start of the
            incident: compare it with roll-outs and with the services that the kind calls.""",
            JOBS_PER_SECOND,
            Query(total(ledger_rate("heavylift_dead_letters_total"), "kind"), "{{kind}}"),
            stacked=True,
            width=6,
            data_links=[THIS_KIND],
        ),
        graph(
            "Open dead letters by kind",
            """Dead letters that are kept; only retention removes them. A step is one incident,
            a slope a kind that keeps failing: fix that kind first.""",
            COUNT,
            Query(total(ledger(OPEN), "kind"), "{{kind}}"),
            width=6,
            data_links=[THIS_KIND],
        ),
        graph(
            "Oldest dead letter by kind",
            """Age of the oldest dead letter of each kind, which grows until retention removes
            it. A high line is a kind that has failed for long: tell its owner.""",
            SECONDS,
            Query(f"max by (kind) ({ledger(AGE)})", "{{kind}}"),
            width=6,
            data_links=[THIS_KIND],
        ),
        graph(
            "Next removal by kind",
            """Time until retention removes the first dead letter of each kind. Before it
            reaches zero, submit the jobs again or save their errors elsewhere.""",
            DAYS,
            Query(in_days(f"min by (kind) ({ledger(EXPIRY)})"), "{{kind}}"),
            lines=((None, "transparent"), (1, "red")),
            width=6,
            data_links=[THIS_KIND],
        ),
    ],
)
