"""Pools of workers: capacity, waiting jobs, and the state of workers and their children."""

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
    of_series,
    rising,
    value,
)
from monitoring.dashboards.queries import (
    ledger,
    ledger_rate,
    or_zero,
    rate,
    ratio,
    select,
    total,
)

TO_JOBS = more("heavylift-jobs", "Jobs in detail")
TO_LEDGER = more("heavylift-ledger", "Controller and ledger")
THIS_POOL = of_series("heavylift-pools", "Only ${__field.labels.pool}", "pool")

CHOSEN = 'pool=~"$pool"'
SLOTS = "heavylift_pool_slots"
BUSY = "heavylift_pool_slots_busy"
WORKERS = "heavylift_pool_workers"
MAXIMUM = "heavylift_pool_workers_max"
OLDEST = "heavylift_pool_oldest_eligible_age_seconds"
CANCEL = "heavylift_pool_oldest_cancel_age_seconds"
RESTARTS = "heavylift_worker_child_restarts_total"
LATE = "heavylift_worker_heartbeats_late_total"
BEATS = "heavylift_worker_heartbeats_total"
BEAT_AGE = "heavylift_worker_heartbeat_age_seconds"
MEMORY = "heavylift_worker_child_memory_bytes"
MEMORY_LIMIT = "heavylift_worker_child_memory_limit_bytes"

# All but the normal ends of a child: enough jobs, a cancelled job, a job put back by a drain.
KILLED = 'reason!~"recycled|cancelled|put-back"'

FIRST = Section(
    "Status",
    [
        value(
            "Busy slots",
            """Share of each pool's slots that run a job. 100% with waiting jobs is a full pool:
            raise its maximum. A low share with waiting jobs is a stalled pool: check its
            workers.""",
            PERCENT,
            Query(ratio(ledger(BUSY), ledger(SLOTS)), "{{pool}}"),
            steps=((None, "green"), (0.8, "yellow"), (1, "orange")),
            width=8,
            empty="No slots",
        ),
        value(
            "Oldest waiting job",
            """Waiting time of the job in each pool that could have started first. If it exceeds
            some minutes while slots are free, check the window below, the workers' dependencies
            and whether dispatch is paused.""",
            SECONDS,
            Query(ledger(OLDEST), "{{pool}}"),
            steps=rising(60, 300),
            width=8,
            links=[TO_LEDGER],
        ),
        value(
            "Workers",
            """Live workers of each pool that accept jobs. Zero is normal for an idle pool that
            scales to zero; with demand, check the pool's pods and its scaler.""",
            COUNT,
            Query(ledger(WORKERS), "{{pool}}"),
            steps=((None, "blue"), (1, "green")),
            width=8,
        ),
        value(
            "Workers / maximum",
            """Workers of the pool closest to its maximum, as a share of that maximum. At 100%
            with waiting jobs, raise the maximum. Empty where no maximum is configured.""",
            PERCENT,
            Query(f"max({ratio(ledger(WORKERS), ledger(MAXIMUM))})"),
            # No more than a hint: it may be all that is needed.
            steps=((None, "green"), (1, "yellow")),
            empty="No maximum is set",
        ),
        value(
            "Jobs that no worker can run",
            """Waiting jobs of these pools that no live worker can run. Check the reasons on the
            jobs dashboard.""",
            COUNT,
            Query(total(ledger("heavylift_jobs_unrunnable", variables=("pool",)))),
            steps=NONE_IS_GOOD,
            links=[TO_JOBS],
        ),
        value(
            "Oldest heartbeat",
            """Age of the last heartbeat of the worst worker. Its lease lasts 30 s; after that
            its jobs go to other workers: check its node and its connection to PostgreSQL.""",
            SECONDS,
            Query(f"max({select(BEAT_AGE, CHOSEN)})"),
            steps=rising(10, 25),
            empty="No workers",
        ),
        value(
            "Late heartbeats",
            """Share of heartbeats in the last 5 minutes that came more than 5 s late. A steady
            share means that PostgreSQL is slow or that nodes lack CPU: check both.""",
            PERCENT,
            Query(
                ratio(total(rate(LATE, CHOSEN, over="5m")), total(rate(BEATS, CHOSEN, over="5m")))
            ),
            steps=rising(0.01, 0.1),
            decimals=1,
            empty="No heartbeats",
        ),
        value(
            "Killed children in an hour",
            """Children in the last hour that died, or were killed for memory, time or a lost
            lease. Check the reason below, then the kind in the worker's log.""",
            COUNT,
            Query(or_zero(total(f"increase({select(RESTARTS, CHOSEN, KILLED)}[1h])"))),
            steps=rising(1, 10),
            decimals=0,
        ),
        value(
            "Oldest ignored cancel",
            """Time for which a job has kept running after its cancellation; its worker kills it
            after a grace period. Above a minute the worker is cut off or hangs: check its
            heartbeat, then restart it.""",
            SECONDS,
            Query(f"max({ledger(CANCEL)})"),
            steps=rising(30, 60),
        ),
    ],
)

