"""Recording rules: how fast each objective's budget burns, over windows from 5 minutes to 30 days.

Only the 5-minute rates read the processes' counters. Longer windows add up what was recorded, so
that a controller or an API process that is replaced in the middle of a window changes nothing (its
counters have another `instance`), and three days cost a few thousand samples per objective.
"""

from monitoring.model import Recording
from monitoring.objectives import OBJECTIVES

# Seconds between two samples of the 5-minute rates: what turns their sum into a number of events.
SHORT_INTERVAL = 30

# Seconds. Queries look back 5 minutes for a sample: one evaluation may be missed.
LONG_INTERVAL = 120

SHORT = ("30m", "1h")
LONG = ("2h", "6h", "1d", "3d")

# One urgency for each pool, the stricter one where controllers of two versions differ.
_URGENCY = Recording(
    "heavylift:pool_urgency:info",
    """\
group by (namespace, release, pool, urgency) (
  bottomk by (namespace, release, pool) (
    1, max by (namespace, release, pool, urgency) (heavylift_pool_wait_target_seconds)
  )
)""",
)


def _rates() -> list[Recording]:
    rules = [_URGENCY]
    for objective in OBJECTIVES:
        labels = {"slo": objective.slo}
        rules += [
            Recording(
                "heavylift:slo_objective:ratio",
                f"${{{objective.threshold}}} * "
                "group by (namespace, release) (heavylift_build_info)",
                labels,
            ),
            Recording("heavylift:slo_errors:rate5m", objective.errors, labels),
            Recording("heavylift:slo_events:rate5m", objective.events, labels),
        ]
    return rules


def _ratio(window: str, what: str) -> Recording:
    """No sample without an event: nothing was good or bad."""
    return Recording(
        f"heavylift:slo_errors:ratio_rate{window}",
        f"heavylift:slo_errors:{what}{window} / (heavylift:slo_events:{what}{window} > 0)",
    )


def _window(window: str) -> list[Recording]:
    counted = [
        Recording(
            f"heavylift:slo_{what}:increase{window}",
            f"{SHORT_INTERVAL} * sum_over_time(heavylift:slo_{what}:rate5m[{window}])",
        )
        for what in ("errors", "events")
    ]
    return [*counted, _ratio(window, "increase")]


# Of what the long windows' group records, a quarter as many samples: a ratio of sums is the same.
_REMAINING = Recording(
    "heavylift:slo_error_budget:remaining30d",
    """\
1 - (
  sum_over_time(heavylift:slo_errors:increase2h[30d])
  / (sum_over_time(heavylift:slo_events:increase2h[30d]) > 0)
  or
  0 * sum_over_time(heavylift:slo_events:increase2h[30d])
) / (1 - heavylift:slo_objective:ratio)""",
)

SHORT_RULES = (*_rates(), _ratio("5m", "rate"), *(rule for one in SHORT for rule in _window(one)))
LONG_RULES = (*(rule for one in LONG for rule in _window(one)), _REMAINING)
