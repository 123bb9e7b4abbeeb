"""A running load test: offered and achieved load, and percentiles against the objectives."""

from monitoring.dashboards.frame import Page, Section, Variable
from monitoring.dashboards.panels import (
    COUNT,
    NEUTRAL,
    PER_SECOND,
    PERCENT,
    REQUESTS_PER_SECOND,
    SECONDS,
    Column,
    Query,
    falling,
    graph,
    more,
    rising,
    rows,
    value,
)
from monitoring.dashboards.queries import (
    ledger,
    or_none,
    or_zero,
    quantile,
    rate,
    ratio,
    select,
    total,
)

TO_API = more("heavylift-api", "API in detail")
TO_POOLS = more("heavylift-pools", "Pools in detail")

JOURNEYS_PER_SECOND = "suffix:journeys/s"

CHOSEN = 'scenario=~"$scenario"'
OFFERED = "heavylift_loadtest_journeys_offered_total"
COMPLETED = "heavylift_loadtest_journeys_completed_total"
OUTCOMES = "heavylift_loadtest_outcomes_total"
PROBLEMS = "heavylift_loadtest_problems_total"
DURATION = "heavylift_loadtest_request_duration_seconds_bucket"
FINISHED = "heavylift_loadtest_job_finished_seconds_bucket"
WAIT = "heavylift_loadtest_job_wait_seconds_bucket"
QUANTILES = (0.5, 0.95, 0.99)


def offered(over: str, *by: str) -> str:
    return total(rate(OFFERED, CHOSEN, over=over), *by)


def completed(over: str, *by: str, result: str = "") -> str:
    return total(rate(COMPLETED, CHOSEN, result, over=over), *by)


def achieved(over: str, *by: str) -> str:
    return ratio(completed(over, *by, result='result="ok"'), offered(over, *by))


def outcomes(over: str, *by: str, result: str = "") -> str:
    return total(rate(OUTCOMES, CHOSEN, result, over=over), *by)


def errors(over: str, *by: str) -> str:
    """The error ratio of requests and jobs. Refusals count as errors, as in the run's verdict."""
    whole = outcomes(over, *by)
    failed = outcomes(over, *by, result='result!="ok"')
    return ratio(f"({or_zero(failed, whole)})", whole)


def objective(of: str, *by: str) -> str:
    matchers = [f'objective="{of}"', *([CHOSEN] if of == "response" else [])]
    chosen = select("heavylift_loadtest_objective_seconds", *matchers)
    return f"max by ({', '.join(by)}) ({chosen})" if by else f"max({chosen})"


def allowed_errors(*by: str) -> str:
    return (
        f"min by ({', '.join(by)}) ({select('heavylift_loadtest_objective_error_ratio', CHOSEN)})"
    )


def percentiles(buckets: str, *matchers: str) -> list[Query]:
    return [Query(quantile(q, rate(buckets, *matchers)), f"p{q * 100:.0f}") for q in QUANTILES]


def of_objective(q: str, of: str) -> str:
    """A percentile as a share of its objective: above 1 the objective is missed."""
    return f"{q} / {objective(of)}"


FIRST = Section(
    "Status",
    [
        value(
            "Users",
            """Users that the load test simulates now. If there are none, no test runs: start one,
            or select the time of the last run.""",
            COUNT,
            Query(total(select("heavylift_loadtest_users"))),
            steps=NEUTRAL,
            empty="No test runs",
        ),
        value(
            "Offered rate",
            """Journeys of users that were due per second in the last minute. If it does not follow
            the plan of the test, the load generator is the bottleneck: give it more CPU.""",
            JOURNEYS_PER_SECOND,
            Query(offered("1m")),
            steps=NEUTRAL,
            empty="No test runs",
        ),
        value(
            "Achieved share",
            """Share of the journeys due in the last minute that ended without a failure. Far below
            100% the stack does not keep up and latencies only measure a queue: lower the rate.""",
            PERCENT,
            Query(achieved("1m")),
            steps=falling(0.98, 0.9),
            decimals=1,
            empty="No test runs",
        ),
        value(
            "Errors",
            """Share of requests and jobs in the last minute that failed. Above the objective the
            run fails: check the results below.""",
            PERCENT,
            Query(errors("1m")),
            steps=rising(0.005, 0.01),
            decimals=2,
            empty="No test runs",
        ),
        value(
            "Slowest scenario",
            """p95 of the scenario closest to its objective, or furthest beyond it, as a share of
            that objective. Above 100% the run fails: check the API.""",
            PERCENT,
            Query(
                f"max({quantile(0.95, rate(DURATION, CHOSEN, over='5m'), 'scenario')}"
                f" / {objective('response', 'scenario')})"
            ),
            steps=rising(0.8, 1),
            decimals=0,
            empty="No test runs",
            links=[TO_API],
        ),
        value(
            "Job objectives",
            """p95 of the wait of jobs, and of the time until users see them finished, as shares of
            their objectives. Above 100% the run fails: check the pools.""",
            PERCENT,
            Query(of_objective(quantile(0.95, rate(WAIT, over="5m")), "wait"), "Wait"),
            Query(of_objective(quantile(0.95, rate(FINISHED, over="5m")), "finished"), "Finished"),
            steps=rising(0.8, 1),
            decimals=0,
            empty="No test runs",
            links=[TO_POOLS],
        ),
    ],
)