CAPACITY = Section(
    "Capacity",
    [
        graph(
            "Capacity of $pool",
            """Slots that the pool needs (demand), has and uses; on the right axis its workers
            and their maximum. Demand far above slots for minutes means a slow or broken scaler
            or a reached maximum; free slots despite demand mean a stalled pool.""",
            COUNT,
            Query(ledger("heavylift_pool_demand_slots"), "demand"),
            Query(ledger(SLOTS), "slots"),
            Query(ledger(BUSY), "busy"),
            Query(ledger(WORKERS), "workers", right=True),
            Query(ledger(MAXIMUM), "workers' maximum", limit=True, right=True),
            width=24,
            repeat="pool",
            most_in_row=2,
        )
    ],
)

WAITING = Section(
    "Waiting jobs and owners",
    [
        graph(
            "Oldest waiting job by pool",
            """Waiting time of the job that could have started first, with the shortest wait
            target of the pool's kinds. Above the target for long, the pool is too small; if it
            grows by one second per second, nothing starts.""",
            SECONDS,
            Query(ledger(OLDEST), "{{pool}}"),
            Query(
                ledger("heavylift_pool_wait_target_seconds"),
                "{{pool}} target ({{urgency}})",
                limit=True,
            ),
            data_links=[THIS_POOL],
        ),
        graph(
            "Message window",
            """Messages that are sent but not yet claimed, with their limit. At the limit with
            free slots, workers do not fetch messages: check Redis and the workers. At zero with
            waiting jobs, nothing is dispatched: check the controller.""",
            COUNT,
            Query(ledger("heavylift_pool_window_messages"), "{{pool}}"),
            Query(ledger("heavylift_pool_window_limit"), "{{pool}} limit", limit=True),
            links=[TO_LEDGER],
        ),
        graph(
            "Waiting owners",
            """Owners with a waiting job and no message sent, counted up to 1,000. Many owners
            are real demand: add workers. A single owner is a batch that can wait.""",
            COUNT,
            Query(ledger("heavylift_pool_owners_waiting"), "{{pool}}"),
        ),
        graph(
            "Largest share of one owner",
            """Share of the places in use (messages and running jobs) that one owner holds. Near
            100% is fine while nobody else waits; otherwise it must fall as jobs finish: if it
            does not, dispatch is unfair.""",
            PERCENT,
            Query(ledger("heavylift_pool_largest_share_ratio"), "{{pool}}"),
            highest=1,
        ),
        graph(
            "Longest wait of an owner without a place",
            """Time for which an owner with nothing running has waited for the first job to
            start. If it grows beyond the run time of a job, the pool has too few slots for its
            long jobs.""",
            SECONDS,
            Query(ledger("heavylift_pool_longest_owner_wait_seconds"), "{{pool}}"),
        ),
        graph(
            "Ignored cancels",
            """Time for which the oldest cancelled job has kept running. Some seconds are normal
            clean-up; a rising line is a worker that does not respond: restart it.""",
            SECONDS,
            Query(ledger(CANCEL), "{{pool}}"),
        ),
    ],
)

