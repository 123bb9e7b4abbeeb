"""Jobs by kind: throughput, wait and run times, failures and dead letters."""

from monitoring.dashboards.failures import (
    AGE,
    DEAD_LETTERS,
    EXPIRY,
    FINISHED,
    OPEN,
    THIS_KIND,
    TO_LEDGER,
    TO_POOLS,
    TROUBLE,
    UNRUNNABLE,
    failing_attempts,
    success,
)
from monitoring.dashboards.frame import Page, Section
from monitoring.dashboards.panels import (
    COUNT,
    JOBS_PER_SECOND,
    NEUTRAL,
    NONE_IS_GOOD,
    PERCENT,
    SECONDS,
    Query,
    falling,
    graph,
    more,
    rising,
    value,
)
from monitoring.dashboards.queries import (
    ledger,
    ledger_increase,
    ledger_rate,
    quantile,
    ratio,
    total,
)

SUBMITTED = "heavylift_jobs_submitted_total"
WAITS = "heavylift_job_waits_total"
WAIT_BUCKETS = "heavylift_job_queue_duration_seconds_bucket"
RUN_BUCKETS = "heavylift_job_run_duration_seconds_bucket"
TURNAROUND_BUCKETS = "heavylift_job_turnaround_seconds_bucket"

QUANTILES = (0.5, 0.95, 0.99)


def jobs(state: str, *by: str) -> str:
    return total(ledger("heavylift_jobs", f'state="{state}"'), *by)


FIRST = Section(
    "Status",
    [
        value(
            "Submitted",
            """Jobs accepted per second over the last 5 minutes. If submissions stop, clients
            cannot submit: check the API's errors and refusals.""",
            JOBS_PER_SECOND,
            Query(total(ledger_rate(SUBMITTED, over="5m"))),
            steps=NEUTRAL,
            links=[more("heavylift-api", "API in detail")],
        ),
        value(
            "Finished",
            """Jobs that ended per second over the last 5 minutes, with any outcome. Zero while
            jobs wait means that nothing runs: check the pools.""",
            JOBS_PER_SECOND,
            Query(total(ledger_rate(FINISHED, over="5m"))),
            steps=NEUTRAL,
            links=[TO_POOLS],
        ),
        value(
            "Unfinished jobs",
            """Jobs that wait for a worker, that run, and that are due later. If many wait and
            few run, add workers: check the maximum of their pools.""",
            COUNT,
            Query(jobs("queued"), "Waiting"),
            Query(jobs("running"), "Running"),
            Query(jobs("scheduled"), "Scheduled"),
            steps=NEUTRAL,
            width=8,
            links=[TO_POOLS],
        ),
        value(
            "Waits within target",
            """Share of attempts in the last 5 minutes that started within the wait target of
            their kind. Below 95%, find the kinds and pools that wait.""",
            PERCENT,
            Query(
                ratio(
                    total(ledger_rate(WAITS, 'within_target="true"', over="5m")),
                    total(ledger_rate(WAITS, over="5m")),
                )
            ),
            steps=falling(0.95, 0.8),
            decimals=1,
            empty="No starts",
        ),
        value(
            "Job success",
            """Share of succeeded jobs among those that succeeded or failed in the last 5
            minutes. Below 99%, check the failing kinds below.""",
            PERCENT,
            Query(success("5m")),
            steps=falling(0.99, 0.9),
            decimals=1,
            empty="No ends",
        ),
        value(
            "Failing attempts",
            """Share of attempts in the last 5 minutes that raised an error or timed out.
            Retries hide these from users until they are used up: fix the kind before that.""",
            PERCENT,
            Query(failing_attempts("5m")),
            steps=rising(0.05, 0.25),
            decimals=1,
            empty="No attempts",
        ),
        value(
            "Lost attempts in an hour",
            """Attempts in the last hour whose worker died or lost its lease. Their jobs run
            again on their own; if there are many, workers are being killed: check the restarts
            of the pools.""",
            COUNT,
            Query(total(ledger_increase("heavylift_job_rescues_total"))),
            steps=rising(1, 10),
            decimals=0,
            links=[TO_POOLS],
        ),
        value(
            "Jobs that no worker can run",
            """Waiting jobs that no live worker of their pool can run. Check the reason below,
            then start workers, or workers of a version that can run them.""",
            COUNT,
            Query(total(ledger(UNRUNNABLE))),
            steps=NONE_IS_GOOD,
            links=[TO_POOLS],
        ),
        value(
            "Open dead letters",
            """Jobs that failed for good and are still kept; retention removes them. If the
            number grows, read the newest error, fix its cause and submit the jobs again.""",
            COUNT,
            Query(total(ledger(OPEN))),
            steps=rising(1, 100),
        ),
        value(
            "Oldest dead letter",
            """Age of the oldest dead letter that is kept, which shows how far back failures can
            still be read. Compare it with the last incident: submit again what that incident
            left behind.""",
            SECONDS,
            Query(f"max({ledger(AGE)})"),
            steps=NEUTRAL,
        ),
        value(
            "Next dead-letter removal",
            """Time until retention removes the first dead letter with its error. Below a day,
            submit the job again or save its error elsewhere.""",
            SECONDS,
            Query(f"min({ledger(EXPIRY)})"),
            steps=falling(3 * 86400, 86400),
            empty="None is kept",
        ),
    ],
)

