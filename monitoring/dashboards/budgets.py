"""Objectives and their error budgets, a section of the service dashboard."""

from monitoring.dashboards.frame import Section
from monitoring.dashboards.panels import (
    COUNT,
    PERCENT,
    Column,
    Query,
    graph,
    rising,
    rows,
)
from monitoring.dashboards.queries import (
    select,
)

BUDGET = f"max by (slo) ({select('heavylift:slo_error_budget:remaining30d')})"
OBJECTIVE = f"max by (slo) ({select('heavylift:slo_objective:ratio')})"


def errors(window: str) -> str:
    return f"max by (slo) ({select(f'heavylift:slo_errors:ratio_rate{window}')})"


def burn(window: str) -> str:
    """Speed at which the budget is spent: 1 spends it in exactly 30 days."""
    return f"{errors(window)} / (1 - {OBJECTIVE})"


BUDGETS = Section(
    "Error budgets",
    [
        graph(
            "Error budget left over time",
            """Remaining error budget of each objective over a rolling 30 days. A steep drop
            starts where the incident started: compare it with the roll-outs and the graphs
            below.""",
            PERCENT,
            Query(BUDGET, "{{slo}}"),
            lowest=None,
            highest=1,
            lines=((None, "transparent"), (0, "red")),
            width=12,
        ),
        graph(
            "Burn rate of the last hour",
            """Speed at which each error budget is spent: 1 spends it in exactly 30 days, 14.4
            spends 2% in one hour and pages. Above 1, look for the cause before the alert fires.""",
            COUNT,
            Query(burn("1h"), "{{slo}}"),
            lines=((None, "transparent"), (1, "yellow"), (6, "orange"), (14.4, "red")),
            width=12,
        ),
        rows(
            "Objectives and error ratios",
            """Each objective with its error ratio over growing windows. A high ratio in a short
            window only has just started; a high ratio in a long window only is already over.""",
            {"slo": "Objective of"},
            Column("Objective", OBJECTIVE, PERCENT),
            Column("Errors 5 min", errors("5m"), PERCENT),
            Column("Errors 1 h", errors("1h"), PERCENT),
            Column("Errors 6 h", errors("6h"), PERCENT),
            Column("Errors 1 d", errors("1d"), PERCENT),
            Column("Errors 3 d", errors("3d"), PERCENT),
            Column(
                "Budget left",
                BUDGET,
                PERCENT,
                ((None, "red"), (0, "orange"), (0.25, "yellow"), (0.5, "green")),
            ),
            Column("Burn rate 1 h", burn("1h"), COUNT, rising(1, 6)),
        ),
    ],
)
