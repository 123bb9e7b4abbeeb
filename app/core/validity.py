"""When certificates of servers end, and since when keys are in use, where that is known."""

import re
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from prometheus_client import Gauge

CERTIFICATE_EXPIRY = Gauge(
    "heavylift_certificate_expiry_timestamp_seconds",
    "When the certificate of a server ends that this process verified.",
    ["dependency"],
    multiprocess_mode="mostrecent",
)
SIGNING_KEY_CREATED = Gauge(
    "heavylift_signing_key_created_timestamp_seconds",
    "The day of a signing key whose kid begins with a date.",
    ["kid"],
    multiprocess_mode="mostrecent",
)

# A kid such as 2026-11-26, or one that continues after the date.
DATED = re.compile(r"\d{4}-\d{2}-\d{2}(?!\d)")


def show_certificate(dependency: str, certificate: Mapping[str, Any] | None) -> None:
    """Show when it ends; `certificate` is as `ssl.SSLSocket.getpeercert` returns it.

    That returns nothing of a certificate that was not verified.
    """
    if certificate and "notAfter" in certificate:
        expiry = ssl.cert_time_to_seconds(certificate["notAfter"])
        CERTIFICATE_EXPIRY.labels(dependency).set(expiry)


def show_keys(kids: list[str]) -> None:
    """Show since when each key is in use; one without a date in its kid has no series."""
    for kid in kids:
        if (found := DATED.match(kid)) is None:
            continue
        try:
            day = datetime.fromisoformat(found[0]).replace(tzinfo=UTC)
        except ValueError:
            continue
        SIGNING_KEY_CREATED.labels(kid).set(day.timestamp())
