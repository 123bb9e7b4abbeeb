"""Shows whether users are served well, and where to look next if they are not."""

from monitoring.dashboards.budgets import BUDGET, BUDGETS
from monitoring.dashboards.frame import Page, Section
from monitoring.dashboards.panels import (
    COUNT,
    DAYS,
    JOBS_PER_SECOND,
    NONE_IS_GOOD,
    PER_SECOND,
    PERCENT,
    REQUESTS_PER_SECOND,
    SECONDS,
    Query,
    falling,
    graph,
    more,
    of_series,
    rising,
    value,
)
from monitoring.dashboards.queries import (
    QUICK,
    REQUEST_BUCKETS,
    REQUESTS,
    in_days,
    ledger,
    ledger_rate,
    or_zero,
    processes,
    quantile,
    rate,
    ratio,
    select,
    total,
)

TO_API = more("heavylift-api", "API in detail")
TO_JOBS = more("heavylift-jobs", "Jobs in detail")
TO_POOLS = more("heavylift-pools", "Pools in detail")
TO_LEDGER = more("heavylift-ledger", "Controller and ledger")
ONE_KIND = of_series("heavylift-jobs", "Jobs of ${__field.labels.kind}", "kind")
ONE_POOL = of_series("heavylift-pools", "Pool ${__field.labels.pool}", "pool")


def alerts(severity: str) -> str:
    firing = select("ALERTS", 'alertstate="firing"', severity)
    return or_zero(f"count({firing})")


def server_errors(over: str) -> str:
    answered = total(rate(REQUESTS, over=over))
    failed = total(rate(REQUESTS, 'http_response_status_code=~"5.."', over=over))
    return ratio(f"({or_zero(failed, answered)})", answered)


def requests(status: str) -> str:
    return total(rate(REQUESTS, f'http_response_status_code=~"{status}"'))


def within_target(over: str, *by: str) -> str:
    waits = "heavylift_job_waits_total"
    return ratio(
        total(ledger_rate(waits, 'within_target="true"', over=over), *by),
        total(ledger_rate(waits, over=over), *by),
    )


def succeeded(over: str, *by: str) -> str:
    """Cancelled jobs do not count: cancelling is the owner's choice."""
    finished = "heavylift_jobs_finished_total"
    return ratio(
        total(ledger_rate(finished, 'outcome="succeeded"', over=over), *by),
        total(ledger_rate(finished, 'outcome!="cancelled"', over=over), *by),
    )


def turnaround(q: float, over: str, *by: str) -> str:
    buckets = ledger_rate(
        "heavylift_job_turnaround_seconds_bucket", 'outcome!="cancelled"', over=over
    )
    return quantile(q, buckets, *by)


def latency(q: float, over: str) -> str:
    return quantile(q, rate(REQUEST_BUCKETS, QUICK, over=over))


CERTIFICATES = "heavylift_certificate_expiry_timestamp_seconds"
KEYS = "heavylift_signing_key_created_timestamp_seconds"
DEPENDENCIES = select("heavylift_dependency_up")

