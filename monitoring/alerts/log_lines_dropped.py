"""A process cannot write its log."""

from monitoring.model import Alert, Case, Fired, Rule

_DROPPED = 'heavylift_log_lines_dropped_total{instance="worker-1"}'

ALERT = Alert(
    name="HeavyliftLogLinesDropped",
    says="a process cannot write its log",
    area="logs",
    dashboard="service",
    rules=[
        Rule(
            severity="ticket",
            expr="""\
sum by (namespace, release, instance) (increase(heavylift_log_lines_dropped_total[15m]))
  >= ${dropped_log_lines}""",
            holds="5m",
            summary="{{ $labels.instance }} cannot write its log",
            description="Log lines of {{ $labels.instance }} dropped in 15 minutes: "
            '{{ printf "%.0f" $value }}. Its standard output takes none.',
        )
    ],
    cases=[
        Case(
            name="a full disk drops two lines a minute",
            series={_DROPPED: "0+1x60"},
            at="25m",
            fires=[
                Fired(
                    severity="ticket",
                    labels={"instance": "worker-1"},
                    summary="worker-1 cannot write its log",
                    description="Log lines of worker-1 dropped in 15 minutes: 30. Its standard "
                    "output takes none.",
                )
            ],
        ),
        Case(name="lines were dropped yesterday", series={_DROPPED: "812x60"}, at="25m"),
    ],
)
