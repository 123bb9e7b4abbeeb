"""The recording rules, alerts and dashboards that `python -m monitoring` writes, as Prometheus and
Grafana take them."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).parent / "monitoring"

# ${name} stands for a threshold; $labels and {{ $value }} are Prometheus' own.
PLACEHOLDER = re.compile(r"\$\{(\w+)\}")


def defaults() -> dict[str, str]:
    """Every threshold by its name, as text."""
    found: dict[str, dict[str, object]] = json.loads((FOLDER / "thresholds.json").read_text())
    return {name: str(threshold["default"]) for name, threshold in found.items()}


def rules(values: Mapping[str, str] | None = None) -> str:
    """The rules file of Prometheus, with these thresholds in place of the defaults.

    Raises `ValueError` for one that does not exist.
    """
    thresholds = defaults()
    if unknown := (values or {}).keys() - thresholds.keys():
        raise ValueError(f"no threshold {', '.join(sorted(unknown))}")
    thresholds |= values or {}
    text = (FOLDER / "rules.yaml").read_text()
    return PLACEHOLDER.sub(lambda found: thresholds[found[1]], text)


def dashboards() -> list[Path]:
    return sorted((FOLDER / "dashboards").glob("*.json"))
