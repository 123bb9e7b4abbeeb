"""The controllers' loops, their messages, and PostgreSQL."""

from monitoring.dashboards.frame import Page, Section
from monitoring.dashboards.panels import (
    BYTES,
    COUNT,
    JOBS_PER_SECOND,
    NONE_IS_GOOD,
    PER_SECOND,
    PERCENT,
    SECONDS,
    Query,
    graph,
    more,
    rising,
    value,
)
from monitoring.dashboards.queries import (
    ledger,
    ledger_increase,
    ledger_rate,
    or_zero,
    processes,
    quantile,
    rate,
    ratio,
    select,
    total,
)

TO_POOLS = more("heavylift-pools", "Pools in detail")
TO_JOBS = more("heavylift-jobs", "Jobs in detail")

READ_AGE = f"max by (instance) ({select('heavylift_ledger_read_age_seconds')})"
PAUSED = select("heavylift_dispatch_paused")
TURNS = "heavylift_controller_turn_duration_seconds"

# The turns of `hints` consist of waiting.
WORKING = 'loop!="hints"'
FAILURES = "heavylift_controller_turn_failures_total"
DISPATCHES = "heavylift_job_dispatches_total"
REDISPATCHES = "heavylift_job_redispatches_total"
RESCUES = "heavylift_job_rescues_total"
SESSIONS = "heavylift_database_connections"
SESSIONS_MAX = "heavylift_database_connections_max"
TRANSACTION = "heavylift_database_oldest_transaction_seconds"
TABLES = "heavylift_ledger_table_bytes"
INDEXES = "heavylift_ledger_index_bytes"
DEAD_ROWS = "heavylift_ledger_dead_rows"
UP = "heavylift_dependency_up"


def without(dependency: str) -> str:
    """The number of processes that it does not serve."""
    served = select(UP, f'dependency="{dependency}"')
    return or_zero(f"count({served} == 0)")


