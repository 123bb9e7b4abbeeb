"""The parts that the rules are made of.

Texts and expressions hold `${name}` where an operator's value goes (`monitoring.thresholds`), and
Go templates (`{{ $labels.pool }}`) that Prometheus fills in when an alert fires.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["page", "ticket"]

# An alert's subject, by which one alert can hide others.
Area = Literal["api", "jobs", "workers", "controller", "database", "dependencies", "logs"]


@dataclass(frozen=True, slots=True)
class Threshold:
    """A value that an operator may change."""

    name: str
    default: float | str
    unit: str
    description: str


@dataclass(frozen=True, slots=True)
class Recording:
    record: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Window:
    """Alerts if the budget burns `factor` times too fast in both the `long` and `short` window."""

    severity: Severity
    long: str
    short: str
    factor: float
    holds: str
    """How long it must last before the alert fires."""


@dataclass(frozen=True, slots=True)
class Objective:
    """The part of all events, over 30 days, that must be good."""

    slo: str
    threshold: str
    """Name of the threshold that holds the objective, a ratio."""
    floor: str
    """Name of the threshold that holds the least number of errors that alert."""
    errors: str
    """Errors per second over the last 5 minutes, by namespace and release."""
    events: str
    """Events per second, errors among them."""
    says: str
    """An error, in words that follow "20%"."""
    windows: Sequence[Window]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One expression of an alert. An alert with a page and a ticket has two."""

    severity: Severity
    expr: str
    holds: str = ""
    """How long the expression must hold before the alert fires: Prometheus's `for`."""
    summary: str
    description: str
    labels: Mapping[str, str] = field(default_factory=dict)
    keep: str = "${keep_firing}"
    """How long the alert stays after the expression has stopped to hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """An alert that a case expects, with its texts as Prometheus fills them in."""

    severity: Severity
    labels: Mapping[str, str] = field(default_factory=dict)
    summary: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Input for `promtool test rules`: series, and the alerts that fire at a moment.

    Series have a sample every 30 s, in promtool's notation. They belong to the release `heavylift`
    in the namespace `apps` unless they say otherwise. Each series of the ledger is given twice, as
    two controllers export it.
    """

    name: str
    series: Mapping[str, str]
    at: str
    fires: Sequence[Fired] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    name: str
    """With the prefix `Heavylift`: a Prometheus has other programs' alerts, too."""
    says: str
    """When it fires, for lists: completes "fires when"."""
    area: Area
    dashboard: str
    """Its name in `heavylift-NAME`."""
    variables: Sequence[str] = ()
    """Labels of the alert that select something on the dashboard, beside namespace and release."""
    rules: Sequence[Rule]
    cases: Sequence[Case]


@dataclass(frozen=True, slots=True)
class Inhibition:
    """While an alert that matches `source` fires, those that match `target` send nothing."""

    why: str
    source: Sequence[str]
    target: Sequence[str]
    equal: Sequence[str] = ("namespace", "release")
