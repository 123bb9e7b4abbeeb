"""Attempts of one kind fail often, whether they are tried again or not."""

from monitoring.model import Alert, Case, Fired, Rule


def _attempts(succeeded: str, failed: str, retried: str) -> dict[str, str]:
    series = 'heavylift_job_attempts_total{kind="image.transform",pool="cpu",outcome="%s"}'
    values = {"succeeded": succeeded, "failed": failed, "retried": retried}
    return {series % outcome: one for outcome, one in values.items()}


ALERT = Alert(
    name="HeavyliftFailureRatio",
    says="many attempts of one kind fail",
    area="jobs",
    dashboard="jobs",
    variables=["kind"],
    rules=[
        Rule(
            severity="ticket",
            expr="""\
sum by (namespace, release, kind, pool) (
  max by (namespace, release, kind, pool, outcome) (
    increase(heavylift_job_attempts_total{outcome=~"failed|retried"}[1h])
  )
)
/ (
  sum by (namespace, release, kind, pool) (
    max by (namespace, release, kind, pool, outcome) (
      increase(heavylift_job_attempts_total{outcome=~"succeeded|failed|retried"}[1h])
    )
  ) > 0
)
> ${failure_ratio}
and on (namespace, release, kind, pool)
  sum by (namespace, release, kind, pool) (
    max by (namespace, release, kind, pool, outcome) (
      increase(heavylift_job_attempts_total{outcome=~"failed|retried"}[1h])
    )
  ) >= ${failure_min_attempts}""",
            holds="5m",
            summary="Many attempts of kind {{ $labels.kind }} fail",
            description="{{ $value | humanizePercentage }} of the attempts of kind "
            "{{ $labels.kind }} failed in the last hour. Those that may succeed later are tried "
            "again; others, such as a damaged input, end their job.",
        )
    ],
    cases=[
        Case(
            name="12 of 30 attempts fail",
            series=_attempts("0x4 18x36", "0x4 6x36", "0x4 6x36"),
            at="20m",
            fires=[
                Fired(
                    severity="ticket",
                    labels={"kind": "image.transform", "pool": "cpu"},
                    summary="Many attempts of kind image.transform fail",
                    description="40% of the attempts of kind image.transform failed in the last "
                    "hour. Those that may succeed later are tried again; others, such as a damaged "
                    "input, end their job.",
                )
            ],
        ),
        Case(
            name="10% of the attempts fail", series=_attempts("0+9x40", "0+1x40", "0x40"), at="20m"
        ),
        Case(
            name="six of six attempts fail at night",
            series=_attempts("0x40", "0x10 1 2 3x28", "0x20 3x20"),
            at="20m",
        ),
        Case(name="no attempt ends", series=_attempts("9x40", "9x40", "9x40"), at="20m"),
    ],
)
