"""Jobs wait for a pool that has no workers, for longer than it takes to start some."""

from monitoring.model import Alert, Case, Fired, Rule


def _pool(oldest: str, workers: str, paused: str = "0x40") -> dict[str, str]:
    return {
        'heavylift_pool_oldest_eligible_age_seconds{pool="cpu"}': oldest,
        'heavylift_pool_workers{pool="cpu"}': workers,
        'heavylift_dispatch_paused{instance="controller-1"}': paused,
    }


ALERT = Alert(
    name="HeavyliftPoolWithoutWorkers",
    says="jobs wait for minutes in a pool without workers",
    area="jobs",
    dashboard="pools",
    variables=["pool"],
    rules=[
        Rule(
            severity="page",
            expr="""\
max by (namespace, release, pool) (heavylift_pool_oldest_eligible_age_seconds)
  > ${pool_without_workers_age}
and on (namespace, release, pool)
  max by (namespace, release, pool) (heavylift_pool_workers) == 0
unless on (namespace, release)
  min by (namespace, release) (heavylift_dispatch_paused) == 1""",
            holds="1m",
            summary="Pool {{ $labels.pool }} has jobs and no workers",
            description="The oldest job of pool {{ $labels.pool }} has waited for "
            "{{ $value | humanizeDuration }}, and no worker of the pool is alive.",
        )
    ],
    cases=[
        Case(
            name="no worker comes for 8 minutes",
            series=_pool("0+30x40", "0x40"),
            at="8m",
            fires=[
                Fired(
                    severity="page",
                    labels={"pool": "cpu"},
                    summary="Pool cpu has jobs and no workers",
                    description="The oldest job of pool cpu has waited for 8m 0s, and no worker of "
                    "the pool is alive.",
                )
            ],
        ),
        Case(
            name="workers are there, and busy for hours",
            series=_pool("0+30x40", "2x40"),
            at="8m",
        ),
        Case(
            name="the pool is scaled to zero, and nothing waits",
            series=_pool("0x40", "0x40"),
            at="8m",
        ),
        Case(
            name="an autoscaler starts the first worker after 3 minutes",
            series=_pool("0+30x6 0x33", "0x6 1x33"),
            at="8m",
        ),
        Case(
            name="dispatch is paused, and the pool is scaled to zero",
            series=_pool("0+30x40", "0x40", paused="1x40"),
            at="8m",
        ),
    ],
)
