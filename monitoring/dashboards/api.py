"""The API: traffic, latency, errors and the resources of its processes."""

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
    graph,
    more,
    rising,
    rows,
    value,
)
from monitoring.dashboards.queries import (
    QUICK,
    REQUEST_BUCKETS,
    REQUESTS,
    or_none,
    or_zero,
    processes,
    quantile,
    rate,
    ratio,
    select,
    total,
)
from monitoring.dashboards.resources import API, AT_MOST, DELAY, IN_USE, PENDING, PROCESS

TO_LEDGER = more("heavylift-ledger", "Controller and ledger")

ROUTE = ("http_request_method", "http_route")
CHOSEN = 'http_route=~"$route"'
NAME = "{{http_request_method}} {{http_route}}"
STATUS = "http_response_status_code"
LIMITED = f'{STATUS}="429"'
FAILED = f'{STATUS}=~"5.."'

# Ranked over the whole time range, so that a graph has the same series from left to right.
_ASKED = f"increase({select(REQUESTS, CHOSEN)}[$__range] @ end())"
BUSIEST = f"topk(10, {total(_ASKED, *ROUTE)})"


def busiest(expression: str) -> str:
    return f"{expression} and on ({', '.join(ROUTE)}) {BUSIEST}"


def share(status: str, over: str) -> str:
    """The share of all requests that got this status."""
    answered = total(rate(REQUESTS, over=over))
    return ratio(f"({or_zero(total(rate(REQUESTS, status, over=over)), answered)})", answered)


def by_route(status: str, over: str = "$__rate_interval") -> str:
    return total(rate(REQUESTS, CHOSEN, status, over=over), *ROUTE)


def latency(q: float, *by: str, over: str = "$__rate_interval", only: str = QUICK) -> str:
    return quantile(q, rate(REQUEST_BUCKETS, only, over=over), *by)


def route_latency(q: float) -> Query:
    return Query(busiest(latency(q, *ROUTE, only=f"{CHOSEN}, {QUICK}")), NAME, exemplars=True)


FIRST = Section(
    "Status",
    [
        value(
            "Requests",
            """Requests per second over the last 5 minutes, without probes. If there are far
            fewer than usual, clients cannot reach the API: check ingress, DNS and certificates.""",
            REQUESTS_PER_SECOND,
            Query(total(rate(REQUESTS, over="5m"))),
            steps=NEUTRAL,
        ),
        value(
            "Server errors (5xx)",
            """Share of requests in the last 5 minutes that ended with a server error. Above
            0.1%, check the routes below; the problem of a 503 names the unavailable dependency.""",
            PERCENT,
            Query(share(FAILED, "5m")),
            steps=rising(0.001, 0.01),
            decimals=2,
            empty="No requests",
        ),
        value(
            "Rate limited (429)",
            """Share of requests in the last 5 minutes over a rate limit or a quota. If it is
            high, find the client that retries too fast, or raise a limit that is too low.""",
            PERCENT,
            Query(share(LIMITED, "5m")),
            steps=rising(0.02, 0.2),
            decimals=2,
            empty="No requests",
        ),
        value(
            "Latency p95",
            """95% of requests in the last 5 minutes finished within this time, without streams
            and downloads. Above 1.5 s users notice: compare the routes below.""",
            SECONDS,
            Query(latency(0.95, over="5m")),
            steps=rising(0.5, 1.5),
            empty="No requests",
        ),
        value(
            "Latency p99",
            """99% of requests in the last 5 minutes finished within this time, without streams
            and downloads. If it is far above p95, open an exemplar below to read the trace of a
            slow request.""",
            SECONDS,
            Query(latency(0.99, over="5m")),
            steps=rising(1, 2.5),
            empty="No requests",
        ),
        value(
            "Processes",
            """Scraped API processes. Zero means that the API is down or not scraped: check its
            pods and the targets of Prometheus.""",
            COUNT,
            Query(processes("api")),
            steps=((None, "red"), (1, "green")),
        ),
        value(
            "Connections in use",
            """Share of the connection pools to PostgreSQL that is in use, over all processes.
            Near 100% requests queue: look for slow statements, then raise the pool size.""",
            PERCENT,
            Query(ratio(IN_USE, AT_MOST)),
            steps=rising(0.7, 0.9),
        ),
        value(
            "Waiting for a connection",
            """Requests that wait for a database connection now. If any keep waiting, the pool
            is too small or PostgreSQL is slow.""",
            COUNT,
            Query(PENDING),
            steps=rising(1, 10),
        ),
        value(
            "Event loop delay p99",
            """Delay of the event loop's timers in the last 5 minutes. Above 0.1 s all requests
            of a process are blocked: check CPU limits and blocking code.""",
            SECONDS,
            Query(quantile(0.99, rate(DELAY, over="5m"))),
            steps=rising(0.05, 0.25),
        ),
        value(
            "Open requests and streams",
            """Requests in progress and open event streams. If requests keep growing, they do
            not finish: check latency and the dependencies.""",
            COUNT,
            Query(total(select("http_server_active_requests")), "Requests"),
            Query(total(select("heavylift_event_streams")), "Streams"),
            steps=NEUTRAL,
        ),
        value(
            "Refused log-ins",
            """Requests per second over the last 5 minutes that were refused for their
            credentials. A sudden rise is a client with an old key or password guessing: check
            the reasons below.""",
            PER_SECOND,
            Query(or_zero(total(rate("heavylift_auth_failures_total", over="5m")))),
            steps=rising(1, 10),
        ),
        value(
            "Dependencies of the API",
            """State of each dependency as seen by the API process that sees it worst. Requests
            that need a dependency that is down get a 503 at once; repair the dependency, do not
            restart the API.""",
            COUNT,
            Query(
                f"min by (dependency) ({select('heavylift_dependency_up')}"
                f" and on (instance) {API})",
                "{{dependency}}",
            ),
            steps=((None, "red"), (1, "green")),
            words={"0": ("Down", "red"), "1": ("Up", "green")},
            links=[TO_LEDGER],
        ),
    ],
)