FIRST = Section(
    "Status",
    [
        value(
            "Controllers",
            """Scraped controllers. Zero means that nothing is dispatched and that half of these
            dashboards is empty: check the controller's pods. One is enough; two survive the
            loss of a node.""",
            COUNT,
            Query(processes("controller")),
            steps=((None, "red"), (1, "green")),
        ),
        value(
            "Age of the reading",
            """Time since any controller last read the ledger. After 15 s the gauges of jobs and
            pools disappear: check PostgreSQL, then the `measure` loop.""",
            SECONDS,
            Query(f"min({READ_AGE})"),
            steps=rising(5, 15),
            empty="No controller",
        ),
        value(
            "Failed turns in an hour",
            """Turns of the controllers' loops in the last hour that ended in an error and were
            tried again. Find the loop below and its log line `turn failed`.""",
            COUNT,
            Query(or_zero(total(f"increase({select(FAILURES)}[1h])"))),
            steps=rising(1, 60),
            decimals=0,
        ),
        value(
            "Dispatch",
            """State of dispatch: paused if a controller is configured to dispatch nothing,
            which leaves all jobs waiting. If no maintenance is in progress, unset
            `HEAVYLIFT_CONTROLLER_PAUSED`.""",
            COUNT,
            Query(f"max({PAUSED})"),
            steps=NONE_IS_GOOD,
            words={"0": ("Runs", "green"), "1": ("Paused", "red")},
            empty="No controller",
        ),
        value(
            "Lost messages in an hour",
            """Messages in the last hour that were lost between controller and worker, and sent
            again. Some after a Redis restart are normal; a steady number means that Redis
            evicts keys: check its memory policy.""",
            COUNT,
            Query(total(ledger_increase(REDISPATCHES))),
            steps=rising(1, 100),
            decimals=0,
        ),
        value(
            "Rescues in an hour",
            """Attempts taken from lost workers in the last hour. Their jobs run again; to find
            out why workers die, check heartbeats and restarts on the pools dashboard.""",
            COUNT,
            Query(total(ledger_increase(RESCUES))),
            steps=rising(1, 10),
            decimals=0,
            links=[TO_POOLS],
        ),
        value(
            "Database sessions in use",
            """Client sessions of PostgreSQL as a share of its limit. Above 90% new processes
            soon cannot connect: close idle sessions, raise `max_connections` or add a pooler.""",
            PERCENT,
            Query(ratio(ledger(SESSIONS), ledger(SESSIONS_MAX))),
            steps=rising(0.75, 0.9),
        ),
        value(
            "Oldest transaction",
            """Age of the oldest open transaction. After some minutes it keeps vacuum from
            removing rows, and the ledger slows down: find its session in `pg_stat_activity` and
            end it.""",
            SECONDS,
            Query(ledger(TRANSACTION)),
            steps=rising(60, 600),
        ),
        value(
            "Dead rows of job_runs",
            """Row versions in the table of unfinished jobs that vacuum has not removed. If they
            far exceed the number of jobs, claims slow down: look for an old transaction, then
            check autovacuum.""",
            COUNT,
            Query(ledger(DEAD_ROWS, 'table="job_runs"')),
            steps=rising(50_000, 500_000),
        ),
        value(
            "Size of the ledger",
            """Size of the ledger's tables and indexes on disk. If it grows while the number of
            jobs does not, find the table below; shorten the retention or enlarge the volume.""",
            BYTES,
            Query(f"{total(ledger(TABLES))} + {total(ledger(INDEXES))}"),
            steps=((None, "blue"),),
        ),
        value(
            "Without PostgreSQL",
            """Processes of all components that cannot use PostgreSQL now. If all of them are
            affected, the database is down; if some are, check their network and credentials.""",
            COUNT,
            Query(without("postgresql")),
            steps=NONE_IS_GOOD,
        ),
        value(
            "Without Redis",
            """Processes of all components that cannot use Redis now, or whose Redis refuses
            writes. Jobs stay in the ledger and are dispatched once Redis is back: repair it.""",
            COUNT,
            Query(without("redis")),
            steps=NONE_IS_GOOD,
        ),
    ],
)

LOOPS = Section(
    "Loops of the controllers",
    [
        graph(
            "Turn duration p95 by loop",
            """95% of the turns of each loop finished within this time. If all loops are slow,
            check PostgreSQL; if one is, its work has grown: `count` and `dispatch` follow the
            load, `retain` the deletions. `hints` only waits, and is left out.""",
            SECONDS,
            Query(quantile(0.95, rate(f"{TURNS}_bucket", WORKING), "loop"), "{{loop}}"),
        ),
        graph(
            "Failed turns by loop",
            """Turns that ended in an error and are tried again. All loops at once mean that a
            dependency is down; one loop alone is a bug: read the traceback in its log line
            `turn failed`.""",
            PER_SECOND,
            Query(total(rate(FAILURES), "loop"), "{{loop}}"),
            stacked=True,
        ),
        graph(
            "Turns by loop",
            """Turns of each loop over all controllers. A line that drops to zero is a stuck
            loop: the liveness probe restarts its controller; check the log for the reason.""",
            PER_SECOND,
            Query(total(rate(f"{TURNS}_count"), "loop"), "{{loop}}"),
        ),
        graph(
            "Busy time by loop",
            """Share of time that each loop works, over all controllers. If `dispatch`
            approaches 100% of one controller, dispatch is the bottleneck: jobs wait despite
            free slots.""",
            PERCENT,
            Query(total(rate(f"{TURNS}_sum", WORKING), "loop"), "{{loop}}"),
        ),
        graph(
            "Age of the reading by controller",
            """Time since each controller last read the ledger. If one rises alone, that
            controller has lost its connection: restart it. If all rise, check PostgreSQL.""",
            SECONDS,
            Query(READ_AGE, "{{instance}}"),
            lines=((None, "transparent"), (15, "red")),
        ),
        graph(
            "Paused controllers",
            """Controllers that are configured to dispatch nothing, and all controllers. If all
            are paused, no job starts: unset `HEAVYLIFT_CONTROLLER_PAUSED`.""",
            COUNT,
            Query(f"sum({PAUSED})", "paused"),
            Query(f"count({PAUSED})", "controllers"),
        ),
    ],
)

