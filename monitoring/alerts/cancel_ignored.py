"""A job goes on although it was cancelled, and its worker does not end it."""

from monitoring.model import Alert, Case, Fired, Rule

_AGE = 'heavylift_pool_oldest_cancel_age_seconds{pool="cpu"}'

ALERT = Alert(
    name="HeavyliftCancelIgnored",
    says="a job runs on for minutes after it was cancelled",
    area="workers",
    dashboard="pools",
    variables=["pool"],
    rules=[
        Rule(
            severity="ticket",
            expr="""\
max by (namespace, release, pool) (heavylift_pool_oldest_cancel_age_seconds)
  > ${cancel_ignored_age}""",
            holds="1m",
            summary="A cancelled job of pool {{ $labels.pool }} runs on",
            description="A job of pool {{ $labels.pool }} was cancelled "
            "{{ $value | humanizeDuration }} ago and still runs. Its worker should have killed it "
            "within seconds.",
        )
    ],
    cases=[
        Case(
            name="a job runs on for 5 minutes",
            series={_AGE: "0+30x20"},
            at="5m",
            fires=[
                Fired(
                    severity="ticket",
                    labels={"pool": "cpu"},
                    summary="A cancelled job of pool cpu runs on",
                    description="A job of pool cpu was cancelled 5m 0s ago and still runs. Its "
                    "worker should have killed it within seconds.",
                )
            ],
        ),
        Case(name="jobs take some seconds to end", series={_AGE: "0 8 0 12 0 3x15"}, at="5m"),
    ],
)
