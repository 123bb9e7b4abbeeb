"""A load test while it runs: what it asks for, what it gets, and the objectives beside it."""

from monitoring.dashboards.frame import Page, Section, Variable
from monitoring.dashboards.panels import (
    COUNT,
    JOBS_PER_SECOND,
    NEUTRAL,
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
    ledger_rate,
    or_zero,
    quantile,
    rate,
    ratio,
    select,
    total,
)

TO_API = more("heavylift-api", "API in detail")
TO_POOLS = more("heavylift-pools", "Pools in detail")

CHOSEN = 'scenario=~"$scenario"'
OFFERED = "heavylift_loadtest_offered_total"
COMPLETED = "heavylift_loadtest_completed_total"
DURATION = "heavylift_loadtest_duration_seconds_bucket"
FINISHED = "heavylift_loadtest_job_finished_seconds_bucket"
WAIT = "heavylift_loadtest_job_wait_seconds_bucket"
QUANTILES = (0.5, 0.95, 0.99)


def offered(over: str, *by: str) -> str:
    return total(rate(OFFERED, CHOSEN, over=over), *by)


def completed(over: str, *by: str, result: str = "") -> str:
    return total(rate(COMPLETED, CHOSEN, result, over=over), *by)


def achieved(over: str, *by: str) -> str:
    return ratio(completed(over, *by, result='result="ok"'), offered(over, *by))


def errors(over: str, *by: str) -> str:
    """A refusal for load counts as an error, as the run's own verdict counts it."""
    whole = completed(over, *by)
    failed = completed(over, *by, result='result!="ok"')
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
    """A percentile as a part of what is allowed: above 1 the objective is missed."""
    return f"{q} / {objective(of)}"


FIRST = Section(
    "Is it all right?",
    [
        value(
            "Users",
            """Users that the load test plays at this moment. None means that no test runs now:
            start one, or choose the time of the last one.""",
            COUNT,
            Query(total(select("heavylift_loadtest_users"))),
            steps=NEUTRAL,
            empty="No test runs",
        ),
        value(
            "Offered",
            """Requests and jobs that were due, a second, in the last minute. It should follow the
            plan of the test: if it does not, the generator itself is at its limit.""",
            REQUESTS_PER_SECOND,
            Query(offered("1m")),
            steps=NEUTRAL,
            empty="No test runs",
        ),
        value(
            "Achieved",
            """What was answered well, as a part of what was due, in the last minute. Far below 100%
            the stack does not keep up: the figures are then of a queue, so lower the rate.""",
            PERCENT,
            Query(achieved("1m")),
            steps=falling(0.98, 0.9),
            decimals=1,
            empty="No test runs",
        ),
        value(
            "Errors",
            """What was not answered well among all that was answered, in the last minute. Above the
            objective the run fails: see the results below.""",
            PERCENT,
            Query(errors("1m")),
            steps=rising(0.005, 0.01),
            decimals=2,
            empty="No test runs",
        ),
        value(
            "Slowest scenario, of its objective",
            """p95 of the scenario that is nearest to its objective, or furthest beyond it, as a
            part of that objective. Above 100% the run fails: look at the API.""",
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
            "Jobs, of their objectives",
            """p95 of the jobs' waits, and of the time until users know that they finished, as parts
            of the objectives. Above 100% the run fails: look at the pools.""",
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
            """What was due, what was answered, and what was answered well. Where the lines part,
            the stack has reached its limit: note the rate, and what is full on the other
            dashboards.""",
            REQUESTS_PER_SECOND,
            Query(offered("$__rate_interval"), "offered"),
            Query(completed("$__rate_interval"), "answered"),
            Query(completed("$__rate_interval", result='result="ok"'), "answered well"),
        ),
        graph(
            "Answered well by scenario",
            """What each scenario achieved, as a part of what was due. One that falls alone shows
            which of the stack's parts is full.""",
            PERCENT,
            Query(achieved("$__rate_interval", "scenario"), "{{scenario}}"),
            highest=1.05,
        ),
        graph(
            "Results",
            """Answers by what they were: `refused` is a limit that holds, `problem` an error of the
            API, `timeout` no answer in time, `wrong-content` an answer that is not true. The last
            one must never happen.""",
            REQUESTS_PER_SECOND,
            Query(completed("$__rate_interval", "result"), "{{result}}"),
            stacked=True,
        ),
        graph(
            "Errors by scenario",
            """The share of each scenario's answers that were not good, beside what its objective
            allows. Above it the run fails: see which result it is.""",
            PERCENT,
            Query(errors("$__rate_interval", "scenario"), "{{scenario}}"),
            Query(allowed_errors("scenario"), "{{scenario}} objective"),
        ),
        graph(
            "Users and jobs that wait",
            """Users that are played, and jobs that wait in the stack meanwhile. Jobs that pile up
            with steady users mean that workers are too few for this load.""",
            COUNT,
            Query(total(select("heavylift_loadtest_users")), "users"),
            Query(total(ledger("heavylift_jobs", 'state="queued"', variables=())), "waiting jobs"),
        ),
        graph(
            "Jobs of the stack",
            """Jobs that the stack accepted and finished, as its ledger counts them. If they differ
            from what the test says it did, other clients use this stack: its figures are not the
            test's alone.""",
            JOBS_PER_SECOND,
            Query(total(ledger_rate("heavylift_jobs_submitted_total", variables=())), "submitted"),
            Query(total(ledger_rate("heavylift_jobs_finished_total", variables=())), "finished"),
        ),
    ],
)

