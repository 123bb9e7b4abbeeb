"""The API's requests, and what its processes have to answer them with."""

from monitoring.dashboards.frame import Page, Section, Variable
from monitoring.dashboards.panels import (
    BYTES,
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
    or_zero,
    processes,
    quantile,
    rate,
    ratio,
    select,
    total,
)

TO_LEDGER = more("heavylift-ledger", "Controller and ledger")

ROUTE = ("http_request_method", "http_route")
CHOSEN = 'http_route=~"$route"'
NAME = "{{http_request_method}} {{http_route}}"
STATUS = "http_response_status_code"
LIMITED = f'{STATUS}="429"'
FAILED = f'{STATUS}=~"5.."'

# Of the whole time shown, so that a graph's series are the same from its left to its right.
_ASKED = f"increase({select(REQUESTS, CHOSEN)}[$__range] @ end())"
BUSIEST = f"topk(10, {total(_ASKED, *ROUTE)})"


def busiest(expression: str) -> str:
    return f"{expression} and on ({', '.join(ROUTE)}) {BUSIEST}"


def share(status: str, over: str) -> str:
    """Of all requests, those that were answered so."""
    answered = total(rate(REQUESTS, over=over))
    return ratio(f"({or_zero(total(rate(REQUESTS, status, over=over)), answered)})", answered)


def by_route(status: str, over: str = "$__rate_interval") -> str:
    return total(rate(REQUESTS, CHOSEN, status, over=over), *ROUTE)


def latency(q: float, *by: str, over: str = "$__rate_interval", only: str = QUICK) -> str:
    return quantile(q, rate(REQUEST_BUCKETS, only, over=over), *by)


def route_latency(q: float) -> Query:
    return Query(busiest(latency(q, *ROUTE, only=f"{CHOSEN}, {QUICK}")), NAME, exemplars=True)


POOL = 'db_client_connection_pool_name="api"'
IN_USE = total(select("db_client_connection_count", POOL, 'db_client_connection_state="used"'))
AT_MOST = total(select("db_client_connection_max", POOL))
PENDING = total(select("db_client_connection_pending_requests", POOL))
TIMEOUTS = total(rate("db_client_connection_timeouts_total", POOL))
DELAY = "heavylift_event_loop_delay_seconds_bucket"
API = select("heavylift_build_info", 'component="api"')

