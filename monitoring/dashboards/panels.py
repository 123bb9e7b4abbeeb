"""The kinds of panels that the dashboards use, with the settings that they share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from grafana_foundation_sdk.builders import prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.common import (
    GraphThresholdsStyleConfig,
    ReduceDataOptions,
    ScaleDistributionConfig,
    StackingConfig,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.dashboard import DashboardLink, FieldColor, ThresholdsConfig
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    DataSourceRef,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    ScaleDistribution,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardSpecialValueMapOptions,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    SpecialValueMap,
    SpecialValueMatch,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat, QueryEditorMode

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")

SECONDS, PERCENT, BYTES, COUNT = "s", "percentunit", "bytes", "short"
DAYS = "suffix:days"
REQUESTS_PER_SECOND = "reqps"
JOBS_PER_SECOND = "suffix:jobs/s"
PER_SECOND = "suffix:/s"

# The height of graphs and tables: a legend takes a third of it, and shows three series then.
HEIGHT = 9

# Graphs of this width have their legend beside them, where it shows more series.
WIDE = 12

# The least upper end of an axis: else Grafana draws a graph of zeros against 100.
LEAST_SCALE = {
    COUNT: 1,
    PERCENT: 0.01,
    SECONDS: 0.01,
    REQUESTS_PER_SECOND: 0.1,
    JOBS_PER_SECOND: 0.1,
    PER_SECOND: 0.1,
}

# Colors by the value at which each begins; None is minus infinity.
Steps = Sequence[tuple[float | None, str]]

NEUTRAL: Steps = ((None, "blue"),)

# Red as soon as the value is above zero.
NONE_IS_GOOD: Steps = ((None, "green"), (1e-9, "red"))


def rising(yellow: float, red: float) -> Steps:
    return (None, "green"), (yellow, "yellow"), (red, "red")


def falling(yellow: float, red: float) -> Steps:
    """Green from `yellow` on, yellow below it, red below `red`."""
    return (None, "red"), (red, "yellow"), (yellow, "green")


@dataclass(frozen=True, slots=True)
class Query:
    expression: str
    legend: str = ""
    exemplars: bool = False
    # A limit, target or objective: a dashed red line.
    limit: bool = False
    # A count with an axis of its own.
    right: bool = False


Link = DashboardLink

KEPT = "${__url_time_range}&${datasource:queryparam}&${namespace:queryparam}&${release:queryparam}"
CHOSEN = "&${pool:queryparam}&${kind:queryparam}"


def more(uid: str, title: str) -> Link:
    """A panel's link to another dashboard, with the same time and variables."""
    return DashboardLink(title).url(f"/d/{uid}?{KEPT}{CHOSEN}")


def of_series(uid: str, title: str, label: str) -> Link:
    """A link of each series to a dashboard, with the variable `label` set to the series' value."""
    return DashboardLink(title).url(f"/d/{uid}?{KEPT}&var-{label}=${{__field.labels.{label}}}")


Built = timeseries.Panel | stat.Panel | table.Panel
AnyPanel = TypeVar("AnyPanel", timeseries.Panel, stat.Panel, table.Panel)


def of_cell(uid: str, title: str, variable: str) -> Link:
    """A link of a table's cells to a dashboard, with `variable` set to the value of the cell."""
    return DashboardLink(title).url(f"/d/{uid}?{KEPT}&var-{variable}=${{__value.raw}}")


def _thresholds(steps: Steps) -> ThresholdsConfig:
    return (
        ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps([Threshold(*step) for step in steps])
    )


def _properties(values: Mapping[str, object]) -> list[DynamicConfigValue]:
    return [DynamicConfigValue(name, value) for name, value in values.items()]


def _steps(steps: Steps) -> dict[str, object]:
    """The form that overrides want."""
    return {"mode": "absolute", "steps": [{"value": n, "color": color} for n, color in steps]}


def _common(
    panel: AnyPanel,
    title: str,
    description: str,
    unit: str,
    size: tuple[int, int],
    links: Sequence[Link],
) -> AnyPanel:
    width, height = size
    series = isinstance(panel, timeseries.Panel)
    colors = FieldColorModeId.PALETTE_CLASSIC if series else FieldColorModeId.THRESHOLDS
    return (
        panel.title(title)
        .description(" ".join(description.split()))
        .datasource(SOURCE)
        .span(width)
        .height(height)
        .unit(unit)
        .color_scheme(FieldColor().mode(colors))
        .links(list(links))
    )


def _target(query: Query, ref: str) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .ref_id(ref)
        .datasource(SOURCE)
        .editor_mode(QueryEditorMode.CODE)
        .expr(query.expression)
        .legend_format(query.legend)
    )


def _refs(queries: Sequence[Query]) -> list[tuple[Query, str]]:
    return [(query, chr(ord("A") + n)) for n, query in enumerate(queries)]


DASHED = _properties(
    {
        "custom.lineStyle": {"fill": "dash", "dash": [8, 6]},
        "custom.fillOpacity": 0,
        "custom.showPoints": "never",
        "custom.stacking": {"mode": "none", "group": "A"},
        "color": {"mode": "fixed", "fixedColor": "red"},
    }
)

RIGHT = _properties({"custom.axisPlacement": "right", "custom.fillOpacity": 0, "unit": COUNT})


def _scale(panel: timeseries.Panel, unit: str, lowest: float | None, highest: float | None) -> None:
    if lowest is not None:
        panel.min(lowest)
    if highest is not None:
        panel.max(highest)
    if unit in LEAST_SCALE:
        panel.axis_soft_max(LEAST_SCALE[unit])