FIRST = Section(
    "Status",
    [
        value(
            "Error budget left",
            """Share of the 30-day error budget that remains for each objective: 100% is untouched,
            0% is spent. Below 25%, check the burn rate; stop risky roll-outs once a budget is
            spent. Empty where Prometheus has not loaded the recording rules.""",
            PERCENT,
            Query(BUDGET, "{{slo}}"),
            steps=((None, "red"), (0, "orange"), (0.25, "yellow"), (0.5, "green")),
            width=16,
            height=5,
            decimals=1,
            empty="Not recorded yet",
        ),
        value(
            "Firing alerts",
            """Alerts of this release by severity: a page needs a response now, a ticket within
            days. Follow the alert's runbook; the link is at the top of this dashboard and in the
            alert.""",
            COUNT,
            Query(alerts('severity="page"'), "Pages"),
            Query(alerts('severity="ticket"'), "Tickets"),
            steps=NONE_IS_GOOD,
            other_steps={"Tickets": ((None, "green"), (1, "yellow"))},
            height=5,
        ),
        value(
            "Live processes",
            """Scraped processes by component. Without an API no request is served, and without a
            controller no job is dispatched: check their pods. Zero workers are normal while a pool
            that scales to zero is idle.""",
            COUNT,
            Query(processes("api"), "API"),
            Query(processes("controller"), "Controllers"),
            Query(processes("worker"), "Workers"),
            steps=((None, "red"), (1, "green")),
            other_steps={"Workers": ((None, "blue"), (1, "green"))},
            height=5,
        ),
        value(
            "Availability",
            """Share of requests in the last 5 minutes with a status below 500. Below 99.9%, find
            the failing route on the API dashboard, then its requests in the log.""",
            PERCENT,
            Query(f"1 - {server_errors('5m')}"),
            steps=falling(0.999, 0.99),
            decimals=2,
            empty="No requests",
            links=[TO_API],
        ),
        value(
            "Request p95",
            """95% of requests in the last 5 minutes finished within this time, without streams and
            downloads, whose length depends on the client. Above 1.5 s, check the API dashboard for
            a slow route, a full connection pool or a blocked event loop.""",
            SECONDS,
            Query(latency(0.95, "5m")),
            steps=rising(0.5, 1.5),
            empty="No requests",
            links=[TO_API],
        ),
        value(
            "Waits within target",
            """Share of attempts in the last 5 minutes that started within the wait target of their
            kind. Below 95%, a pool is too small or stalled: check the pools.""",
            PERCENT,
            Query(within_target("5m")),
            steps=falling(0.95, 0.8),
            decimals=1,
            empty="No starts",
            links=[TO_POOLS],
        ),
        value(
            "Job success",
            """Share of succeeded jobs among those that succeeded or failed in the last 5 minutes;
            cancelled jobs do not count. Below 99%, find the failing kind on the jobs dashboard and
            read its dead letters.""",
            PERCENT,
            Query(succeeded("5m")),
            steps=falling(0.99, 0.9),
            decimals=1,
            empty="No ends",
            links=[TO_JOBS],
        ),
        value(
            "Dependencies",
            """State of each dependency as seen by the process that sees it worst. If all processes
            report it down, repair the dependency; if only some do, check their network and
            credentials.""",
            COUNT,
            Query(f"min by (dependency) ({DEPENDENCIES})", "{{dependency}}"),
            steps=((None, "red"), (1, "green")),
            words={"0": ("Down", "red"), "1": ("Up", "green")},
            links=[TO_LEDGER],
        ),
        value(
            "Open dead letters",
            """Jobs that failed for good and are still kept; retention removes them. If the number
            grows, read the newest error, fix its cause and submit the jobs again.""",
            COUNT,
            Query(total(ledger("heavylift_dead_letters_open"))),
            steps=rising(1, 100),
            links=[TO_JOBS],
        ),
    ],
)

FELT = Section(
    "User experience",
    [
        graph(
            "Waits within target by kind",
            """Share of attempts of each kind that started within its wait target. If all kinds of a
            pool are low, add workers; if one kind is low, its target is too short or other kinds
            occupy the pool.""",
            PERCENT,
            Query(within_target("$__rate_interval", "kind"), "{{kind}}"),
            highest=1,
            links=[TO_JOBS],
            data_links=[ONE_KIND],
        ),
        graph(
            "Turnaround p95 by kind",
            """Time from when a job could first start to its end, over all attempts; 95% of jobs
            took no longer. If it grows, compare wait and run time on the jobs dashboard.""",
            SECONDS,
            Query(turnaround(0.95, "$__rate_interval", "kind"), "{{kind}}"),
            links=[TO_JOBS],
            data_links=[ONE_KIND],
        ),
        graph(
            "Success ratio by kind",
            """Share of succeeded jobs among those that succeeded or failed. If it drops right after
            a roll-out, roll back; otherwise read the errors of the kind's dead letters.""",
            PERCENT,
            Query(succeeded("$__rate_interval", "kind"), "{{kind}}"),
            highest=1,
            links=[TO_JOBS],
            data_links=[ONE_KIND],
        ),
        graph(
            "Requests by outcome",
            """Requests by result: 4xx are refused because of the client, 5xx are server errors. If
            errors grow, open the API dashboard; if all traffic stops, check ingress and DNS.""",
            REQUESTS_PER_SECOND,
            Query(requests("[123].."), "succeeded"),
            Query(requests("4.."), "refused (4xx)"),
            Query(requests("5.."), "failed (5xx)"),
            stacked=True,
            links=[TO_API],
        ),
        graph(
            "Request latency",
            """Latency percentiles over all routes, without streams and downloads. If only p99
            grows, one route or process is slow; if p50 grows too, check the shared parts:
            PostgreSQL, CPU limits, the event loop.""",
            SECONDS,
            *(
                Query(latency(q, "$__rate_interval"), f"p{q * 100:.0f}", exemplars=q == 0.95)
                for q in (0.5, 0.95, 0.99)
            ),
            links=[TO_API],
        ),
        graph(
            "Jobs submitted and finished",
            """Accepted jobs and finished jobs by outcome. If fewer jobs finish than are submitted
            for long, the backlog grows: check the pools.""",
            JOBS_PER_SECOND,
            Query(total(ledger_rate("heavylift_jobs_submitted_total")), "submitted"),
            Query(total(ledger_rate("heavylift_jobs_finished_total"), "outcome"), "{{outcome}}"),
            links=[TO_JOBS],
        ),
    ],
)