FIRST = Section(
    "Is it all right?",
    [
        value(
            "Requests",
            """Requests a second over the last 5 minutes, probes left out. Far fewer than usual
            means that clients cannot reach the API: look at ingress, DNS and certificates.""",
            REQUESTS_PER_SECOND,
            Query(total(rate(REQUESTS, over="5m"))),
            steps=NEUTRAL,
        ),
        value(
            "Failed (5xx)",
            """The share of requests in the last 5 minutes that ended with a server error. Above
            0.1%, see the routes below; a 503 names in its problem what was unavailable.""",
            PERCENT,
            Query(share(FAILED, "5m")),
            steps=rising(0.001, 0.01),
            decimals=2,
            empty="No requests",
        ),
        value(
            "Refused by rate limits (429)",
            """The share of requests in the last 5 minutes beyond a rate limit or a quota. If it is
            high, one client repeats itself, or a limit is too low for what users do.""",
            PERCENT,
            Query(share(LIMITED, "5m")),
            steps=rising(0.02, 0.2),
            decimals=2,
            empty="No requests",
        ),
        value(
            "Latency p95",
            """95% of the requests of the last 5 minutes took no longer, streams and downloads left
            out. Above 1.5 s users notice: compare the routes below.""",
            SECONDS,
            Query(latency(0.95, over="5m")),
            steps=rising(0.5, 1.5),
            empty="No requests",
        ),
        value(
            "Latency p99",
            """99% of the requests of the last 5 minutes took no longer, streams and downloads
            left out. If it is far above p95, open an exemplar below: it has the trace of one of
            them.""",
            SECONDS,
            Query(latency(0.99, over="5m")),
            steps=rising(1, 2.5),
            empty="No requests",
        ),
        value(
            "Processes",
            """API processes that are scraped. None means that the API does not run or cannot be
            scraped: look at its pods and at Prometheus' targets.""",
            COUNT,
            Query(processes("api")),
            steps=((None, "red"), (1, "green")),
        ),
        value(
            "Connections in use",
            """The part of the pool of connections to PostgreSQL that is in use, over all processes.
            Near 100% requests wait for each other: find slow statements, or allow more.""",
            PERCENT,
            Query(ratio(IN_USE, AT_MOST)),
            steps=rising(0.7, 0.9),
        ),
        value(
            "Waiting for a connection",
            """Requests that wait for a connection of the pool at this moment. Any that stay mean
            that the pool is too small or PostgreSQL too slow.""",
            COUNT,
            Query(PENDING),
            steps=rising(1, 10),
        ),
        value(
            "Event loop delay p99",
            """How late the event loop was for a timer, in 99% of samples of the last 5 minutes.
            Above 0.1 s something blocks all requests of a process: CPU limits, or code that should
            not run there.""",
            SECONDS,
            Query(quantile(0.99, rate(DELAY, over="5m"))),
            steps=rising(0.05, 0.25),
        ),
        value(
            "Open requests and streams",
            """Requests that are being answered now, and streams of events that are open. A number
            that only grows means that requests do not end: look at latency and dependencies.""",
            COUNT,
            Query(total(select("http_server_active_requests")), "Requests"),
            Query(total(select("heavylift_event_streams")), "Streams"),
            steps=NEUTRAL,
        ),
        value(
            "Refused log-ins",
            """Requests a second that were refused for who sent them, over the last 5 minutes. A
            sudden rise is a client with an old key, or somebody who guesses passwords: see the
            reasons below.""",
            PER_SECOND,
            Query(or_zero(total(rate("heavylift_auth_failures_total", over="5m")))),
            steps=rising(1, 10),
        ),
        value(
            "Dependencies of the API",
            """What the API depends on, as the process that sees it worst says. Requests that need
            what is down get a 503 at once; the rest works, so do not restart the API.""",
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
            """Requests by the status that they were answered with; 499 means that the client
            hung up before. A status that appears or grows is explained by the route that has
            it, below.""",
            REQUESTS_PER_SECOND,
            Query(total(rate(REQUESTS), STATUS), f"{{{{{STATUS}}}}}"),
            stacked=True,
        ),
        graph(
            "Requests by route",
            """Requests of the ten busiest routes of the time shown. A route that grows alone is one
            client's loop more often than more users: see who it is in the log.""",
            REQUESTS_PER_SECOND,
            Query(busiest(total(rate(REQUESTS, CHOSEN), *ROUTE)), NAME),
        ),
        graph(
            "Active requests",
            """Requests and streams that are open, by method. If it climbs while the rate stays,
            each request takes longer: look at latency and at the pool of connections.""",
            COUNT,
            Query(
                total(select("http_server_active_requests"), "http_request_method") + " > 0",
                "{{http_request_method}}",
            ),
            stacked=True,
        ),
    ],
)

