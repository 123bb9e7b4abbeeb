"""The values that each threshold takes: the chart refuses all others."""

from typing import Any

from monitoring.model import Threshold

# No address has a slash at its end, a query or a fragment, since a path follows it. Nothing in it
# ends a line of YAML or begins a template of Prometheus.
_URL = r"^https?://[^\s/?#{}$'\"\\]+(/[^\s/?#{}$'\"\\]+)*$"

# As Prometheus reads them, without the years and milliseconds that no alert needs. The digits keep
# the sum within its 292 years.
_DURATION = r"^([0-9]{1,3}w)?([0-9]{1,3}d)?([0-9]{1,5}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$"

# Seconds of 31 years; no count of events comes near it.
_BELOW = 1_000_000_000


def limits(threshold: Threshold) -> dict[str, Any]:
    """Bounds of a number (`above`, `below`) or a `pattern`, and both in words (`takes`)."""
    match threshold.unit:
        case "URL":
            takes = "an http or https URL without a slash at the end, a query or a fragment"
            return {"takes": takes, "pattern": _URL}
        case "duration":
            return {"takes": "a duration such as 90s, 5m or 1h30m", "pattern": _DURATION}
        case unit:
            below = 1 if unit == "ratio" else _BELOW
            return {"takes": f"a number above 0 and below {below}", "above": 0, "below": below}
