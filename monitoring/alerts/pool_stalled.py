"""Jobs wait although workers are free to take them."""

from monitoring.model import Alert, Case, Fired, Rule


def _pool(
    oldest: str, *, busy: str, claims: str, queued: str, unreadable: str, paused: str
) -> dict[str, str]:
    kind = 'kind="image.transform",pool="cpu"'
    return {
        'heavylift_pool_oldest_eligible_age_seconds{pool="cpu"}': oldest,
        'heavylift_pool_slots{pool="cpu"}': "4x40",
        'heavylift_pool_slots_busy{pool="cpu"}': busy,
        f"heavylift_job_queue_duration_seconds_count{{{kind}}}": claims,
        f'heavylift_jobs{{{kind},state="queued"}}': queued,
        f'heavylift_jobs_unrunnable{{{kind},reason="unknown-kind"}}': unreadable,
        'heavylift_dispatch_paused{instance="controller-1"}': paused,
    }


_STALLED = {
    "oldest": "0+30x40",
    "busy": "0x40",
    "claims": "17x40",
    "queued": "6x40",
    "unreadable": "0x40",
    "paused": "0x40",
}

_FIRED = Fired(
    severity="page",
    labels={"pool": "cpu"},
    summary="Jobs of pool cpu wait although it has free slots",
    description="The oldest job of pool cpu has waited for 15m 0s. The pool has free slots, and no "
    "job has started in 5 minutes.",
)

ALERT = Alert(
    name="HeavyliftPoolStalled",
    says="jobs wait for minutes in a pool with free slots, and none starts",
    area="jobs",
    dashboard="pools",
    variables=["pool"],
    rules=[
        Rule(
            severity="page",
            # A job that no worker can read waits rightly; HeavyliftUnreadableJobs is about those.
            expr="""\
max by (namespace, release, pool) (heavylift_pool_oldest_eligible_age_seconds) > ${pool_stalled_age}
and on (namespace, release, pool)
  max by (namespace, release, pool) (heavylift_pool_slots)
  > max by (namespace, release, pool) (heavylift_pool_slots_busy)
unless on (namespace, release, pool)
  sum by (namespace, release, pool) (
    max by (namespace, release, kind, pool, reason) (heavylift_jobs_unrunnable)
  )
  >= clamp_min(
    sum by (namespace, release, pool) (
      max by (namespace, release, kind, pool) (heavylift_jobs{state="queued"})
    ),
    1
  )
unless on (namespace, release, pool)
  sum by (namespace, release, pool) (
    max by (namespace, release, kind, pool) (
      increase(heavylift_job_queue_duration_seconds_count[5m])
    )
  ) > 0
unless on (namespace, release)
  min by (namespace, release) (heavylift_dispatch_paused) == 1""",
            holds="2m",
            summary="Jobs of pool {{ $labels.pool }} wait although it has free slots",
            description="The oldest job of pool {{ $labels.pool }} has waited for "
            "{{ $value | humanizeDuration }}. The pool has free slots, and no job has started in "
            "5 minutes.",
        )
    ],
    cases=[
        Case(
            name="nothing starts for 15 minutes",
            series=_pool(**_STALLED),
            at="15m",
            fires=[_FIRED],
        ),
        Case(
            name="dispatch is paused",
            series=_pool(**{**_STALLED, "paused": "1x40"}),
            at="15m",
        ),
        Case(
            name="dispatch is paused on one controller of two",
            series=_pool(**_STALLED)
            | {'heavylift_dispatch_paused{instance="controller-2"}': "1x40"},
            at="15m",
            fires=[_FIRED],
        ),
        Case(
            name="all slots are busy with long jobs",
            series=_pool(**{**_STALLED, "busy": "4x40"}),
            at="15m",
        ),
        Case(
            name="a backlog is worked off",
            series=_pool(**{**_STALLED, "claims": "17+1x40"}),
            at="15m",
        ),
        Case(
            name="only jobs wait that no worker can read",
            series=_pool(**{**_STALLED, "unreadable": "6x40"}),
            at="15m",
        ),
        Case(
            name="one of the jobs that wait can be read",
            series=_pool(**{**_STALLED, "unreadable": "5x40"}),
            at="15m",
            fires=[_FIRED],
        ),
        Case(
            name="nothing has started for 15 minutes, and a job came 3 minutes ago",
            series=_pool(**{**_STALLED, "oldest": "0x24 0+30x16"}),
            at="15m",
        ),
        Case(
            name="a pool that was scaled to zero gets its first worker",
            series=_pool(**_STALLED) | {'heavylift_pool_slots{pool="cpu"}': "0x28 4x12"},
            at="15m",
        ),
        Case(
            name="nothing waits",
            series=_pool(**{**_STALLED, "oldest": "0x40", "queued": "0x40"}),
            at="15m",
        ),
    ],
)