LATENCY = Section(
    "Latency",
    [
        graph(
            "Latency of all routes",
            """Percentiles over all routes without streams and downloads; the diamonds are single
            requests with their traces. Open the trace of a slow one to see which statement or which
            call took its time.""",
            SECONDS,
            *(Query(latency(q), f"p{q * 100:.0f}", exemplars=True) for q in (0.5, 0.95, 0.99)),
            width=12,
        ),
        graph(
            "p50 by route",
            """The median of the ten busiest routes: what most requests feel. If one route's grows,
            its work has grown or its index is missing; if all grow, what they share is slow.""",
            SECONDS,
            route_latency(0.5),
            width=12,
        ),
        graph(
            "p95 by route",
            """95% of a route's requests took no longer; the ten busiest routes. Above the objective
            of 1.5 s, open an exemplar of that route and read its trace.""",
            SECONDS,
            route_latency(0.95),
            lines=((None, "transparent"), (1.5, "red")),
            width=12,
        ),
        graph(
            "p99 by route",
            """99% of a route's requests took no longer; the ten busiest routes. Peaks at the time
            of a roll-out are processes that start; others are locks or a cold cache: open an
            exemplar.""",
            SECONDS,
            route_latency(0.99),
            width=12,
        ),
        rows(
            "Routes",
            """Each route over the time shown, the busiest first. Look for a route that has both
            many requests and many errors or a high p95: it costs most of the error budget.""",
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
            """Requests that ended with a 5xx, by route and status. A 500 is a bug: its trace is in
            the log under the request's id; a 503 is a dependency: see which one is down.""",
            REQUESTS_PER_SECOND,
            Query(
                total(rate(REQUESTS, CHOSEN, FAILED), *ROUTE, STATUS), f"{NAME} {{{{{STATUS}}}}}"
            ),
            stacked=True,
        ),
        graph(
            "Too many requests by route",
            """Requests beyond a rate limit or a quota (429), by route. If a well-behaved client is
            among them, raise its limit; clients should obey `Retry-After`.""",
            REQUESTS_PER_SECOND,
            Query(by_route(LIMITED), NAME),
            stacked=True,
        ),
        graph(
            "Client errors by status",
            """Requests with a 4xx but 429. Many 401 follow a change of keys, many 404 a client with
            old addresses, many 422 a client that was built for another version.""",
            REQUESTS_PER_SECOND,
            Query(
                total(rate(REQUESTS, f'{STATUS}=~"4..", {STATUS}!="429"'), STATUS),
                f"{{{{{STATUS}}}}}",
            ),
            stacked=True,
        ),
        graph(
            "Refused log-ins by reason",
            """Requests refused for who sent them, by the problem's type. Wrong credentials that
            rise at once are an attack: tighten the limits of log-ins; expired tokens that rise are
            clients that do not refresh.""",
            PER_SECOND,
            Query(total(rate("heavylift_auth_failures_total"), "reason"), "{{reason}}"),
            stacked=True,
        ),
        graph(
            "Connections closed by reason",
            """Connections that the server closed: idle ones are normal. Slow or unread ones in
            number are a bad network or an attack, `few-descriptors` a limit that is too low.""",
            PER_SECOND,
            Query(total(rate("heavylift_connections_closed_total"), "reason"), "{{reason}}"),
            stacked=True,
        ),
        graph(
            "Pauses of accepting",
            """Times that a process accepted no connection because few file descriptors were left.
            Any means that clients wait: raise the limit of open files, or add processes.""",
            PER_SECOND,
            Query(total(rate("heavylift_accept_pauses_total")), "pauses"),
        ),
    ],
)

PROCESS = Section(
    "Processes",
    [
        graph(
            "Connections to the database",
            """Connections of all API processes by state, and as many as they may have. If `used`
            stays at the limit, requests queue: look for slow statements before the pool is made
            larger.""",
            COUNT,
            Query(
                total(select("db_client_connection_count", POOL), "db_client_connection_state"),
                "{{db_client_connection_state}}",
            ),
            Query(AT_MOST, "limit"),
            stacked=True,
        ),
        graph(
            "Requests that wait for a connection",
            """Requests that wait for a connection, and those a second that waited in vain and got a
            503. Both should be zero: see which statements hold connections for long.""",
            COUNT,
            Query(PENDING, "waiting"),
            Query(TIMEOUTS, "in vain, a second"),
        ),
        graph(
            "Event loop delay",
            """How late the event loop is for a timer. A delay that grows with the rate wants more
            processes or CPU; peaks of seconds are something that blocks.""",
            SECONDS,
            *(Query(quantile(q, rate(DELAY)), f"p{q * 100:.0f}") for q in (0.5, 0.99)),
        ),
        graph(
            "Streams by transport",
            """Clients that follow a job. A sudden fall is a roll-out or a proxy that cuts long
            responses; they come back by themselves within seconds.""",
            COUNT,
            Query(total(select("heavylift_event_streams"), "transport"), "{{transport}}"),
            stacked=True,
        ),
        graph(
            "CPU by process",
            """Cores that each API process uses. One that stays near 1 is full, since Python runs on
            one core: add replicas. Not known with several processes in a pod.""",
            COUNT,
            Query(f"{rate('process_cpu_seconds_total')} and on (instance) {API}", "{{instance}}"),
        ),
        graph(
            "Memory by process",
            """Resident memory of each API process. If it only grows until the pod is killed, it is
            a leak: note since which version, and go back. Not known with several processes in a
            pod.""",
            BYTES,
            Query(
                f"{select('process_resident_memory_bytes')} and on (instance) {API}",
                "{{instance}}",
            ),
        ),
    ],
)

PAGE = Page(
    name="api",
    title="Heavylift / API",
    description="""Requests of the API: how many, how fast, which fail or are refused, and what its
    processes have to answer them with.""",
    sections=[FIRST, TRAFFIC, LATENCY, REFUSALS, PROCESS],
    uses=frozenset(),
    variables=[Variable("route", "Route", select(REQUESTS), label="http_route", every=".+")],
)
