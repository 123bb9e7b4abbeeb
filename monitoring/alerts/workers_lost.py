"""Attempts are lost with the process that ran them."""

from monitoring.model import Alert, Case, Fired, Rule


def _rescues(kind: str, values: str) -> dict[str, str]:
    return {f'heavylift_job_rescues_total{{kind="{kind}",pool="cpu"}}': values}


ALERT = Alert(
    name="HeavyliftWorkersLost",
    says="attempts are lost with their worker or child process",
    area="workers",
    dashboard="pools",
    variables=["pool"],
    rules=[
        Rule(
            severity="ticket",
            expr="""\
sum by (namespace, release, pool) (
  max by (namespace, release, kind, pool) (increase(heavylift_job_rescues_total[1h]))
) >= ${lost_attempts_per_hour}""",
            holds="1m",
            summary="Workers of pool {{ $labels.pool }} die with their jobs",
            description='{{ printf "%.0f" $value }} attempts in pool {{ $labels.pool }} were lost '
            "with their worker or child process in the last hour. Their jobs run again; a job that "
            "is lost 5 times is given up.",
        )
    ],
    cases=[
        Case(
            name="two kinds lose three attempts each",
            series={**_rescues("a.b", "0x10 3x70"), **_rescues("c.d", "0x20 3x60")},
            at="30m",
            fires=[
                Fired(
                    severity="ticket",
                    labels={"pool": "cpu"},
                    summary="Workers of pool cpu die with their jobs",
                    description="6 attempts in pool cpu were lost with their worker or child "
                    "process in the last hour. Their jobs run again; a job that is lost 5 times is "
                    "given up.",
                )
            ],
        ),
        Case(
            name="one worker with two jobs is lost",
            series={**_rescues("a.b", "7x10 9x70"), **_rescues("c.d", "0x80")},
            at="30m",
        ),
    ],
)