CHILDREN = Section(
    "Workers and their children",
    [
        graph(
            "Workers by build",
            """Live workers by build, draining ones included. Two builds at once are a roll-out;
            if the older one stays, check for a long job that drains and for pods of the newer
            one that do not start.""",
            COUNT,
            Query(ledger("heavylift_pool_build_workers"), "{{pool}} {{version}} {{build}}"),
            stacked=True,
        ),
        graph(
            "Slots by ledger and by workers",
            """Slots of the workers that are alive by the ledger, and of those that are scraped.
            If the ledger has more, some workers are not scraped; if it has fewer, workers drain
            or cannot reach PostgreSQL.""",
            COUNT,
            Query(ledger(SLOTS), "{{pool}}, ledger"),
            Query(total(select("heavylift_worker_slots", CHOSEN), "pool"), "{{pool}}, workers"),
            Query(
                total(select("heavylift_worker_slots_busy", CHOSEN), "pool"),
                "{{pool}}, workers, busy",
            ),
        ),
        graph(
            "Memory of the largest child",
            """Resident memory of the largest child with the processes of its job, and the limit
            at which it is killed. Near the limit, raise the memory per slot or limit the input
            of the kind.""",
            BYTES,
            Query(f"max by (pool) ({select(MEMORY, CHOSEN)})", "{{pool}}"),
            Query(f"min by (pool) ({select(MEMORY_LIMIT, CHOSEN)})", "{{pool}} limit", limit=True),
        ),
        graph(
            "Restarted children by reason",
            """Children that were replaced; `recycled`, `cancelled` and `put-back` are normal.
            Kills for memory or time come from inputs that are too large: find the kind in the
            worker's log.""",
            PER_SECOND,
            Query(total(rate(RESTARTS, CHOSEN), "reason"), "{{reason}}"),
            stacked=True,
        ),
        graph(
            "Heartbeats",
            """Heartbeats that the ledger accepted, and the late ones among them. Late
            heartbeats precede lost jobs: check PostgreSQL and the CPU of the nodes.""",
            PER_SECOND,
            Query(total(rate(BEATS, CHOSEN), "pool"), "{{pool}}"),
            Query(total(rate(LATE, CHOSEN), "pool"), "{{pool}}, late"),
        ),
        graph(
            "Age of the oldest heartbeat",
            """Age of the last heartbeat of the worst worker in each pool. At 30 s its lease
            expires and its jobs go to other workers: check its node and its connection to
            PostgreSQL.""",
            SECONDS,
            Query(f"max by (pool) ({select(BEAT_AGE, CHOSEN)})", "{{pool}}"),
            lines=((None, "transparent"), (30, "red")),
        ),
        graph(
            "Lost attempts by pool",
            """Attempts taken from workers whose lease expired. A single one is a lost node;
            many at once are a network fault or a PostgreSQL that was slow for half a minute:
            check both.""",
            JOBS_PER_SECOND,
            Query(
                total(ledger_rate("heavylift_job_rescues_total", variables=("pool",)), "pool"),
                "{{pool}}",
            ),
            stacked=True,
        ),
        graph(
            "Dropped queue elements",
            """Elements and keys in the workers' queues that no controller sent. There should be
            none: find the other writer to this Redis, or give Heavylift a Redis of its own.""",
            PER_SECOND,
            Query(
                total(rate("heavylift_worker_foreign_dropped_total", CHOSEN), "pool", "what"),
                "{{pool}}: {{what}}",
            ),
        ),
        graph(
            "Workers that reach their dependencies",
            """Share of workers that PostgreSQL and Redis serve. If only workers lose a
            dependency, check their network policies and nodes.""",
            PERCENT,
            Query(
                f"avg by (dependency) ({select('heavylift_dependency_up')} and on (instance)"
                f" {select('heavylift_worker_slots', CHOSEN)})",
                "{{dependency}}",
            ),
            highest=1,
        ),
    ],
)

PAGE = Page(
    name="pools",
    title="Heavylift / Pools",
    description="""Pools of workers: demand against slots and workers, waiting jobs and their
    owners, and the builds, children and heartbeats of the workers.""",
    sections=[FIRST, CAPACITY, WAITING, CHILDREN],
    uses=frozenset({"pool"}),
)
