"""Jobs by kind: how many, how long they wait and run, and which of them fail."""

from monitoring.dashboards.frame import Page, Section
from monitoring.dashboards.panels import (
    COUNT,
    JOBS_PER_SECOND,
    NEUTRAL,
    NONE_IS_GOOD,
    PERCENT,
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
    ledger,
    ledger_increase,
    ledger_rate,
    quantile,
    ratio,
    total,
)

TO_POOLS = more("heavylift-pools", "Pools in detail")
TO_LEDGER = more("heavylift-ledger", "Controller and ledger")
THIS_KIND = of_series("heavylift-jobs", "Only ${__field.labels.kind}", "kind")

SUBMITTED = "heavylift_jobs_submitted_total"
FINISHED = "heavylift_jobs_finished_total"
ATTEMPTS = "heavylift_job_attempts_total"
WAITS = "heavylift_job_waits_total"
OPEN = "heavylift_dead_letters_open"
AGE = "heavylift_dead_letters_oldest_age_seconds"
EXPIRY = "heavylift_dead_letters_expiry_seconds"
UNRUNNABLE = "heavylift_jobs_unrunnable"
WAIT_BUCKETS = "heavylift_job_queue_duration_seconds_bucket"
RUN_BUCKETS = "heavylift_job_run_duration_seconds_bucket"
TURNAROUND_BUCKETS = "heavylift_job_turnaround_seconds_bucket"

# Ends of the job's own making: `released` is a drain, `lost` a worker, `cancelled` a user.
TRIED = 'outcome=~"succeeded|failed|retried"'
UNSUCCESSFUL = 'outcome=~"failed|retried"'
QUANTILES = (0.5, 0.95, 0.99)


def jobs(state: str, *by: str) -> str:
    return total(ledger("heavylift_jobs", f'state="{state}"'), *by)


def success(over: str, *by: str) -> str:
    return ratio(
        total(ledger_rate(FINISHED, 'outcome="succeeded"', over=over), *by),
        total(ledger_rate(FINISHED, 'outcome!="cancelled"', over=over), *by),
    )


def failing_attempts(over: str, *by: str) -> str:
    return ratio(
        total(ledger_rate(ATTEMPTS, UNSUCCESSFUL, over=over), *by),
        total(ledger_rate(ATTEMPTS, TRIED, over=over), *by),
    )


FIRST = Section(
    "Is it all right?",
    [
        value(
            "Submitted",
            """Jobs accepted a second, over the last 5 minutes. None where there used to be some
            means that clients cannot submit: look at the API's refusals.""",
            JOBS_PER_SECOND,
            Query(total(ledger_rate(SUBMITTED, over="5m"))),
            steps=NEUTRAL,
            links=[more("heavylift-api", "API in detail")],
        ),
        value(
            "Finished",
            """Jobs that ended a second, over the last 5 minutes, whatever the outcome. None while
            jobs wait means that nothing runs: look at the pools.""",
            JOBS_PER_SECOND,
            Query(total(ledger_rate(FINISHED, over="5m"))),
            steps=NEUTRAL,
            links=[TO_POOLS],
        ),
        value(
            "Jobs that have not ended",
            """Jobs that wait for a worker, that run, and that are due later. Many that wait beside
            few that run want more workers: see the pools' maximum.""",
            COUNT,
            Query(jobs("queued"), "Waiting"),
            Query(jobs("running"), "Running"),
            Query(jobs("scheduled"), "Scheduled"),
            steps=NEUTRAL,
            width=8,
            links=[TO_POOLS],
        ),
        value(
            "Waits within target",
            """The share of attempts of the last 5 minutes that started within their kind's target.
            Below 95%, see which kinds and pools wait.""",
            PERCENT,
            Query(
                ratio(
                    total(ledger_rate(WAITS, 'within_target="true"', over="5m")),
                    total(ledger_rate(WAITS, over="5m")),
                )
            ),
            steps=falling(0.95, 0.8),
            decimals=1,
            empty="No starts",
        ),
        value(
            "Jobs that succeed",
            """Succeeded jobs among those that succeeded or failed in the last 5 minutes. Below 99%,
            see the failing kinds below.""",
            PERCENT,
            Query(success("5m")),
            steps=falling(0.99, 0.9),
            decimals=1,
            empty="No ends",
        ),
        value(
            "Attempts that fail",
            """Attempts that raised an error or ran out of time, among those that came to an end of
            their own, in the last 5 minutes. Retries hide these from users: mend the kind before
            its retries run out.""",
            PERCENT,
            Query(failing_attempts("5m")),
            steps=rising(0.05, 0.25),
            decimals=1,
            empty="No attempts",
        ),
        value(
            "Attempts lost in an hour",
            """Attempts whose worker died or lost its lease within the last hour. Their jobs run
            again by themselves; many mean that workers are killed: see the pools' restarts.""",
            COUNT,
            Query(total(ledger_increase("heavylift_job_rescues_total"))),
            steps=rising(1, 10),
            decimals=0,
            links=[TO_POOLS],
        ),
        value(
            "Jobs no worker can run",
            """Jobs that wait, and that no live worker of their pool can run. See the reason below:
            start workers, or workers of a version that has the kind and can read its jobs.""",
            COUNT,
            Query(total(ledger(UNRUNNABLE))),
            steps=NONE_IS_GOOD,
            links=[TO_POOLS],
        ),
        value(
            "Open dead letters",
            """Jobs that failed for good and are still kept: they stay until their age removes them.
            If there are more than before, read the error of the newest, mend its cause, and submit
            the jobs again.""",
            COUNT,
            Query(total(ledger(OPEN))),
            steps=rising(1, 100),
        ),
        value(
            "Oldest dead letter",
            """Since the oldest dead letter's job ended: how far back failures reach that can still
            be read. Compare with the last incident: what came before it should be dealt with by
            now.""",
            SECONDS,
            Query(f"max({ledger(AGE)})"),
            steps=NEUTRAL,
        ),
        value(
            "First dead letter is removed in",
            """Until the first dead letter is removed, with its input and its error. Below a day,
            submit it again or note what it says; afterwards nothing of it is left.""",
            SECONDS,
            Query(f"min({ledger(EXPIRY)})"),
            steps=falling(3 * 86400, 86400),
            empty="None is kept",
        ),
    ],
)