RATES = Section(
    "Offered and achieved",
    [
        graph(
            "Offered and achieved rate",
            """Journeys that were due, that ended, and that ended without a failure. Where the
            lines part, the stack has reached its limit: note the rate and check which resource
            is full.""",
            JOURNEYS_PER_SECOND,
            Query(offered("$__rate_interval"), "offered"),
            Query(completed("$__rate_interval"), "ended"),
            Query(completed("$__rate_interval", result='result="ok"'), "achieved"),
        ),
        graph(
            "Achieved share by scenario",
            """Share of each scenario's due journeys that ended without a failure. If one scenario
            drops first, it shows which part of the stack is full: check that part.""",
            PERCENT,
            # In less time a scenario has too few journeys for a share.
            Query(achieved("1m", "scenario"), "{{scenario}}"),
        ),
        graph(
            "Requests and jobs by result",
            """Ended requests and jobs by result: `refused` is a rate limit, `problem` an error of
            the API, `timeout` no answer in time, `wrong-content` an incorrect answer. The last one
            must never happen: keep the run's report.""",
            REQUESTS_PER_SECOND,
            Query(outcomes("$__rate_interval", "result"), "{{result}}"),
            stacked=True,
        ),
        graph(
            "Errors by scenario",
            """Share of each scenario's requests and jobs that failed, with its objective. Above the
            objective the run fails: check which result it is.""",
            PERCENT,
            Query(errors("$__rate_interval", "scenario"), "{{scenario}}"),
            Query(allowed_errors("scenario"), "{{scenario}} objective", limit=True),
        ),
        graph(
            "Problems by type",
            """Problem documents in place of the expected answers, by type. Look the type up in the
            API's documentation; `too-many-requests` means that the limits of the stack are lower
            than the load.""",
            PER_SECOND,
            Query(
                or_none(
                    total(rate(PROBLEMS, CHOSEN), "problem"),
                    "problem",
                    outcomes("$__rate_interval"),
                ),
                "{{problem}}",
            ),
            stacked=True,
        ),
        graph(
            "Users and waiting jobs",
            """Simulated users, and jobs that wait in the stack. If jobs accumulate while users stay
            the same, there are too few workers for this load: see the pools.""",
            COUNT,
            Query(total(select("heavylift_loadtest_users")), "users"),
            Query(total(ledger("heavylift_jobs", 'state="queued"', variables=())), "waiting jobs"),
            links=[TO_POOLS],
        ),
    ],
)

PERCENTILES = Section(
    "Percentiles against the objectives",
    [
        graph(
            "Response of $scenario",
            """Response time of the scenario from when each request was due, with the objective of
            `loadtests/slo.yaml`. If p95 exceeds it, compare the API's own latency: the difference
            is time in queues before the API.""",
            SECONDS,
            *percentiles(DURATION, CHOSEN),
            Query(objective("response", "quantile"), "objective {{quantile}}", limit=True),
            width=24,
            repeat="scenario",
            links=[TO_API],
        ),
        graph(
            "Submit until finished",
            """Time from the submission of a job until its user sees it finished, with the
            objective. If it is long while waits are short, runs or notifications are slow: check
            both.""",
            SECONDS,
            *percentiles(FINISHED),
            Query(objective("finished", "quantile"), "objective {{quantile}}", limit=True),
            width=12,
        ),
        graph(
            "Wait of jobs",
            """Time from acceptance to start by the server's clock, with the objective. If p95
            exceeds it, the pools are too small for this load: add workers.""",
            SECONDS,
            *percentiles(WAIT),
            Query(objective("wait", "quantile"), "objective {{quantile}}", limit=True),
            width=12,
            links=[TO_POOLS],
        ),
        rows(
            "Scenarios",
            """Each scenario over the time range, busiest first; it passes if p95 and errors are
            within their objectives. Select the time of one run without its warm-up.""",
            {"scenario": "Scenario"},
            Column(
                "p95", quantile(0.95, rate(DURATION, CHOSEN, over="$__range"), "scenario"), SECONDS
            ),
            Column("Objective", objective("response", "scenario"), SECONDS),
            Column("Errors", errors("$__range", "scenario"), PERCENT),
            Column("Errors allowed", allowed_errors("scenario"), PERCENT),
            Column("Achieved", achieved("$__range", "scenario"), PERCENT, falling(0.98, 0.9)),
            Column("Offered", offered("$__range", "scenario"), JOURNEYS_PER_SECOND),
        ),
    ],
)

PAGE = Page(
    name="load-test",
    title="Heavylift / Load test",
    description="""A running load test: its offered and achieved rate, and its percentiles against
    the objectives of `loadtests/slo.yaml`.""",
    sections=[FIRST, RATES, PERCENTILES],
    uses=frozenset(),
    variables=[Variable("scenario", "Scenario", select(OFFERED), every=".+")],
    since="now-30m",
)
