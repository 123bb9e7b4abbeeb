"""A transaction stays open in the database, and vacuum can remove nothing that is newer."""

from monitoring.model import Alert, Case, Fired, Rule

_OLDEST = "heavylift_database_oldest_transaction_seconds"

ALERT = Alert(
    name="HeavyliftLongTransaction",
    says="a transaction stays open in the database for an hour",
    area="database",
    dashboard="ledger",
    rules=[
        Rule(
            severity="ticket",
            expr=f"max by (namespace, release) ({_OLDEST}) > ${{long_transaction_age}}",
            holds="2m",
            summary="A database transaction has been open for too long",
            description="The oldest transaction has been open for {{ $value | humanizeDuration }}. "
            "Meanwhile vacuum cannot clean up the ledger's tables, and dispatch gets slower.",
        )
    ],
    cases=[
        Case(
            name="a transaction is open for 70 minutes",
            series={_OLDEST: "3600+30x40"},
            at="10m",
            fires=[
                Fired(
                    severity="ticket",
                    summary="A database transaction has been open for too long",
                    description="The oldest transaction has been open for 1h 10m 0s. Meanwhile "
                    "vacuum cannot clean up the ledger's tables, and dispatch gets slower.",
                )
            ],
        ),
        Case(name="a dump takes 20 minutes", series={_OLDEST: "0+30x40 0x20"}, at="15m"),
    ],
)