MESSAGES = Section(
    "Messages",
    [
        graph(
            "Dispatched, lost and rescued",
            """Messages sent, messages lost and sent again, and attempts taken from lost
            workers. The first follows the load; if the others stay above zero, check Redis and
            the workers.""",
            JOBS_PER_SECOND,
            Query(total(ledger_rate(DISPATCHES)), "dispatched"),
            Query(total(ledger_rate(REDISPATCHES)), "lost"),
            Query(total(ledger_rate(RESCUES)), "rescued"),
        ),
        graph(
            "Lost messages by pool",
            """Share of messages that were lost. If one pool loses messages, its workers fetch
            them and die; if all pools do, check Redis.""",
            PERCENT,
            Query(
                ratio(
                    total(ledger_rate(REDISPATCHES), "pool"),
                    total(ledger_rate(DISPATCHES), "pool"),
                ),
                "{{pool}}",
            ),
            links=[TO_POOLS],
        ),
        graph(
            "Dropped queue keys",
            """Queue keys without a list that the controllers dropped. There should be none:
            find the other writer to this Redis.""",
            PER_SECOND,
            Query(total(rate("heavylift_controller_foreign_dropped_total")), "dropped"),
        ),
    ],
)

DATABASE = Section(
    "PostgreSQL",
    [
        graph(
            "Sessions",
            """Client sessions of PostgreSQL, with their limit. The number grows with replicas:
            keep room for a roll-out, during which old and new processes run side by side.""",
            COUNT,
            Query(ledger(SESSIONS), "sessions"),
            Query(ledger(SESSIONS_MAX), "limit", limit=True),
        ),
        graph(
            "Oldest open transaction",
            """Age of the oldest open transaction. If it rises for minutes, it is a forgotten
            session, a backup or a prepared transaction: end it before dead rows accumulate.""",
            SECONDS,
            Query(ledger(TRANSACTION), "oldest"),
        ),
        graph(
            "Dead rows by table",
            """Row versions that vacuum has not removed yet. A sawtooth is healthy; a steady
            rise means that autovacuum is too slow or blocked by an old transaction: end that
            transaction first.""",
            COUNT,
            Query(ledger(DEAD_ROWS), "{{table}}"),
        ),
        graph(
            "Size by table",
            """Size of the ledger's tables on disk without indexes. `jobs` follows the retention
            and `job_runs` the backlog; if `job_tallies` grows, no controller counts: check the
            `count` loop.""",
            BYTES,
            Query(ledger(TABLES), "{{table}}"),
            stacked=True,
        ),
        graph(
            "Size of the ten largest indexes",
            """Size of the indexes on disk. If an index is much larger than its table, it is
            bloated: rebuild it with `REINDEX INDEX CONCURRENTLY`.""",
            BYTES,
            Query(f"topk(10, {ledger(INDEXES)})", "{{index}}"),
            stacked=True,
        ),
        graph(
            "Processes that reach each dependency",
            """Share of processes that each dependency serves. Compare drops with the failed
            turns above: the dependency that drops first is the cause.""",
            PERCENT,
            Query(f"avg by (dependency) ({select(UP)})", "{{dependency}}"),
            highest=1,
        ),
    ],
)

PAGE = Page(
    name="ledger",
    title="Heavylift / Controller and ledger",
    description="""The controllers' loops and messages, and PostgreSQL: dispatch, the age of the
    reading, sessions, transactions and the size of the ledger.""",
    sections=[FIRST, LOOPS, MESSAGES, DATABASE],
)