BACKLOG = Section(
    "Backlog and dead letters",
    [
        graph(
            "Waiting jobs by pool",
            """Jobs that could start now but have no worker yet. If the backlog does not shrink, add
            workers; if slots are free at the same time, the pool is stalled.""",
            COUNT,
            Query(total(ledger("heavylift_jobs", 'state="queued"'), "pool"), "{{pool}}"),
            links=[TO_POOLS],
            data_links=[ONE_POOL],
        ),
        graph(
            "Oldest waiting job by pool",
            """Waiting time of the job that could have started first. If it grows by one second per
            second, the pool starts nothing: check its workers and whether dispatch is paused.""",
            SECONDS,
            Query(ledger("heavylift_pool_oldest_eligible_age_seconds"), "{{pool}}"),
            links=[TO_POOLS],
            data_links=[ONE_POOL],
        ),
        graph(
            "Open dead letters by kind",
            """Jobs of each kind that failed for good and are still kept. A step is one incident, a
            slope a kind that keeps failing: fix it, then submit the jobs again.""",
            COUNT,
            Query(total(ledger("heavylift_dead_letters_open"), "kind"), "{{kind}}"),
            links=[TO_JOBS],
            data_links=[ONE_KIND],
        ),
    ],
)

PROCESSES = Section(
    "Dependencies and processes",
    [
        graph(
            "Processes that reach each dependency",
            """Share of processes that PostgreSQL, Redis or the storage serves. Zero is an outage of
            the dependency; a partial loss is a network fault or wrong credentials: check the
            affected processes.""",
            PERCENT,
            Query(f"avg by (dependency) ({DEPENDENCIES})", "{{dependency}}"),
            highest=1,
            links=[TO_LEDGER],
        ),
        graph(
            "Processes by version",
            """Processes by component, version and revision; a roll-out replaces one series with
            another. If two versions stay side by side, the roll-out is stuck: check the pods of the
            newer one.""",
            COUNT,
            Query(
                f"count by (component, version, revision) ({select('heavylift_build_info')})",
                "{{component}} {{version}} {{revision}}",
            ),
            stacked=True,
        ),
        graph(
            "Dropped log lines",
            """Log lines that could not be written, over all processes. Check for a full disk on the
            node and for a stopped log collector.""",
            PER_SECOND,
            Query(total(rate("heavylift_log_lines_dropped_total")), "dropped"),
        ),
        graph(
            "Time until certificates expire",
            """Time until the certificate of each dependency expires, as far as processes verify
            one. Renew it before the line reaches zero: afterwards no process can connect. Empty
            without TLS.""",
            DAYS,
            Query(
                in_days(f"min by (dependency) ({select(CERTIFICATES)}) - time()"), "{{dependency}}"
            ),
            lines=((None, "transparent"), (14, "red")),
            width=12,
        ),
        graph(
            "Age of signing keys",
            """Age of each key that signs access tokens and has a date in its `kid`. Rotate old
            keys: add a new one first, and remove the old one after its last token has expired.
            Empty without dates.""",
            DAYS,
            Query(in_days(f"time() - min by (kid) ({select(KEYS)})"), "{{kid}}"),
            width=12,
        ),
    ],
)

PAGE = Page(
    name="service",
    title="Heavylift / Service",
    description="""Start here. Shows whether Heavylift serves its users well: objectives and error
    budgets, waits, turnaround and success of jobs, and the dependencies.""",
    sections=[FIRST, BUDGETS, FELT, BACKLOG, PROCESSES],
)
