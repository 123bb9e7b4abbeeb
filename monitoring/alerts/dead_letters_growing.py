"""Many jobs of one kind are given up."""

from monitoring.model import Alert, Case, Fired, Rule

_LETTERS = 'heavylift_dead_letters_total{kind="image.transform",pool="cpu"}'

ALERT = Alert(
    name="HeavyliftDeadLettersGrowing",
    says="many jobs of one kind are given up",
    area="jobs",
    dashboard="jobs",
    variables=["kind"],
    rules=[
        Rule(
            severity="ticket",
            expr="""\
max by (namespace, release, kind, pool) (increase(heavylift_dead_letters_total[1h]))
  >= ${dead_letters_per_hour}""",
            holds="1m",
            summary="Jobs of kind {{ $labels.kind }} are given up",
            description='{{ printf "%.0f" $value }} jobs of kind {{ $labels.kind }} became dead '
            "letters in the last hour: all their tries failed, or they lost their worker too "
            "often.",
        )
    ],
    cases=[
        Case(
            name="a kind gets 20 dead letters in 10 minutes",
            series={_LETTERS: "5+1x20 25x100"},
            at="50m",
            fires=[
                Fired(
                    severity="ticket",
                    labels={"kind": "image.transform", "pool": "cpu"},
                    summary="Jobs of kind image.transform are given up",
                    description="20 jobs of kind image.transform became dead letters in the last "
                    "hour: all their tries failed, or they lost their worker too often.",
                )
            ],
        ),
        Case(
            name="old dead letters are many, and none is new",
            series={_LETTERS: "4000x120"},
            at="50m",
        ),
        Case(
            name="a kind gets two dead letters",
            series={_LETTERS: "5x20 6x20 7x80"},
            at="50m",
        ),
        Case(
            name="a controller is replaced, and its successor starts with the same count",
            series={
                'heavylift_dead_letters_total{instance="old",kind="a.b",pool="cpu"}': "4000x40",
                'heavylift_dead_letters_total{instance="new",kind="a.b",pool="cpu"}': (
                    "_x40 4000x80"
                ),
            },
            at="50m",
        ),
    ],
)
