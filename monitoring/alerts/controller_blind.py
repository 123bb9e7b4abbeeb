"""No controller can read the ledger: its metrics are old, and nothing knows the demand."""

from monitoring.model import Alert, Case, Fired, Rule


def _age(instance: str, values: str) -> dict[str, str]:
    return {f'heavylift_ledger_read_age_seconds{{instance="{instance}"}}': values}


ALERT = Alert(
    name="HeavyliftControllerBlind",
    says="no controller can read the ledger",
    area="controller",
    dashboard="ledger",
    rules=[
        Rule(
            severity="page",
            expr="""\
min by (namespace, release) (heavylift_ledger_read_age_seconds) > ${ledger_read_age}""",
            holds="1m",
            summary="No controller can read the ledger",
            description="The last controller read the ledger {{ $value | humanizeDuration }} ago. "
            "Metrics of jobs and pools are missing, alerts on them are silent, and pools are not "
            "scaled.",
        )
    ],
    cases=[
        Case(
            name="both controllers read nothing for 5 minutes",
            series={**_age("controller-1", "0+30x20"), **_age("controller-2", "2+30x20")},
            at="5m",
            fires=[
                Fired(
                    severity="page",
                    summary="No controller can read the ledger",
                    description="The last controller read the ledger 5m 0s ago. Metrics of jobs "
                    "and pools are missing, alerts on them are silent, and pools are not scaled.",
                )
            ],
        ),
        Case(
            name="one of two controllers reads nothing",
            series={**_age("controller-1", "0+30x20"), **_age("controller-2", "2x20")},
            at="5m",
        ),
    ],
)
