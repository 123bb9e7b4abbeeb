"""Pools of workers: what they have beside what they need, and how their children do."""

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

# Children that left after enough jobs, that a user's cancel ended, and whose drain was over.
KILLED = 'reason!~"recycled|cancelled|put-back"'

FIRST = Section(
    "Is it all right?",
    [
        value(
            "Busy slots",
            """The part of each pool's slots that runs a job. 100% beside jobs that wait is a full
            pool: let it scale further; little beside jobs that wait is a stalled one.""",
            PERCENT,
            Query(ratio(ledger(BUSY), ledger(SLOTS)), "{{pool}}"),
            steps=((None, "green"), (0.8, "yellow"), (1, "orange")),
            width=8,
            empty="No slots",
        ),
        value(
            "Oldest waiting job",
            """How long the job has waited that could have started first, in each pool. Beyond some
            minutes with free slots nothing is taken: look at the window, the workers' dependencies
            and whether dispatch is paused.""",
            SECONDS,
            Query(ledger(OLDEST), "{{pool}}"),
            steps=rising(60, 300),
            width=8,
            links=[TO_LEDGER],
        ),
        value(
            "Workers",
            """Live workers of each pool that take jobs. None is normal while a pool that scales to
            nothing has no demand; with demand, look at the pool's pods and its scaler.""",
            COUNT,
            Query(ledger(WORKERS), "{{pool}}"),
            steps=((None, "blue"), (1, "green")),
            width=8,
        ),
        value(
            "Of the maximum of workers",
            """Workers of the pool that is nearest to its maximum, as a part of it. At 100% it
            cannot grow: raise the maximum while jobs wait. Not known where no maximum is set.""",
            PERCENT,
            Query(f"max({ratio(ledger(WORKERS), ledger(MAXIMUM))})"),
            steps=rising(0.8, 1),
            empty="No maximum is set",
        ),
        value(
            "Jobs no worker can run",
            """Jobs that wait in these pools, and that no live worker can run. See the reasons on
            the jobs dashboard.""",
            COUNT,
            Query(total(ledger("heavylift_jobs_unrunnable", variables=("pool",)))),
            steps=NONE_IS_GOOD,
            links=[TO_JOBS],
        ),
        value(
            "Oldest heartbeat",
            """Since the last heartbeat of the worker that is worst off. Its lease lasts 30 s:
            beyond that, its jobs are given to others. Look at its node and its way to
            PostgreSQL.""",
            SECONDS,
            Query(f"max({select(BEAT_AGE, CHOSEN)})"),
            steps=rising(10, 25),
            empty="No workers",
        ),
        value(
            "Late heartbeats",
            """The share of heartbeats of the last 5 minutes that came more than 5 s late. Any
            steady share means that PostgreSQL answers slowly or that nodes have no CPU left.""",
            PERCENT,
            Query(
                ratio(total(rate(LATE, CHOSEN, over="5m")), total(rate(BEATS, CHOSEN, over="5m")))
            ),
            steps=rising(0.01, 0.1),
            decimals=1,
            empty="No heartbeats",
        ),
        value(
            "Children killed or dead in an hour",
            """Children that were killed for memory, time or a lost lease, or that died, within the
            last hour. See which reason below, and which kind in the worker's log.""",
            COUNT,
            Query(or_zero(total(f"increase({select(RESTARTS, CHOSEN, KILLED)}[1h])"))),
            steps=rising(1, 10),
            decimals=0,
        ),
        value(
            "Oldest cancel not obeyed",
            """How long a job has gone on after its cancellation. It is killed after a while; beyond
            a minute, its worker is cut off or hangs: see its heartbeat, then restart it.""",
            SECONDS,
            Query(f"max({ledger(CANCEL)})"),
            steps=rising(30, 60),
        ),
    ],
)

CAPACITY = Section(
    "What pools have beside what they need",
    [
        graph(
            "Capacity of $pool",
            """Slots that the pool should have (demand), has, and has busy; on the right its workers
            and their maximum. Demand far above slots for minutes: the scaler is slow, at its
            maximum or broken. Slots that are free beside demand: the pool is stalled.""",
            COUNT,
            Query(ledger("heavylift_pool_demand_slots"), "demand"),
            Query(ledger(SLOTS), "slots"),
            Query(ledger(BUSY), "busy"),
            Query(ledger(WORKERS), "workers"),
            Query(ledger(MAXIMUM), "workers' maximum"),
            width=24,
            height=9,
            right="/^workers/",
            repeat="pool",
        )
    ],
)

