"""A pool has as many workers as it may have, and they are too few."""

from monitoring.model import Alert, Case, Fired, Rule


def _pool(oldest: str, workers: str, most: str | None = "10x80") -> dict[str, str]:
    series = {
        'heavylift_pool_oldest_eligible_age_seconds{pool="cpu"}': oldest,
        'heavylift_pool_workers{pool="cpu"}': workers,
        'heavylift_pool_wait_target_seconds{pool="cpu",urgency="normal"}': "60x80",
    }
    return series if most is None else {**series, 'heavylift_pool_workers_max{pool="cpu"}': most}


ALERT = Alert(
    name="HeavyliftPoolAtMaximum",
    says="a pool has its most workers, and jobs still wait beyond their target",
    area="jobs",
    dashboard="pools",
    variables=["pool"],
    rules=[
        Rule(
            severity="ticket",
            expr="""\
max by (namespace, release, pool) (heavylift_pool_oldest_eligible_age_seconds)
  > max by (namespace, release, pool) (heavylift_pool_wait_target_seconds)
and on (namespace, release, pool)
  max by (namespace, release, pool) (heavylift_pool_workers)
  >= max by (namespace, release, pool) (heavylift_pool_workers_max)""",
            holds="${pool_at_maximum_for}",
            summary="Pool {{ $labels.pool }} is scaled out to its maximum, and jobs wait too long",
            description="Pool {{ $labels.pool }} has had its most workers for "
            "${pool_at_maximum_for}. Its oldest job has waited for "
            "{{ $value | humanizeDuration }}, beyond the shortest wait target of its kinds.",
        )
    ],
    cases=[
        Case(
            name="ten of ten workers are too few for 20 minutes",
            series=_pool("90x80", "10x80"),
            at="20m",
            fires=[
                Fired(
                    severity="ticket",
                    labels={"pool": "cpu"},
                    summary="Pool cpu is scaled out to its maximum, and jobs wait too long",
                    description="Pool cpu has had its most workers for 15m. Its oldest job has "
                    "waited for 1m 30s, beyond the shortest wait target of its kinds.",
                )
            ],
        ),
        Case(name="ten of ten workers are enough", series=_pool("30x80", "10x80"), at="20m"),
        Case(
            name="nine of ten workers are too few: more will come",
            series=_pool("90x80", "9x80"),
            at="20m",
        ),
        Case(
            name="no autoscaler has a maximum",
            series=_pool("90x80", "10x80", most=None),
            at="20m",
        ),
    ],
)