THROUGHPUT = Section(
    "Throughput",
    [
        graph(
            "Submitted and finished",
            """Accepted jobs and finished jobs of the selected kinds. While `submitted` is the
            higher line, the backlog grows: check the pools if it stays so.""",
            JOBS_PER_SECOND,
            Query(total(ledger_rate(SUBMITTED)), "submitted"),
            Query(total(ledger_rate(FINISHED)), "finished"),
            width=6,
        ),
        graph(
            "Submitted by kind",
            """Accepted jobs by kind. If a kind rises sharply, it is a new client or a client in
            a loop: find its user in the API's log.""",
            JOBS_PER_SECOND,
            Query(total(ledger_rate(SUBMITTED), "kind"), "{{kind}}"),
            width=6,
            data_links=[THIS_KIND],
        ),
        graph(
            "Finished by kind",
            """Finished jobs by kind, with any outcome. If a kind stops while its jobs wait, check
            its pool and the jobs that no worker can run.""",
            JOBS_PER_SECOND,
            Query(total(ledger_rate(FINISHED), "kind"), "{{kind}}"),
            width=6,
            links=[TO_POOLS],
            data_links=[THIS_KIND],
        ),
        graph(
            "Finished by outcome",
            """Finished jobs by outcome. Failures that start with a roll-out are its fault: roll
            back. Many cancellations come from users who lost patience: check the waits.""",
            JOBS_PER_SECOND,
            Query(total(ledger_rate(FINISHED), "outcome"), "{{outcome}}"),
            stacked=True,
            width=6,
        ),
        graph(
            "Waiting by kind",
            """Jobs that could start now but have no worker yet. If a kind waits while others of
            its pool run, check the jobs that no worker can run.""",
            COUNT,
            Query(jobs("queued", "kind"), "{{kind}}"),
            links=[TO_POOLS],
            data_links=[THIS_KIND],
        ),
        graph(
            "Running by kind",
            """Jobs that run now. If one kind occupies all slots of a pool for long, move it to
            a pool of its own.""",
            COUNT,
            Query(jobs("running", "kind"), "{{kind}}"),
            data_links=[THIS_KIND],
        ),
        graph(
            "Scheduled by kind",
            """Jobs that are due later: submitted with a start time, or waiting for their next
            attempt. If the number does not drop when they are due, check the controller's
            `schedule` loop.""",
            COUNT,
            Query(jobs("scheduled", "kind"), "{{kind}}"),
            links=[TO_LEDGER],
            data_links=[THIS_KIND],
        ),
    ],
)

DURATIONS = Section(
    "Wait, run and turnaround",
    [
        graph(
            "Wait of $kind",
            """Time from when an attempt could start to when it started, with the kind's wait
            target. If p95 is above the target, add workers to the pool.""",
            SECONDS,
            *(
                Query(quantile(q, ledger_rate(WAIT_BUCKETS), "kind"), f"p{q * 100:.0f}")
                for q in QUANTILES
            ),
            Query(
                f"max by (kind) ({ledger('heavylift_job_wait_target_seconds')})",
                "target",
                limit=True,
            ),
            width=24,
            repeat="kind",
            logarithmic=True,
            links=[TO_POOLS],
        ),
        graph(
            "Run of $kind",
            """Time from the start of an attempt to its end, with the kind's timeout. If p99
            approaches the timeout, attempts will be killed: raise the timeout or limit the
            input.""",
            SECONDS,
            *(
                Query(quantile(q, ledger_rate(RUN_BUCKETS), "kind"), f"p{q * 100:.0f}")
                for q in QUANTILES
            ),
            Query(
                f"max by (kind) ({ledger('heavylift_job_timeout_seconds')})", "timeout", limit=True
            ),
            width=24,
            repeat="kind",
            logarithmic=True,
        ),
        *(
            graph(
                f"Turnaround p{q * 100:.0f} by kind",
                """Time from when a job could first start to its end, over all attempts. If it
                is far above wait and run time together, jobs are being retried: check the
                failing attempts.""",
                SECONDS,
                Query(quantile(q, ledger_rate(TURNAROUND_BUCKETS), "kind"), "{{kind}}"),
                data_links=[THIS_KIND],
            )
            for q in QUANTILES
        ),
    ],
)

PAGE = Page(
    name="jobs",
    title="Heavylift / Jobs",
    description="""Jobs by kind: throughput, wait and run times against targets and timeouts,
    failures and dead letters.""",
    sections=[FIRST, THROUGHPUT, DURATIONS, TROUBLE, DEAD_LETTERS],
)
