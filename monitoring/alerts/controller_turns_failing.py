"""A loop of the controllers fails again and again."""

from monitoring.model import Alert, Case, Fired, Rule


def _failures(instance: str, loop: str, values: str) -> dict[str, str]:
    labels = f'instance="{instance}",loop="{loop}"'
    return {f"heavylift_controller_turn_failures_total{{{labels}}}": values}


ALERT = Alert(
    name="HeavyliftControllerTurnsFailing",
    says="a loop of the controllers fails again and again",
    area="controller",
    dashboard="ledger",
    rules=[
        Rule(
            severity="ticket",
            # Each controller counts its own turns: these are added, unlike the ledger's series.
            expr="""\
sum by (namespace, release, loop) (increase(heavylift_controller_turn_failures_total[5m]))
  >= ${turn_failures}""",
            holds="10m",
            summary="The controllers' loop {{ $labels.loop }} keeps failing",
            description='{{ printf "%.0f" $value }} turns of the loop {{ $labels.loop }} failed in '
            "the last 5 minutes. Each is tried again within 5 s.",
        )
    ],
    cases=[
        Case(
            name="retain fails on both controllers for 20 minutes",
            series={
                **_failures("controller-1", "retain", "0+6x40"),
                **_failures("controller-2", "retain", "0+3x40"),
                **_failures("controller-1", "dispatch", "0x40"),
            },
            at="20m",
            fires=[
                Fired(
                    severity="ticket",
                    labels={"loop": "retain"},
                    summary="The controllers' loop retain keeps failing",
                    description="90 turns of the loop retain failed in the last 5 minutes. Each "
                    "is tried again within 5 s.",
                )
            ],
        ),
        Case(
            name="a database that restarts fails 30 turns within a minute",
            series=_failures("controller-1", "dispatch", "0x10 15 30x60"),
            at="20m",
        ),
        Case(
            name="a turn fails now and then",
            series=_failures("controller-1", "hints", "0x10 1x10 2x10 3x10"),
            at="15m",
        ),
    ],
)
