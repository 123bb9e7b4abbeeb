"""Dead letters are about to be removed, and with them the chance to look at them."""

from monitoring.model import Alert, Case, Fired, Rule

_EXPIRY = 'heavylift_dead_letters_expiry_seconds{kind="image.transform",pool="cpu"}'

ALERT = Alert(
    name="HeavyliftDeadLettersExpiring",
    says="a dead letter will soon be removed",
    area="jobs",
    dashboard="jobs",
    variables=["kind"],
    rules=[
        Rule(
            severity="ticket",
            expr="""\
max by (namespace, release, kind, pool) (heavylift_dead_letters_expiry_seconds)
  < ${dead_letters_expiry}""",
            holds="5m",
            summary="Dead letters of kind {{ $labels.kind }} are about to be removed",
            description="The oldest dead letter of kind {{ $labels.kind }} is removed in "
            "{{ $value | humanizeDuration }}, with its specification and its error.",
        )
    ],
    cases=[
        Case(
            name="the oldest has 6 hours left",
            series={_EXPIRY: "22200-30x40"},
            at="10m",
            fires=[
                Fired(
                    severity="ticket",
                    labels={"kind": "image.transform", "pool": "cpu"},
                    summary="Dead letters of kind image.transform are about to be removed",
                    description="The oldest dead letter of kind image.transform is removed in "
                    "6h 0m 0s, with its specification and its error.",
                )
            ],
        ),
        Case(name="the oldest has 5 days left", series={_EXPIRY: "432000-30x40"}, at="10m"),
        Case(
            name="there is none",
            series={'heavylift_dead_letters_open{kind="image.transform",pool="cpu"}': "0x40"},
            at="10m",
        ),
    ],
)