THROUGHPUT = Section(
    "How many",
    [
        graph(
            "Submitted and finished",
            """Jobs accepted and jobs that ended, of the chosen kinds. As long as the upper line is
            `submitted`, the backlog grows.""",
            JOBS_PER_SECOND,
            Query(total(ledger_rate(SUBMITTED)), "submitted"),
            Query(total(ledger_rate(FINISHED)), "finished"),
        ),
        graph(
            "Submitted by kind",
            """Jobs accepted, by kind. A kind that rises by much is a new client or a client's loop;
            see in the API's log who it is.""",
            JOBS_PER_SECOND,
            Query(total(ledger_rate(SUBMITTED), "kind"), "{{kind}}"),
            data_links=[THIS_KIND],
        ),
        graph(
            "Finished by outcome",
            """Jobs that ended, by how. Failures that appear after a roll-out are its fault; many
            cancellations are users who lost patience, so look at the waits.""",
            JOBS_PER_SECOND,
            Query(total(ledger_rate(FINISHED), "outcome"), "{{outcome}}"),
            stacked=True,
        ),
        graph(
            "Waiting by kind",
            """Jobs that could start now and have no worker yet, by kind. A kind that waits while
            others of its pool run may have no worker that knows it: see the jobs that no worker can
            run.""",
            COUNT,
            Query(jobs("queued", "kind"), "{{kind}}"),
            links=[TO_POOLS],
            data_links=[THIS_KIND],
        ),
        graph(
            "Running by kind",
            """Jobs that a worker runs now, by kind. If one kind has all slots of a pool for long,
            give it a pool of its own.""",
            COUNT,
            Query(jobs("running", "kind"), "{{kind}}"),
            data_links=[THIS_KIND],
        ),
        graph(
            "Scheduled by kind",
            """Jobs that are due later: new ones with a time, and failed ones until their next try.
            They need nothing; if they do not go down when due, look at the controller's `schedule`
            loop.""",
            COUNT,
            Query(jobs("scheduled", "kind"), "{{kind}}"),
            links=[TO_LEDGER],
            data_links=[THIS_KIND],
        ),
    ],
)

DURATIONS = Section(
    "How long",
    [
        graph(
            "Wait of $kind",
            """From when an attempt could start to when it did, beside the kind's target. If p95 is
            above the target, add workers to its pool, or raise the target if nobody minds.""",
            SECONDS,
            *(
                Query(quantile(q, ledger_rate(WAIT_BUCKETS), "kind"), f"p{q * 100:.0f}")
                for q in QUANTILES
            ),
            Query(
                f"max by (kind) ({ledger('heavylift_job_wait_target_seconds')})",
                "target",
            ),
            width=24,
            repeat="kind",
            links=[TO_POOLS],
        ),
        graph(
            "Run of $kind",
            """From an attempt's start to its end, beside the kind's timeout. If p99 comes near the
            timeout, attempts are about to be killed: raise it, or bound the input.""",
            SECONDS,
            *(
                Query(quantile(q, ledger_rate(RUN_BUCKETS), "kind"), f"p{q * 100:.0f}")
                for q in QUANTILES
            ),
            Query(f"max by (kind) ({ledger('heavylift_job_timeout_seconds')})", "timeout"),
            width=24,
            repeat="kind",
        ),
        *(
            graph(
                f"Turnaround p{q * 100:.0f} by kind",
                """From when a job could first start to its end, over all its attempts: what its
                user waited for. Where it is far above wait and run together, jobs are tried again
                and again.""",
                SECONDS,
                Query(quantile(q, ledger_rate(TURNAROUND_BUCKETS), "kind"), "{{kind}}"),
                data_links=[THIS_KIND],
            )
            for q in QUANTILES
        ),
    ],
)