TRAFFIC = Section(
    "Traffic",
    [
        graph(
            "Requests by status",
            """Requests by status code; 499 means that the client closed the connection first.
            If a status appears or grows, find its route in the graphs below.""",
            REQUESTS_PER_SECOND,
            Query(total(rate(REQUESTS), STATUS), f"{{{{{STATUS}}}}}"),
            stacked=True,
        ),
        graph(
            "Requests by route",
            """Requests of the ten busiest routes in the time range. If one route grows alone,
            it is often one client in a loop: find its user in the log.""",
            REQUESTS_PER_SECOND,
            Query(busiest(total(rate(REQUESTS, CHOSEN), *ROUTE)), NAME),
        ),
        graph(
            "Active requests and streams",
            """Requests in progress, streams included, and streams alone. If requests grow while
            the request rate does not, each takes longer: check latency and the connection pool.""",
            COUNT,
            Query(total(select("http_server_active_requests")), "requests"),
            Query(total(select("heavylift_event_streams")), "streams"),
        ),
    ],
)

LATENCY = Section(
    "Latency",
    [
        graph(
            "Latency of all routes",
            """Latency percentiles over all routes, without streams and downloads; each diamond
            is a single request. Open the trace of a slow one to see which statement or call
            took the time.""",
            SECONDS,
            # The same requests are examples of each percentile: once is enough.
            *(Query(latency(q), f"p{q * 100:.0f}", exemplars=q == 0.95) for q in (0.5, 0.95, 0.99)),
            width=12,
        ),
        graph(
            "p50 by route",
            """Median latency of the ten busiest routes. If one route grows, its query or its
            data has changed; if all grow, a shared part is slow.""",
            SECONDS,
            route_latency(0.5),
            width=12,
        ),
        graph(
            "p95 by route",
            """95% of the requests of each of the ten busiest routes finished within this time.
            Above the objective of 1.5 s, open an exemplar of the route and read its trace.""",
            SECONDS,
            route_latency(0.95),
            lines=((None, "transparent"), (1.5, "red")),
            width=12,
        ),
        graph(
            "p99 by route",
            """99% of the requests of each of the ten busiest routes finished within this time.
            Peaks during roll-outs come from starting processes; for other peaks, look for locks
            in the trace of an exemplar.""",
            SECONDS,
            route_latency(0.99),
            width=12,
        ),
        rows(
            "Routes",
            """Each route over the time range, busiest first. A route with many requests and
            many errors or a high p95 spends most of the error budget: start with it.""",
            {"http_request_method": "Method", "http_route": "Route"},
            Column("p50", latency(0.5, *ROUTE, over="$__range", only=CHOSEN), SECONDS),
            Column(
                "p95",
                latency(0.95, *ROUTE, over="$__range", only=CHOSEN),
                SECONDS,
                rising(0.5, 1.5),
            ),
            Column("p99", latency(0.99, *ROUTE, over="$__range", only=CHOSEN), SECONDS),
            Column(
                "Failed",
                ratio(
                    f"({or_zero(by_route(FAILED, '$__range'), by_route('', '$__range'))})",
                    by_route("", "$__range"),
                ),
                PERCENT,
                rising(0.001, 0.01),
            ),
            Column("Requests", by_route("", "$__range"), REQUESTS_PER_SECOND),
            height=10,
        ),
    ],
)

