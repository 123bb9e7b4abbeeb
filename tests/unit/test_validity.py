"""What is known of certificates and keys is shown; what is not known has no series."""

import pytest
from prometheus_client import REGISTRY

from app.core.validity import show_certificate, show_keys

EXPIRY = "heavylift_certificate_expiry_timestamp_seconds"
CREATED = "heavylift_signing_key_created_timestamp_seconds"


def test_the_end_of_a_verified_certificate_is_shown() -> None:
    show_certificate("test-verified", {"notAfter": "Jan  9 12:00:30 2027 GMT"})
    # date -ud '2027-01-09 12:00:30' +%s
    assert REGISTRY.get_sample_value(EXPIRY, {"dependency": "test-verified"}) == 1_799_496_030


@pytest.mark.parametrize("certificate", [None, {}])
def test_nothing_is_known_of_one_that_was_not_verified(certificate: dict[str, str] | None) -> None:
    show_certificate("test-unverified", certificate)
    assert REGISTRY.get_sample_value(EXPIRY, {"dependency": "test-unverified"}) is None


@pytest.mark.parametrize(
    ("kid", "created"),
    [
        # date -ud 2026-11-26 +%s
        ("2026-11-26", 1_795_651_200),
        ("2026-11-26-1f2e", 1_795_651_200),
        ("2026-11-26b", 1_795_651_200),
        ("2026-11-261", None),
        ("2026-02-30", None),
        ("first", None),
        ("9e107d9d", None),
        ("key-2026-11-26", None),
    ],
)
def test_a_key_is_as_old_as_its_name_says(kid: str, created: float | None) -> None:
    show_keys(["other", kid])
    assert REGISTRY.get_sample_value(CREATED, {"kid": kid}) == created