WAITING = Section(
    "What waits, and whose it is",
    [
        graph(
            "Oldest waiting job by pool",
            """How long the job has waited that could have started first, beside the shortest target
            of the pool's kinds. Above its target for long, the pool is too small; if it grows by a
            second each second, nothing is taken at all.""",
            SECONDS,
            Query(ledger(OLDEST), "{{pool}}"),
            Query(ledger("heavylift_pool_wait_target_seconds"), "{{pool}} target ({{urgency}})"),
            data_links=[THIS_POOL],
        ),
        graph(
            "Window of messages",
            """Messages that are out and not yet taken, and as many as may be. At the limit with
            free slots, workers do not take messages: look at Redis and at the workers; always zero
            while jobs wait: nothing is dispatched.""",
            COUNT,
            Query(ledger("heavylift_pool_window_messages"), "{{pool}}"),
            Query(ledger("heavylift_pool_window_limit"), "{{pool}} limit"),
            links=[TO_LEDGER],
        ),
        graph(
            "Owners that wait",
            """Owners with a job that waits and has no message out, counted up to 1,000. Many owners
            are real demand, which wants workers; one alone is a batch, which may wait.""",
            COUNT,
            Query(ledger("heavylift_pool_owners_waiting"), "{{pool}}"),
        ),
        graph(
            "Largest share of one owner",
            """The part of all places in use, messages and running jobs, that one owner has. Near
            100% is fine while nobody else waits; beside owners that wait it should fall with the
            next jobs, else dispatch is not fair.""",
            PERCENT,
            Query(ledger("heavylift_pool_largest_share_ratio"), "{{pool}}"),
            highest=1,
        ),
        graph(
            "Longest wait of an owner without a place",
            """How long an owner who has nothing running has waited for the first job to start. It
            should stay near the run time of a job: if it grows, the pool's jobs are long and its
            slots too few.""",
            SECONDS,
            Query(ledger("heavylift_pool_longest_owner_wait_seconds"), "{{pool}}"),
        ),
        graph(
            "Cancels not obeyed",
            """How long the oldest job has gone on after it was cancelled. Some seconds are a job
            that tidies up; a line that climbs is a worker that hears nothing: restart it.""",
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
            """Live workers by what they run, those that drain too. Two builds side by side are a
            roll-out; if the older one stays, it drains a long job, or the newer one's pods do not
            start.""",
            COUNT,
            Query(ledger("heavylift_pool_build_workers"), "{{pool}} {{version}} {{build}}"),
            stacked=True,
        ),
        graph(
            "Slots, by ledger and by workers",
            """Slots of the workers that the ledger knows to be alive, and of those that are
            scraped. More in the ledger: workers are not scraped. Fewer: workers run that drain, or
            that cannot reach PostgreSQL.""",
            COUNT,
            Query(ledger(SLOTS), "{{pool}}, ledger"),
            Query(total(select("heavylift_worker_slots", CHOSEN), "pool"), "{{pool}}, workers"),
            Query(
                total(select("heavylift_worker_slots_busy", CHOSEN), "pool"),
                "{{pool}}, workers, busy",
            ),
        ),
        graph(
            "Largest child's memory",
            """Resident memory of the child that has most, with the processes that its job started,
            and the limit at which it is killed. Near the limit, give the pool more memory for each
            slot, or bound the kind's input.""",
            BYTES,
            Query(f"max by (pool) ({select(MEMORY, CHOSEN)})", "{{pool}}"),
            Query(f"min by (pool) ({select(MEMORY_LIMIT, CHOSEN)})", "{{pool}} limit"),
        ),
        graph(
            "Children restarted by reason",
            """Children replaced: `recycled` after so many jobs and `cancelled` are normal. Killed
            for memory, for time or by the system means a kind whose input is too large: find it in
            the worker's log.""",
            PER_SECOND,
            Query(total(rate(RESTARTS, CHOSEN), "pool", "reason") + " > 0", "{{pool}}: {{reason}}"),
            stacked=True,
        ),
        graph(
            "Heartbeats",
            """Heartbeats that the ledger took, and those of them that came late. One that falls
            away is a worker that has ended; late ones come before lost jobs, so look at PostgreSQL
            and at the nodes' CPU.""",
            PER_SECOND,
            Query(total(rate(BEATS, CHOSEN), "pool"), "{{pool}}"),
            Query(total(rate(LATE, CHOSEN), "pool"), "{{pool}}, late"),
        ),
        graph(
            "Age of the oldest heartbeat",
            """Since the last heartbeat of each pool's worst worker. At 30 s its lease has run out
            and its jobs go to others; if it then still runs, what it writes is refused.""",
            SECONDS,
            Query(f"max by (pool) ({select(BEAT_AGE, CHOSEN)})", "{{pool}}"),
            lines=((None, "transparent"), (30, "red")),
        ),
        graph(
            "Attempts lost with their worker",
            """Attempts taken from workers whose lease ran out. Single ones are nodes that went
            away; many at once a network or PostgreSQL that was slow for half a minute.""",
            JOBS_PER_SECOND,
            Query(
                total(ledger_rate("heavylift_job_rescues_total", variables=("pool",)), "pool"),
                "{{pool}}",
            ),
            stacked=True,
        ),
        graph(
            "Dropped from the queues",
            """Elements and keys in the workers' queues that no controller had sent. There should be
            none: somebody else writes to this Redis, or an attack does; give Heavylift a Redis of
            its own.""",
            PER_SECOND,
            Query(
                total(rate("heavylift_worker_foreign_dropped_total", CHOSEN), "pool", "what"),
                "{{pool}}: {{what}}",
            ),
        ),
        graph(
            "Workers that reach their dependencies",
            """The share of workers that PostgreSQL and Redis serve. Less than all while other
            processes reach them is the workers' network: look at policies and nodes.""",
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
    description="""Pools of workers: demand beside slots and workers, what waits and for whom, and
    the workers' builds, children and heartbeats.""",
    sections=[FIRST, CAPACITY, WAITING, CHILDREN],
    uses=frozenset({"pool"}),
)
