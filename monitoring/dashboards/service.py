"""Whether users are served well, and where to look next if they are not."""

from monitoring.dashboards.frame import Page, Section
from monitoring.dashboards.panels import (
    COUNT,
    JOBS_PER_SECOND,
    NONE_IS_GOOD,
    PER_SECOND,
    PERCENT,
    REQUESTS_PER_SECOND,
    SECONDS,
    Column,
    Query,
    falling,
    graph,
    more,
    of_series,
    rising,
    rows,
    value,
)
from monitoring.dashboards.queries import (
    QUICK,
    REQUEST_BUCKETS,
    REQUESTS,
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

BUDGET = f"max by (slo) ({select('heavylift:slo_error_budget:remaining30d')})"
OBJECTIVE = f"max by (slo) ({select('heavylift:slo_objective:ratio')})"


def errors(window: str) -> str:
    return f"max by (slo) ({select(f'heavylift:slo_errors:ratio_rate{window}')})"


def burn(window: str) -> str:
    """How many times faster than the objective allows: at 1, a budget lasts 30 days."""
    return f"{errors(window)} / (1 - {OBJECTIVE})"


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
    """A job that its owner cancelled says nothing about the service."""
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


DEPENDENCIES = select("heavylift_dependency_up")

FIRST = Section(
    "Is it all right?",
    [
        value(
            "Error budget left",
            """The part of each objective's errors of 30 days that may still happen: 100% is
            untouched, 0% is used up. For an objective below 25%, look at how fast it burns; stop
            risky roll-outs when it is used up.""",
            PERCENT,
            Query(BUDGET, "{{slo}}"),
            steps=((None, "red"), (0, "orange"), (0.25, "yellow"), (0.5, "green")),
            width=16,
            height=5,
            decimals=1,
            empty="The recording rules are not loaded",
        ),
        value(
            "Alerts that fire",
            """Alerts of this release by severity: a page wants somebody now, a ticket within days.
            Open the alert's runbook, linked above and in the alert itself.""",
            COUNT,
            Query(alerts('severity="page"'), "Pages"),
            Query(alerts('severity="ticket"'), "Tickets"),
            steps=NONE_IS_GOOD,
            other_steps={"Tickets": ((None, "green"), (1, "yellow"))},
            height=5,
        ),
        value(
            "Live processes",
            """Processes that are scraped, by component. Without an API nothing is accepted, without
            a controller nothing is dispatched: look at their pods. No worker is normal where a pool
            is scaled to nothing while it has no work.""",
            COUNT,
            Query(processes("api"), "API"),
            Query(processes("controller"), "Controllers"),
            Query(processes("worker"), "Workers"),
            steps=((None, "red"), (1, "green")),
            other_steps={"Workers": ((None, "blue"), (1, "green"))},
            height=5,
        ),
        value(
            "Requests without a server error",
            """The share of requests in the last 5 minutes whose status is below 500. Below 99.9%,
            find the route that fails on the API dashboard, and its lines in the log by status.""",
            PERCENT,
            Query(f"1 - {server_errors('5m')}"),
            steps=falling(0.999, 0.99),
            decimals=2,
            empty="No requests",
            links=[TO_API],
        ),
        value(
            "Request p95",
            """95% of the requests of the last 5 minutes took no longer; streams and downloads,
            whose length is the client's, are left out. Above 1.5 s, see on the API dashboard
            whether routes, the database's pool or the event loop are slow.""",
            SECONDS,
            Query(latency(0.95, "5m")),
            steps=rising(0.5, 1.5),
            empty="No requests",
            links=[TO_API],
        ),
        value(
            "Waits within target",
            """The share of attempts that started in the last 5 minutes no later than their kind's
            target. Below 95%, a pool is too small or stands still: open the pools.""",
            PERCENT,
            Query(within_target("5m")),
            steps=falling(0.95, 0.8),
            decimals=1,
            empty="No starts",
            links=[TO_POOLS],
        ),
        value(
            "Jobs that succeed",
            """Succeeded jobs among those that succeeded or failed in the last 5 minutes. Below 99%,
            find the kind that fails on the jobs dashboard, and its dead letters.""",
            PERCENT,
            Query(succeeded("5m")),
            steps=falling(0.99, 0.9),
            decimals=1,
            empty="No ends",
            links=[TO_JOBS],
        ),
        value(
            "Dependencies",
            """What every process depends on, by the process that sees it worst: down means that at
            least one cannot reach it. If all processes say so, the dependency is down; if a few do,
            look at their network and credentials.""",
            COUNT,
            Query(f"min by (dependency) ({DEPENDENCIES})", "{{dependency}}"),
            steps=((None, "red"), (1, "green")),
            words={"0": ("Down", "red"), "1": ("Up", "green")},
            links=[TO_LEDGER],
        ),
        value(
            "Open dead letters",
            """Jobs that failed for good and are still kept, which they are until they are too old.
            If there are more than before, find out why the newest failed, mend it, and submit them
            again.""",
            COUNT,
            Query(total(ledger("heavylift_dead_letters_open"))),
            steps=rising(1, 100),
            links=[TO_JOBS],
        ),
    ],
)

BUDGETS = Section(
    "Error budgets",
    [
        graph(
            "Error budget left over time",
            """How the part of each error budget that is left went down and came back, over 30 days
            that move along. A steep fall has a cause at its beginning: compare it with roll-outs
            and with the graphs below.""",
            PERCENT,
            Query(BUDGET, "{{slo}}"),
            lowest=None,
            highest=1,
            lines=((None, "transparent"), (0, "red")),
            width=12,
        ),
        graph(
            "Burn rate of the last hour",
            """How many times faster than allowed each budget is used up: at 1 it lasts 30 days, at
            14.4 it loses 2% within an hour, which pages. Above 1, look for the cause before it
            pages.""",
            COUNT,
            Query(burn("1h"), "{{slo}}"),
            lines=((None, "transparent"), (1, "yellow"), (6, "orange"), (14.4, "red")),
            width=12,
        ),
        rows(
            "Objectives and error ratios",
            """Each objective beside the share of bad events over windows of growing length. High in
            a short window alone has just begun; high in a long one alone is over, and needs no
            haste.""",
            {"slo": "Objective of"},
            Column("Objective", OBJECTIVE, PERCENT),
            Column("Errors 5 min", errors("5m"), PERCENT),
            Column("Errors 1 h", errors("1h"), PERCENT),
            Column("Errors 6 h", errors("6h"), PERCENT),
            Column("Errors 1 d", errors("1d"), PERCENT),
            Column("Errors 3 d", errors("3d"), PERCENT),
            Column(
                "Budget left",
                BUDGET,
                PERCENT,
                ((None, "red"), (0, "orange"), (0.25, "yellow"), (0.5, "green")),
            ),
            Column("Burn rate 1 h", burn("1h"), COUNT, rising(1, 6)),
        ),
    ],
)

FELT = Section(
    "What users feel",
    [
        graph(
            "Waits within target by kind",
            """The share of each kind's attempts that started within its target. A kind that is low
            by itself has a target too short or a pool that others fill; all kinds of a pool low
            together want more workers.""",
            PERCENT,
            Query(within_target("$__rate_interval", "kind"), "{{kind}}"),
            highest=1,
            links=[TO_JOBS],
            data_links=[ONE_KIND],
        ),
        graph(
            "Turnaround p95 by kind",
            """From when a job could first start to its end, over all its attempts: 95% of jobs took
            no longer. If it grows, compare waits and run times on the jobs dashboard to see which
            of them does.""",
            SECONDS,
            Query(turnaround(0.95, "$__rate_interval", "kind"), "{{kind}}"),
            links=[TO_JOBS],
            data_links=[ONE_KIND],
        ),
        graph(
            "Success ratio by kind",
            """Succeeded jobs among those that succeeded or failed. A kind that falls right after a
            roll-out was broken by it: go back to the build before; otherwise read the errors of its
            dead letters.""",
            PERCENT,
            Query(succeeded("$__rate_interval", "kind"), "{{kind}}"),
            highest=1,
            links=[TO_JOBS],
            data_links=[ONE_KIND],
        ),
        graph(
            "Requests by outcome",
            """Requests by what was answered: refusals (4xx) are the client's, errors (5xx) are
            ours. If errors grow, open the API dashboard; if all of it stops, look at ingress and
            DNS.""",
            REQUESTS_PER_SECOND,
            Query(requests("[123].."), "answered"),
            Query(requests("4.."), "refused (4xx)"),
            Query(requests("5.."), "failed (5xx)"),
            stacked=True,
            links=[TO_API],
        ),
        graph(
            "Request latency",
            """Percentiles over all routes without streams and downloads. If only p99 grows, one
            route or one process is slow; if p50 grows too, what all share is.""",
            SECONDS,
            *(
                Query(latency(q, "$__rate_interval"), f"p{q * 100:.0f}", exemplars=True)
                for q in (0.5, 0.95, 0.99)
            ),
            links=[TO_API],
        ),
        graph(
            "Jobs submitted and finished",
            """Jobs accepted and jobs that ended, by outcome. Where less ends than is submitted for
            long, a backlog grows: look at the pools.""",
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
            "Jobs that wait by pool",
            """Jobs that could start now and have no worker yet. A backlog that does not shrink
            wants more workers; one that stands still beside free slots is a stalled pool.""",
            COUNT,
            Query(total(ledger("heavylift_jobs", 'state="queued"'), "pool"), "{{pool}}"),
            links=[TO_POOLS],
            data_links=[ONE_POOL],
        ),
        graph(
            "Oldest waiting job by pool",
            """How long the job that could have started first has waited. If it grows by a second
            each second, nothing starts in that pool: look at its workers, and whether dispatch is
            paused.""",
            SECONDS,
            Query(ledger("heavylift_pool_oldest_eligible_age_seconds"), "{{pool}}"),
            links=[TO_POOLS],
            data_links=[ONE_POOL],
        ),
        graph(
            "Open dead letters by kind",
            """Jobs of each kind that failed for good and are still kept. A step up is an incident
            of that kind; it goes down when they are too old, so mend what is new.""",
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
            """The share of all processes that PostgreSQL, Redis or the storage serves. Zero is an
            outage of the dependency; a part is a broken network, a wrong password or a process that
            should be started again.""",
            PERCENT,
            Query(f"avg by (dependency) ({DEPENDENCIES})", "{{dependency}}"),
            highest=1,
            links=[TO_LEDGER],
        ),
        graph(
            "Processes by version",
            """Processes by component, version and revision: a roll-out shows as one series that
            takes the place of another. Two that stay side by side are a roll-out that is stuck:
            look at the newer one's pods.""",
            COUNT,
            Query(
                f"count by (component, version, revision) ({select('heavylift_build_info')})",
                "{{component}} {{version}} {{revision}}",
            ),
            stacked=True,
        ),
        graph(
            "Log lines dropped",
            """Log lines that could not be written, over all processes: what happened then is in no
            log. See whether the node's disk is full, or whatever reads the container's output has
            stopped.""",
            PER_SECOND,
            Query(total(rate("heavylift_log_lines_dropped_total")), "dropped"),
        ),
    ],
)

PAGE = Page(
    name="service",
    title="Heavylift / Service",
    description="""Whether Heavylift serves its users well: objectives and their error budgets,
    waits, turnaround and success of jobs, and what all of it depends on. Start here.""",
    sections=[FIRST, BUDGETS, FELT, BACKLOG, PROCESSES],
)
