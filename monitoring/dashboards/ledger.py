"""The controllers' loops, their messages, and the database under them."""

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
    """How many processes it does not serve."""
    served = select(UP, f'dependency="{dependency}"')
    return or_zero(f"count({served} == 0)")


FIRST = Section(
    "Is it all right?",
    [
        value(
            "Controllers",
            """Controllers that are scraped. None means that nothing is dispatched and that half of
            these dashboards is empty: look at its pods; one is enough, two survive a node.""",
            COUNT,
            Query(processes("controller")),
            steps=((None, "red"), (1, "green")),
        ),
        value(
            "Age of the figures",
            """Since the ledger was read by the controller that read it last. Beyond 15 s every
            gauge of jobs and pools is gone: look at PostgreSQL, then at the `measure` loop.""",
            SECONDS,
            Query(f"min({READ_AGE})"),
            steps=rising(5, 15),
            empty="No controller",
        ),
        value(
            "Failed turns in an hour",
            """Turns of the controllers' loops that ended in an error within the last hour, and were
            tried again. See below which loop, and its line `turn failed` in the log.""",
            COUNT,
            Query(or_zero(total(f"increase({select(FAILURES)}[1h])"))),
            steps=rising(1, 60),
            decimals=0,
        ),
        value(
            "Dispatch",
            """Whether a controller is set to dispatch nothing. If nobody works on it, take
            `HEAVYLIFT_CONTROLLER_PAUSED` back: all jobs wait meanwhile.""",
            COUNT,
            Query(f"max({PAUSED})"),
            steps=NONE_IS_GOOD,
            words={"0": ("Runs", "green"), "1": ("Paused", "red")},
            empty="No controller",
        ),
        value(
            "Messages lost in an hour",
            """Messages that vanished between controller and worker within the last hour, and were
            sent again. Some after a restart of Redis are normal; a steady number means that it
            evicts keys or that queues are emptied.""",
            COUNT,
            Query(total(ledger_increase(REDISPATCHES))),
            steps=rising(1, 100),
            decimals=0,
        ),
        value(
            "Attempts rescued in an hour",
            """Attempts taken from lost workers within the last hour. Their jobs run again; find out
            why workers die: see the pools' heartbeats and restarts.""",
            COUNT,
            Query(total(ledger_increase(RESCUES))),
            steps=rising(1, 10),
            decimals=0,
            links=[TO_POOLS],
        ),
        value(
            "Database sessions in use",
            """Sessions of all of PostgreSQL's clients, as a part of those that it allows. Above 90%
            the next process cannot connect: close what is idle, raise `max_connections`, or put a
            pooler before it.""",
            PERCENT,
            Query(ratio(ledger(SESSIONS), ledger(SESSIONS_MAX))),
            steps=rising(0.75, 0.9),
        ),
        value(
            "Oldest transaction",
            """How long the oldest open transaction has been open. Beyond minutes vacuum removes
            nothing, and the ledger grows slow: find its session in `pg_stat_activity` and end
            it.""",
            SECONDS,
            Query(ledger(TRANSACTION)),
            steps=rising(60, 600),
        ),
        value(
            "Dead rows of job_runs",
            """Row versions in the table of unfinished jobs that vacuum has not removed. Far
            above the number of jobs, claims become slow: look for an old transaction, then at
            autovacuum.""",
            COUNT,
            Query(ledger(DEAD_ROWS, 'table="job_runs"')),
            steps=rising(50_000, 500_000),
        ),
        value(
            "Size of the ledger",
            """Tables and indexes of the ledger on disk. If it grows while the number of jobs does
            not, see below which table; shorten what is kept, or give the volume more room.""",
            BYTES,
            Query(f"{total(ledger(TABLES))} + {total(ledger(INDEXES))}"),
            steps=((None, "blue"),),
        ),
        value(
            "Processes without PostgreSQL",
            """Processes of all components that PostgreSQL does not serve now. All of them: the
            database is down. Some: their network or their password.""",
            COUNT,
            Query(without("postgresql")),
            steps=NONE_IS_GOOD,
        ),
        value(
            "Processes without Redis",
            """Processes of all components that Redis does not serve now, or whose Redis takes no
            writes. Jobs stay in the ledger and are sent when it is back.""",
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
            "Duration of turns (p95)",
            """95% of a loop's turns took no longer. If all loops are slow, PostgreSQL is; if one
            is, its own work has grown: `count` and `dispatch` follow the load, `retain` what is
            deleted.""",
            SECONDS,
            Query(quantile(0.95, rate(f"{TURNS}_bucket"), "loop"), "{{loop}}"),
        ),
        graph(
            "Failed turns",
            """Turns that ended in an error and are tried again, by loop. All loops at once are a
            dependency that is down; one loop alone is a bug: its traceback is in the line `turn
            failed`.""",
            PER_SECOND,
            Query(total(rate(FAILURES), "loop"), "{{loop}}"),
            stacked=True,
        ),
        graph(
            "Turns",
            """Turns that each loop makes, over all controllers. A loop whose line ends stands
            still: the controller's probe restarts it after a while; see what it waits for.""",
            PER_SECOND,
            Query(total(rate(f"{TURNS}_count"), "loop"), "{{loop}}"),
        ),
        graph(
            "Time spent by loop",
            """The part of the time in which each loop works, over all controllers. `dispatch` near
            100% of one controller is its limit: jobs then wait although there are slots.""",
            PERCENT,
            Query(total(rate(f"{TURNS}_sum"), "loop"), "{{loop}}"),
        ),
        graph(
            "Age of each controller's figures",
            """Since each controller last read the ledger. One that climbs alone has lost its
            connection, and its counters stand still: restart it; all together are PostgreSQL.""",
            SECONDS,
            Query(READ_AGE, "{{instance}}"),
            lines=((None, "transparent"), (15, "red")),
        ),
        graph(
            "Paused controllers",
            """Controllers that are set to dispatch nothing, beside those that there are. Some alone
            do no harm; all of them stop every job until the setting is taken back.""",
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
            """Messages sent, messages that were lost and sent again, and attempts taken from lost
            workers. The first follows the load; the others should be near zero.""",
            JOBS_PER_SECOND,
            Query(total(ledger_rate(DISPATCHES)), "dispatched"),
            Query(total(ledger_rate(REDISPATCHES)), "lost"),
            Query(total(ledger_rate(RESCUES)), "rescued"),
        ),
        graph(
            "Messages lost, by pool",
            """The share of each pool's messages that were found lost. A single pool that loses has
            workers that take messages and die; all pools at once are Redis.""",
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
            "Keys dropped by controllers",
            """Keys of queues that had no list, and were dropped. There should be none: something
            else writes to this Redis.""",
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
            """Sessions of all of PostgreSQL's clients, and as many as it allows. It grows with
            replicas: keep room for a roll-out, in which old and new run side by side.""",
            COUNT,
            Query(ledger(SESSIONS), "sessions"),
            Query(ledger(SESSIONS_MAX), "limit"),
        ),
        graph(
            "Oldest open transaction",
            """How long the oldest transaction has been open. A line that climbs for minutes is
            a forgotten session, a backup or a prepared transaction; end it before dead rows
            pile up.""",
            SECONDS,
            Query(ledger(TRANSACTION), "oldest"),
        ),
        graph(
            "Dead rows by table",
            """Row versions that vacuum has not removed yet. A saw is healthy; a climb without an
            end means that autovacuum is too slow or held up by a transaction.""",
            COUNT,
            Query(ledger(DEAD_ROWS), "{{table}}"),
        ),
        graph(
            "Size by table",
            """Size of the ledger's tables on disk without their indexes. `jobs` follows what is
            kept and `job_runs` the backlog; `job_tallies` grows only while no controller
            counts.""",
            BYTES,
            Query(ledger(TABLES), "{{table}}"),
            stacked=True,
        ),
        graph(
            "Size of the ten largest indexes",
            """Size of indexes on disk. An index that is much larger than its table is bloated:
            `REINDEX INDEX CONCURRENTLY` gives the room back.""",
            BYTES,
            Query(f"topk(10, {ledger(INDEXES)})", "{{index}}"),
            stacked=True,
        ),
        graph(
            "Processes that reach each dependency",
            """The share of all processes that each dependency serves. Compare its falls with the
            failed turns above: what falls first is the cause.""",
            PERCENT,
            Query(f"avg by (dependency) ({select(UP)})", "{{dependency}}"),
            highest=1,
        ),
    ],
)

PAGE = Page(
    name="ledger",
    title="Heavylift / Controller and ledger",
    description="""The controllers' loops and messages, and PostgreSQL under them: whether dispatch
    runs, the figures are fresh and the ledger stays small.""",
    sections=[FIRST, LOOPS, MESSAGES, DATABASE],
)
