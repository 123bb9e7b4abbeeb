"""The common part of all dashboards: variables, links, roll-outs, and the JSON itself."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    ConstantVariable,
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableHide,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from monitoring.dashboards.panels import SOURCE, Built
from monitoring.dashboards.queries import BUILDS, select
from monitoring.thresholds import RUNBOOKS

TAG = "heavylift"

ALL = VariableOption(selected=True, text=["All"], value=["$__all"])


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice among the values of a label: one of them if `single`, else any number or all."""

    name: str
    title: str
    source: str
    # Empty: the same as the name.
    label: str = ""
    single: bool = False
    # The regular expression of All; the default also matches series without the label.
    every: str = ".*"


VARIABLES = (
    Variable("namespace", "Namespace", "heavylift_build_info", single=True),
    Variable("release", "Release", 'heavylift_build_info{namespace="$namespace"}', single=True),
    Variable("pool", "Pool", select("heavylift_pool_slots")),
    Variable("kind", "Kind", select("heavylift_jobs_submitted_total", 'pool=~"$pool"')),
)

_NOW = f"count by (component, version, revision) ({BUILDS})"
_BEFORE = f"{BUILDS} offset 2m"

# A build that was not there two minutes ago, and either replaces another build of its component or
# has not been seen for a day. A pool that scales from zero with the same build is not a roll-out; a
# roll-back is one.
ROLL_OUTS = (
    f"{_NOW} unless count by (component, version, revision) ({_BEFORE})"
    f" unless (max_over_time(({_NOW})[1d:5m] offset 2m)"
    f" unless on (component) count by (component) ({_BEFORE}))"
)


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    panels: Sequence[Built]


@dataclass(frozen=True, slots=True)
class Page:
    """One dashboard. Variables that it does not use are hidden; its links keep their values."""

    name: str
    title: str
    description: str
    sections: Sequence[Section]
    uses: frozenset[str] = frozenset({"pool", "kind"})
    variables: Sequence[Variable] = ()
    since: str = "now-6h"
    tags: Sequence[str] = field(default=(TAG,))

    @property
    def uid(self) -> str:
        return f"heavylift-{self.name}"


def _variable(variable: Variable, *, hidden: bool) -> QueryVariable:
    query = f"label_values({variable.source}, {variable.label or variable.name})"
    built = (
        QueryVariable(variable.name)
        .label(variable.title)
        .datasource(SOURCE)
        .query(
            {"query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery", "qryType": 1}
        )
        .definition(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
    )
    if hidden:
        built.hide(VariableHide.HIDE_VARIABLE)
    if not variable.single:
        built.multi(True).include_all(True).all_value(variable.every).current(ALL)
    return built


def _roll_outs() -> AnnotationQuery:
    target = (
        Dataquery()
        .ref_id("Anno")
        .datasource(SOURCE)
        .expr(ROLL_OUTS)
        .legend_format("")
        .interval("60s")
    )
    return (
        AnnotationQuery()
        .name("Roll-outs")
        .datasource(SOURCE)
        .enable(True)
        .icon_color("purple")
        .expr(ROLL_OUTS)
        .title_format("{{component}} {{version}}")
        .text_format("revision {{revision}}")
        .tag_keys("component,version")
        .step("60s")
        .use_value_for_time(False)
        .target(target)
    )


def _shell(page: Page) -> Dashboard:
    shell = (
        Dashboard(page.title)
        .uid(page.uid)
        .description(" ".join(page.description.split()))
        .tags(list(page.tags))
        .editable()
        .refresh("30s")
        .time(page.since, "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .annotation(_roll_outs())
        .link(
            DashboardLink("Heavylift")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .include_vars(True)
            .keep_time(True)
        )
        .link(
            DashboardLink("Runbooks")
            .type(DashboardLinkType.LINK)
            .icon("doc")
            .tooltip("What each alert means, and what to do")
            .url("${runbooks}")
            .target_blank(True)
        )
        .with_variable(
            DatasourceVariable("datasource")
            .label("Data source")
            .type("prometheus")
            .current(VariableOption(text="default", value="default"))
        )
    )
    for variable in (*VARIABLES, *page.variables):
        unused = variable.name in {"pool", "kind"} - page.uses
        shell.with_variable(_variable(variable, hidden=unused))
    return shell.with_variable(ConstantVariable("runbooks").label("Runbooks").value(RUNBOOKS))


def plain(built: Any) -> Any:
    """Removes the `placement` that this version of the SDK gives links and annotations.

    It would hide them in a menu.
    """
    if isinstance(built, dict):
        return {
            key: plain(value)
            for key, value in built.items()
            if (key, value) != ("placement", "inControlsMenu")
        }
    return [plain(one) for one in built] if isinstance(built, list) else built


def text(page: Page) -> str:
    """The dashboard's JSON, as Grafana's provisioning and its sidecar read it."""
    shell = _shell(page)
    for section in page.sections:
        shell.with_row(Row(section.title))
        for panel in section.panels:
            shell.with_panel(panel)
    built = plain(json.loads(JSONEncoder().encode(shell.build())))
    for number, panel in enumerate(built["panels"], start=1):
        panel["id"] = number
    return json.dumps(built, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
