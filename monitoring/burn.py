"""The rules of an alert on an objective's error budget: one for each of its windows."""

from collections.abc import Mapping

from monitoring.model import Objective, Rule, Window

SPELLED = {"1h": "hour", "6h": "6 hours", "1d": "day", "3d": "3 days"}


def _expression(objective: Objective, window: Window) -> str:
    series = f'{{slo="{objective.slo}"}}'
    limit = f"{window.factor:g} * (1 - ${{{objective.threshold}}})"
    return f"""\
heavylift:slo_errors:ratio_rate{window.long}{series} > {limit}
and heavylift:slo_errors:ratio_rate{window.short}{series} > {limit}
and heavylift:slo_errors:increase{window.long}{series} >= ${{{objective.floor}}}"""


def _times(factor: float) -> str:
    return "" if factor == 1 else f"{factor:g} times "


def budget_rules(
    objective: Objective, *, summary: str, more: str = "", labels: Mapping[str, str] | None = None
) -> list[Rule]:
    """`more` is appended to the description."""
    return [
        Rule(
            severity=window.severity,
            expr=_expression(objective, window),
            holds=window.holds,
            labels={**(labels or {}), "window": window.long},
            summary=summary,
            description=f"{{{{ $value | humanizePercentage }}}} {objective.says} in the last "
            f"{SPELLED[window.long]}. The error budget burns at more than {_times(window.factor)}"
            f"the rate that would use it up in 30 days.{more}",
        )
        for window in objective.windows
    ]
