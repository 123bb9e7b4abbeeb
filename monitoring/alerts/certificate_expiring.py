"""The certificate of a server ends soon, and with it every connection to that server."""

from monitoring.model import Alert, Case, Fired, Rule


def _expiry(instance: str, seconds: int) -> dict[str, str]:
    """The clock of a case starts at 0."""
    labels = f'instance="{instance}",dependency="redis"'
    return {f"heavylift_certificate_expiry_timestamp_seconds{{{labels}}}": f"{seconds}x40"}


# A process shows the certificate of its last connection: after a renewal, the newest one counts.
_LEFT = """\
max by (namespace, release, dependency) (heavylift_certificate_expiry_timestamp_seconds) - time()
  < ${%s}"""

_SUMMARY = "The certificate of {{ $labels.dependency }} ends soon"
_DESCRIPTION = (
    "The certificate of {{ $labels.dependency }} ends in {{ $value | humanizeDuration }}. After "
    "that nothing connects to it any more."
)

ALERT = Alert(
    name="HeavyliftCertificateExpiring",
    says="the certificate of PostgreSQL or Redis ends in two weeks; a page if it ends in a day",
    area="dependencies",
    dashboard="service",
    rules=[
        Rule(
            severity="page",
            expr=_LEFT % "certificate_expiry_page",
            holds="5m",
            summary=_SUMMARY,
            description=_DESCRIPTION,
        ),
        Rule(
            severity="ticket",
            expr=_LEFT % "certificate_expiry",
            holds="5m",
            summary=_SUMMARY,
            description=_DESCRIPTION,
        ),
    ],
    cases=[
        Case(
            name="it ends in ten days",
            series={**_expiry("api", 864_600), **_expiry("controller", 864_600)},
            at="10m",
            fires=[
                Fired(
                    severity="ticket",
                    labels={"dependency": "redis"},
                    summary="The certificate of redis ends soon",
                    description="The certificate of redis ends in 10d 0h 0m 0s. After that nothing "
                    "connects to it any more.",
                )
            ],
        ),
        Case(
            name="it ends in six hours",
            series=_expiry("api", 22_200),
            at="10m",
            fires=[
                Fired(
                    severity=severity,
                    labels={"dependency": "redis"},
                    summary="The certificate of redis ends soon",
                    description="The certificate of redis ends in 6h 0m 0s. After that nothing "
                    "connects to it any more.",
                )
                for severity in ("page", "ticket")
            ],
        ),
        Case(
            name="it was renewed, and one process still has a connection from before",
            series={**_expiry("api-1", 22_200), **_expiry("api-2", 7_776_000)},
            at="10m",
        ),
    ],
)