REFUSALS = Section(
    "Errors and refusals",
    [
        graph(
            "Server errors by route",
            """Requests with a 5xx by route and status. For a 500, find the exception in the log
            by its request id; for a 503, check which dependency is down.""",
            REQUESTS_PER_SECOND,
            Query(
                or_none(
                    total(rate(REQUESTS, CHOSEN, FAILED), *ROUTE, STATUS),
                    "http_route",
                    total(rate(REQUESTS, CHOSEN)),
                ),
                f"{NAME} {{{{{STATUS}}}}}",
            ),
            stacked=True,
        ),
        graph(
            "Rate-limited requests by route",
            """Requests over a rate limit or a quota (429) by route. If a well-behaved client is
            affected, raise its limit; a client should wait as `Retry-After` says.""",
            REQUESTS_PER_SECOND,
            Query(or_none(by_route(LIMITED), "http_route", total(rate(REQUESTS, CHOSEN))), NAME),
            stacked=True,
        ),
        graph(
            "Client errors by status",
            """Requests with a 4xx other than 429. Many 401 follow a key rotation, many 404 come
            from old links, many 422 from a client built for another version: contact the
            client's owner.""",
            REQUESTS_PER_SECOND,
            Query(
                or_none(
                    total(rate(REQUESTS, f'{STATUS}=~"4..", {STATUS}!="429"'), STATUS),
                    STATUS,
                    total(rate(REQUESTS)),
                ),
                f"{{{{{STATUS}}}}}",
            ),
            stacked=True,
        ),
        graph(
            "Refused log-ins by reason",
            """Requests refused for their credentials, by problem type. A jump of invalid
            credentials is an attack: tighten the log-in limits. A jump of expired tokens is a
            client that does not refresh.""",
            PER_SECOND,
            Query(
                or_none(
                    total(rate("heavylift_auth_failures_total"), "reason"),
                    "reason",
                    f"count({API})",
                ),
                "{{reason}}",
            ),
            stacked=True,
        ),
        graph(
            "Closed connections by reason",
            """Connections that the server closed; `idle` is normal. Many slow or unread ones
            point to a bad network or an attack; for `few-descriptors`, raise the limit of open
            files.""",
            PER_SECOND,
            Query(
                or_none(
                    total(rate("heavylift_connections_closed_total"), "reason"),
                    "reason",
                    f"count({API})",
                ),
                "{{reason}}",
            ),
            stacked=True,
        ),
        graph(
            "Paused accepting",
            """Times that a process stopped accepting connections because it was short of file
            descriptors. Clients wait meanwhile: raise the limit of open files or add replicas.""",
            PER_SECOND,
            Query(total(rate("heavylift_accept_pauses_total")), "pauses"),
        ),
    ],
)

PAGE = Page(
    name="api",
    title="Heavylift / API",
    description="""Requests of the API: rate, latency, errors and refusals, and the resources of its
    processes.""",
    sections=[FIRST, TRAFFIC, LATENCY, REFUSALS, PROCESS],
    uses=frozenset(),
    variables=[Variable("route", "Route", select(REQUESTS), label="http_route", every=".+")],
)
