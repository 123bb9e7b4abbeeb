"""Resources of the API's processes, a section of its dashboard."""

from monitoring.dashboards.frame import Section
from monitoring.dashboards.panels import (
    BYTES,
    COUNT,
    SECONDS,
    Query,
    graph,
)
from monitoring.dashboards.queries import (
    quantile,
    rate,
    select,
    total,
)

POOL = 'db_client_connection_pool_name="api"'
IN_USE = total(select("db_client_connection_count", POOL, 'db_client_connection_state="used"'))
AT_MOST = total(select("db_client_connection_max", POOL))
PENDING = total(select("db_client_connection_pending_requests", POOL))
TIMEOUTS = total(rate("db_client_connection_timeouts_total", POOL))
DELAY = "heavylift_event_loop_delay_seconds_bucket"
API = select("heavylift_build_info", 'component="api"')

PROCESS = Section(
    "Processes",
    [
        graph(
            "Database connections",
            """Connections of all API processes by state, with their limit. If `used` stays at
            the limit, requests queue: look for slow statements before you raise the limit.""",
            COUNT,
            Query(
                total(select("db_client_connection_count", POOL), "db_client_connection_state"),
                "{{db_client_connection_state}}",
            ),
            Query(AT_MOST, "limit", limit=True),
            stacked=True,
        ),
        graph(
            "Requests waiting for a connection",
            """Requests that wait for a connection, and requests per second that gave up and got
            a 503. Both should be zero: check which statements hold connections for long.""",
            COUNT,
            Query(PENDING, "waiting"),
            Query(TIMEOUTS, "timeouts per second"),
        ),
        graph(
            "Event loop delay",
            """Delay of the event loop's timers. If it grows with traffic, add processes or CPU;
            peaks of seconds come from blocking code.""",
            SECONDS,
            *(Query(quantile(q, rate(DELAY)), f"p{q * 100:.0f}") for q in (0.5, 0.99)),
        ),
        graph(
            "Streams by transport",
            """Clients that follow a job. A sudden drop is a roll-out or a proxy that cuts long
            responses; clients reconnect within seconds, so act only if the number stays low.""",
            COUNT,
            Query(total(select("heavylift_event_streams"), "transport"), "{{transport}}"),
            stacked=True,
        ),
        graph(
            "CPU by process",
            """Cores used by each API process. A process near 1 is saturated, since Python code
            uses one core: add replicas. Empty with several processes per pod.""",
            COUNT,
            Query(f"{rate('process_cpu_seconds_total')} and on (instance) {API}", "{{instance}}"),
        ),
        graph(
            "Memory by process",
            """Resident memory of each API process. If it grows until the pod is killed, it
            leaks: find the version where that began and roll back. Empty with several processes
            per pod.""",
            BYTES,
            Query(
                f"{select('process_resident_memory_bytes')} and on (instance) {API}",
                "{{instance}}",
            ),
        ),
    ],
)