PERCENTILES = Section(
    "Percentiles beside the objectives",
    [
        graph(
            "Response of $scenario",
            """What the scenario's users waited for, from when each request was due, beside the
            objective of `loadtests/slo.yaml`. If p95 crosses it, compare with the API's own
            latency: what is longer here was spent in queues before it.""",
            SECONDS,
            *percentiles(DURATION, CHOSEN),
            Query(objective("response", "quantile"), "objective {{quantile}}"),
            width=24,
            repeat="scenario",
            links=[TO_API],
        ),
        graph(
            "From submit until the user knows",
            """From a job's submission until its user knew that it had finished, beside the
            objective. If it is long while waits are short, runs or notifications are slow.""",
            SECONDS,
            *percentiles(FINISHED),
            Query(objective("finished", "quantile"), "objective {{quantile}}"),
            width=12,
        ),
        graph(
            "Wait of jobs",
            """From acceptance to start, by the server's own times, beside the objective. If p95
            crosses it, the pools are too small for this load.""",
            SECONDS,
            *percentiles(WAIT),
            Query(objective("wait", "quantile"), "objective {{quantile}}"),
            width=12,
            links=[TO_POOLS],
        ),
        rows(
            "Scenarios",
            """Each scenario over the time shown, the busiest first: it passes with p95 and errors
            within their objectives. Choose the time of one run, without its warm-up.""",
            {"scenario": "Scenario"},
            Column(
                "p95", quantile(0.95, rate(DURATION, CHOSEN, over="$__range"), "scenario"), SECONDS
            ),
            Column("Objective", objective("response", "scenario"), SECONDS),
            Column("Errors", errors("$__range", "scenario"), PERCENT),
            Column("Errors allowed", allowed_errors("scenario"), PERCENT),
            Column("Achieved", achieved("$__range", "scenario"), PERCENT, falling(0.98, 0.9)),
            Column("Offered", offered("$__range", "scenario"), REQUESTS_PER_SECOND),
        ),
    ],
)

PAGE = Page(
    name="load-test",
    title="Heavylift / Load test",
    description="""A load test while it runs: the rate that it offers and that it achieves, and its
    percentiles beside the objectives of `loadtests/slo.yaml`.""",
    sections=[FIRST, RATES, PERCENTILES],
    uses=frozenset(),
    variables=[Variable("scenario", "Scenario", select(OFFERED), every=".+")],
    since="now-30m",
)