TROUBLE = Section(
    "What goes wrong",
    [
        graph(
            "Attempts that did not succeed",
            """Attempts by how they ended: `retried` and `failed` are the job's errors, `lost` a
            dead worker, `released` a worker that drained, `refused` one that could not read the
            job. Losses point at the pools, refusals at versions side by side.""",
            JOBS_PER_SECOND,
            Query(total(ledger_rate(ATTEMPTS, 'outcome!="succeeded"'), "outcome"), "{{outcome}}"),
            stacked=True,
            links=[TO_POOLS],
        ),
        graph(
            "Attempts that fail by kind",
            """The share of a kind's attempts that raised an error or ran out of time. Compare with
            roll-outs; a kind whose share is steady has input that it cannot process.""",
            PERCENT,
            Query(failing_attempts("$__rate_interval", "kind"), "{{kind}}"),
            highest=1,
            data_links=[THIS_KIND],
        ),
        graph(
            "Jobs no worker can run by reason",
            """Jobs that wait, and that no live worker of their pool can run. For `no-workers` start
            workers, for `unknown-kind` workers that have the kind installed, for `refused` workers
            of the version that accepted the jobs.""",
            COUNT,
            Query(total(ledger(UNRUNNABLE), "kind", "reason") + " > 0", "{{kind}}: {{reason}}"),
            stacked=True,
            links=[TO_POOLS],
        ),
        rows(
            "Failing kinds",
            """Each kind over the time shown, the one with most failures first. Take the first line,
            read the error of its newest dead letter, and find in the log what it says by the job's
            id.""",
            {"kind": "Kind", "pool": "Pool"},
            Column(
                "Attempts that fail",
                failing_attempts("$__range", "kind", "pool"),
                PERCENT,
                rising(0.05, 0.25),
            ),
            Column(
                "Jobs that succeed",
                success("$__range", "kind", "pool"),
                PERCENT,
                falling(0.99, 0.9),
            ),
            Column("Open dead letters", ledger(OPEN), COUNT, rising(1, 100)),
            Column("Oldest dead letter", ledger(AGE), SECONDS),
            Column(
                "Failures",
                total(
                    ledger_increase(FINISHED, 'outcome="failed"', over="$__range"), "kind", "pool"
                ),
                COUNT,
            ),
            width=16,
        ),
        graph(
            "Lost with their worker, and messages lost",
            """Attempts taken from lost workers, and messages that vanished from Redis and were sent
            again. Both heal by themselves; steady losses of messages mean that Redis evicts or was
            emptied.""",
            JOBS_PER_SECOND,
            Query(total(ledger_rate("heavylift_job_rescues_total")), "attempts"),
            Query(total(ledger_rate("heavylift_job_redispatches_total")), "messages"),
            links=[TO_LEDGER],
        ),
    ],
)

DEAD_LETTERS = Section(
    "Dead letters",
    [
        graph(
            "New dead letters by kind",
            """Jobs that failed for good, per second. The first of them is the time at which
            something broke: compare with roll-outs and with what the kind calls.""",
            JOBS_PER_SECOND,
            Query(total(ledger_rate("heavylift_dead_letters_total"), "kind"), "{{kind}}"),
            stacked=True,
            width=6,
            data_links=[THIS_KIND],
        ),
        graph(
            "Open dead letters by kind",
            """Dead letters that are kept; each goes when it is too old, and not before. A step up
            is one incident, a slope a kind that fails all the time: mend it.""",
            COUNT,
            Query(total(ledger(OPEN), "kind"), "{{kind}}"),
            width=6,
            data_links=[THIS_KIND],
        ),
        graph(
            "Oldest dead letter by kind",
            """Since the oldest dead letter of each kind ended. It climbs until that one is removed:
            look at the kinds whose line is high, they have failed for longest.""",
            SECONDS,
            Query(f"max by (kind) ({ledger(AGE)})", "{{kind}}"),
            width=6,
            data_links=[THIS_KIND],
        ),
        graph(
            "Time until a dead letter is removed",
            """Until the first dead letter of each kind is removed for its age. Before it reaches
            zero, submit the jobs again or keep what they say elsewhere.""",
            SECONDS,
            Query(f"min by (kind) ({ledger(EXPIRY)})", "{{kind}}"),
            lines=((None, "transparent"), (86400, "red")),
            width=6,
            data_links=[THIS_KIND],
        ),
    ],
)

PAGE = Page(
    name="jobs",
    title="Heavylift / Jobs",
    description="""Jobs by kind: submitted, waiting and finished, their waits and runs beside
    targets and timeouts, what fails, and the dead letters that are left.""",
    sections=[FIRST, THROUGHPUT, DURATIONS, TROUBLE, DEAD_LETTERS],
)
