"""A key that signs or verifies tokens has been in use for long, and should be replaced."""

from monitoring.model import Alert, Case, Fired, Rule


def _key(kid: str, created: int) -> dict[str, str]:
    """As two processes show it. The clock of a case starts at 0."""
    series = 'heavylift_signing_key_created_timestamp_seconds{instance="%s",kid="%s"}'
    return {series % (api, kid): f"{created}x40" for api in ("api-1", "api-2")}


ALERT = Alert(
    name="HeavyliftSigningKeyOld",
    says="a key that signs tokens is older than a year",
    area="api",
    dashboard="api",
    rules=[
        Rule(
            severity="ticket",
            expr="""\
time() - max by (namespace, release, kid) (heavylift_signing_key_created_timestamp_seconds)
  > ${signing_key_age}""",
            holds="5m",
            summary="The signing key {{ $labels.kid }} is old",
            description="The key {{ $labels.kid }} of HEAVYLIFT_AUTH_SIGNING_KEYS has been in use "
            "for {{ $value | humanizeDuration }}. Anyone who has a copy of it can sign tokens of "
            "any user.",
        )
    ],
    cases=[
        Case(
            name="one of two keys is 400 days old",
            series={**_key("1968-11-27", -34_559_400), **_key("1969-12-01", -2_678_400)},
            at="10m",
            fires=[
                Fired(
                    severity="ticket",
                    labels={"kid": "1968-11-27"},
                    summary="The signing key 1968-11-27 is old",
                    description="The key 1968-11-27 of HEAVYLIFT_AUTH_SIGNING_KEYS has been in use "
                    "for 400d 0h 0m 0s. Anyone who has a copy of it can sign tokens of any user.",
                )
            ],
        ),
        Case(name="the key is a month old", series=_key("1969-12-01", -2_678_400), at="10m"),
    ],
)