def graph(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    width: int = 8,
    height: int = HEIGHT,
    stacked: bool = False,
    lowest: float | None = 0,
    highest: float | None = None,
    lines: Steps = (),
    repeat: str | None = None,
    most_in_row: int = 3,
    logarithmic: bool = False,
    links: Sequence[Link] = (),
    data_links: Sequence[Link] = (),
) -> timeseries.Panel:
    """A graph over time, with dashed `lines` at fixed values.

    A repeated one takes the width of the page for `most_in_row` of them. A logarithmic one shows
    times and a limit far above them.
    """
    wide = width // (most_in_row if repeat else 1) >= WIDE
    panel = (
        _common(timeseries.Panel(), title, description, unit, (width, height), links)
        .line_width(1)
        .fill_opacity(40 if stacked else 8)
        .legend(
            VizLegendOptions()
            .show_legend(True)
            .display_mode(LegendDisplayMode.TABLE)
            .placement(LegendPlacement.RIGHT if wide else LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
        .data_links(list(data_links))
    )
    if stacked:
        panel.stacking(StackingConfig().mode(StackingMode.NORMAL).group("A"))
    if logarithmic:
        panel.scale_distribution(ScaleDistributionConfig().type(ScaleDistribution.LOG).log(10))
    else:
        _scale(panel, unit, lowest, highest)
    if lines:
        panel.thresholds(_thresholds(lines)).thresholds_style(
            GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
        )
    if repeat is not None:
        panel.repeat(repeat).repeat_direction("h").max_per_row(most_in_row)
    for query, ref in _refs(queries):
        panel.with_target(_target(query, ref).range().exemplar(query.exemplars))
        if query.limit:
            panel.override_by_query(ref, DASHED)
        if query.right:
            panel.override_by_query(ref, RIGHT)
    return panel


def _words(words: Mapping[str, tuple[str, str]]) -> list[ValueMap]:
    options = {
        number: ValueMappingResult(text=text, color=color, index=n)
        for n, (number, (text, color)) in enumerate(words.items())
    }
    return [ValueMap(options)] if options else []


def _nothing(text: str) -> SpecialValueMap:
    """Without it, a value that is missing has the color of the lowest threshold: often red."""
    result = ValueMappingResult(text=text, color="blue")
    return SpecialValueMap(DashboardSpecialValueMapOptions(SpecialValueMatch.NULL_AND_NAN, result))


def value(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    steps: Steps,
    width: int = 4,
    height: int = 4,
    decimals: int | None = None,
    empty: str = "No data",
    words: Mapping[str, tuple[str, str]] | None = None,
    other_steps: Mapping[str, Steps] | None = None,
    links: Sequence[Link] = (),
) -> stat.Panel:
    """The current value, by an instant query: a series that has ended does not show its last value.

    `words` replaces values by texts and colors; `other_steps` are the steps of single series.
    """
    named = len(queries) > 1 or any("{{" in query.legend for query in queries)
    panel = (
        _common(stat.Panel(), title, description, unit, (width, height), links)
        .color_mode(BigValueColorMode.BACKGROUND)
        .graph_mode(BigValueGraphMode.NONE)
        .text_mode(BigValueTextMode.VALUE_AND_NAME if named else BigValueTextMode.VALUE)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
        .thresholds(_thresholds(steps))
        .no_value(empty)
    )
    if decimals is not None:
        panel.decimals(decimals)
    panel.mappings([*_words(words or {}), _nothing(empty)])
    for name, its in (other_steps or {}).items():
        panel.override_by_name(name, _properties({"thresholds": _steps(its)}))
    for query, ref in _refs(queries):
        panel.with_target(_target(query, ref).instant())
    return panel


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    expression: str
    unit: str
    steps: Steps = ()


def rows(
    title: str,
    description: str,
    labels: Mapping[str, str],
    *columns: Column,
    width: int = 24,
    height: int = HEIGHT,
    links: Sequence[Link] = (),
    cell_links: Mapping[str, Link] | None = None,
) -> table.Panel:
    """A table with a row for each set of labels and a column for each of two or more expressions.

    `labels` maps labels to the titles of their columns. Rows are sorted by the last column, highest
    first.
    """
    panel = _common(table.Panel(), title, description, columns[0].unit, (width, height), links)
    panel.show_header(True)
    renamed = dict(labels)
    queries = [Query(column.expression) for column in columns]
    for column, (query, ref) in zip(columns, _refs(queries), strict=True):
        panel.with_target(_target(query, ref).instant().format(PromQueryFormat.TABLE))
        renamed[f"Value #{ref}"] = column.title
        properties: dict[str, object] = {"unit": column.unit}
        if column.steps:
            properties["thresholds"] = _steps(column.steps)
            properties["custom.cellOptions"] = {"type": "color-text"}
        panel.override_by_name(column.title, _properties(properties))
    for name, link in (cell_links or {}).items():
        built = link.build()
        panel.override_by_name(
            name, _properties({"links": [{"title": built.title, "url": built.url}]})
        )
    order = {name: n for n, name in enumerate(renamed)}
    panel.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(
        DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": {"Time": True},
                "indexByName": order,
                "renameByName": renamed,
            },
        )
    )
    panel.with_transformation(
        DataTransformerConfig(
            id_val="sortBy",
            options={"fields": {}, "sort": [{"field": columns[-1].title, "desc": True}]},
        )
    )
    return panel
