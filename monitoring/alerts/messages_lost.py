"""Messages get lost between the controllers and the workers."""

from monitoring.model import Alert, Case, Fired, Rule

_RESENT = 'heavylift_job_redispatches_total{kind="image.transform",pool="cpu"}'

ALERT = Alert(
    name="HeavyliftMessagesLost",
    says="messages of a pool are lost in Redis and sent again",
    area="jobs",
    dashboard="ledger",
    variables=["pool"],
    rules=[
        Rule(
            severity="ticket",
            expr="""\
sum by (namespace, release, pool) (
  max by (namespace, release, kind, pool) (increase(heavylift_job_redispatches_total[1h]))
) >= ${lost_messages_per_hour}""",
            holds="1m",
            summary="Messages to pool {{ $labels.pool }} get lost",
            description='{{ printf "%.0f" $value }} messages to pool {{ $labels.pool }} were lost '
            "in the last hour and sent again. Each costs its job some seconds.",
        )
    ],
    cases=[
        Case(
            name="60 messages are lost in 30 minutes",
            series={_RESENT: "0+1x60"},
            at="30m",
            fires=[
                Fired(
                    severity="ticket",
                    labels={"pool": "cpu"},
                    summary="Messages to pool cpu get lost",
                    description="60 messages to pool cpu were lost in the last hour and sent "
                    "again. Each costs its job some seconds.",
                )
            ],
        ),
        Case(
            name="a Redis that restarts loses a window of 8 messages",
            series={_RESENT: "100x20 108x40"},
            at="30m",
        ),
    ],
)
