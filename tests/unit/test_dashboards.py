"""Tests of the committed Grafana dashboards: their panels, queries, variables and links."""

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from monitoring import __main__ as generator
from monitoring import dashboards
from monitoring.dashboards import frame
from monitoring.dashboards.queries import LEDGER
from tests import exported
from tests.observe.queries import metric_names

FILES = dashboards.files()
DASHBOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(text) for path, text in FILES.items()
}
IN_CODE = exported.series()
LOAD_TEST = exported.load_test()

# Recorded or made by the rules.
RULES = {
    "ALERTS": {"alertstate", "severity"},
    "heavylift:slo_error_budget:remaining30d": {"slo"},
    "heavylift:slo_objective:ratio": {"slo"},
} | {
    f"heavylift:slo_errors:ratio_rate{window}": {"slo"}
    for window in ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
}

# Added by the scrape.
SCRAPED = {"namespace", "release", "instance"}

# Not on any dashboard: sums and counts of histograms, and most metrics of the Python client.
UNSHOWN = re.compile(r".*_seconds_(sum|count)|python_.*|process_.*")

RELEASE = 'namespace="$namespace", release="$release"'

SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)(?:=~|!~|!=|=)"(?:[^"\\]|\\.)*"')
GROUPING = re.compile(r"\b(?:by|on) \(([^)]*)\)")
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
LONGER = re.compile(r"[.!?] +[A-Z0-9`]")

# Durations in the place of Grafana's variables: any will do for the parser.
VALUES = {"__rate_interval": "1m", "__range": "1h"}


@dataclass(frozen=True)
class Expression:
    dashboard: str
    panel: str
    text: str

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.panel}: {self.text}"


def panels(name: str) -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARDS[name]["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[Expression]:
    for name, dashboard in DASHBOARDS.items():
        for panel in panels(name):
            for target in panel["targets"]:
                yield Expression(name, panel["title"], target["expr"])
        for annotation in dashboard["annotations"]["list"]:
            yield Expression(name, annotation["name"], annotation["expr"])
            yield Expression(name, annotation["name"], annotation["target"]["expr"])


def selectors(text: str) -> list[tuple[str, str]]:
    """Metrics and their matchers; braces within strings are hidden from the pattern."""
    hidden = STRING.sub(lambda found: found[0].replace("{", "<").replace("}", ">"), text)
    return [(found[1], found[2]) for found in SELECTOR.finditer(hidden)]


def names(grouping: str) -> set[str]:
    return {label.strip() for label in grouping.split(",")} - {""}


ALL = list(expressions())


def of(name: str) -> list[Expression]:
    return [one for one in ALL if one.dashboard == name]


def test_the_committed_dashboards_are_those_that_the_generator_writes() -> None:
    for path, text in FILES.items():
        assert (generator.ROOT / path).read_text() == text, f"run `make monitoring`: {path}"
    folder = generator.ROOT / dashboards.FOLDER
    assert {path.name for path in folder.iterdir()} == {path.name for path in FILES}


def test_the_check_prints_a_diff_and_fails_until_the_files_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generator.main(["--check"], tmp_path) == 1
    assert '+  "uid": "heavylift-service"\n' in capsys.readouterr().out
    assert generator.main([], tmp_path) == 0
    assert generator.main(["--check"], tmp_path) == 0
    assert capsys.readouterr().out == ""

    left = tmp_path / dashboards.FOLDER / "older.json"
    left.write_text("{}\n")
    assert generator.main(["--check"], tmp_path) == 1
    assert "-{}" in capsys.readouterr().out
    assert generator.main([], tmp_path) == 0
    assert not left.exists()


def test_the_sdk_reads_what_it_wrote() -> None:
    for name, dashboard in DASHBOARDS.items():
        read = Dashboard.from_json(deepcopy(dashboard))
        assert frame.plain(json.loads(JSONEncoder().encode(read))) == dashboard, name


def test_there_are_six_dashboards_with_uids_and_titles_of_their_own() -> None:
    assert set(DASHBOARDS) == {"service", "api", "jobs", "pools", "ledger", "load-test"}
    for name, dashboard in DASHBOARDS.items():
        assert dashboard["uid"] == f"heavylift-{name}"
        assert dashboard["tags"] == ["heavylift"]
    assert len({dashboard["title"] for dashboard in DASHBOARDS.values()}) == 6


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_have_a_unit_a_source_a_description_and_a_title_of_their_own(name: str) -> None:
    titles = Counter(panel["title"] for panel in panels(name))
    assert max(titles.values()) == 1, titles
    for panel in panels(name):
        title = panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], title
        assert LONGER.search(panel["description"]), f"{title}: what it means, and what to do"
        assert panel["description"].endswith("."), title
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, title
        assert panel["targets"], title
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"], title


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_fill_the_width_and_do_not_overlap(name: str) -> None:
    taken: Counter[tuple[int, int]] = Counter()
    for panel in DASHBOARDS[name]["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                taken[x, y] += 1
    assert set(taken.values()) == {1}
    assert len({panel["id"] for panel in DASHBOARDS[name]["panels"]}) == len(
        DASHBOARDS[name]["panels"]
    )


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_stat_without_a_value_has_no_color_of_its_thresholds(name: str) -> None:
    for panel in DASHBOARDS[name]["panels"]:
        if panel["type"] == "stat":
            last = panel["fieldConfig"]["defaults"]["mappings"][-1]
            text = panel["fieldConfig"]["defaults"]["noValue"]
            assert last["type"] == "special"
            assert last["options"] == {
                "match": "null+nan",
                "result": {"text": text, "color": "blue"},
            }


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_first_row_has_only_stats_and_no_other_row_has_any(name: str) -> None:
    kinds = [panel["type"] for panel in DASHBOARDS[name]["panels"]]
    second = kinds.index("row", 1)
    assert kinds[0] == "row"
    assert set(kinds[1:second]) == {"stat"}
    assert "stat" not in kinds[second:]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_variables_that_queries_use_can_be_chosen_and_no_others(name: str) -> None:
    variables = {one["name"]: one for one in DASHBOARDS[name]["templating"]["list"]}
    wanted = {"datasource", "namespace", "release", "pool", "kind", "runbooks"}
    assert set(variables) >= wanted
    shown = {
        key for key, one in variables.items() if one["type"] == "query" and one.get("hide", 0) == 0
    }
    texts = [one.text for one in of(name)]
    texts += [variables[key]["query"]["query"] for key in shown]
    used = {found for text in texts for found in re.findall(r"\$(\w+)", text)} - set(VALUES)
    assert used == shown
    for key in ("pool", "kind"):
        assert variables[key]["multi"]
        assert variables[key]["includeAll"]


def test_variables_ask_for_labels_that_exist() -> None:
    for name, dashboard in DASHBOARDS.items():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] != "query":
                continue
            query = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
            assert query is not None, variable
            metric = query[1].partition("{")[0]
            assert query[2] in labels_of(metric) | SCRAPED, (name, variable["name"])


def labels_of(metric: str) -> frozenset[str]:
    known = IN_CODE.get(metric) or LOAD_TEST.get(metric) or RULES.get(metric)
    if known is None:
        assert metric in {**IN_CODE, **LOAD_TEST, **RULES}, f"there is no metric {metric}"
    return frozenset(known or ())


@pytest.mark.parametrize("name", DASHBOARDS)
def test_queries_name_series_and_labels_that_exist(name: str) -> None:
    for one in of(name):
        found = selectors(one.text)
        known: set[str] = set(SCRAPED)
        assert found, one
        for metric, matchers in found:
            labels = labels_of(metric)
            assert set(MATCHER.findall(matchers)) <= labels | SCRAPED, one
            known |= labels
        for grouping in GROUPING.findall(one.text):
            assert names(grouping) <= known, one


@pytest.mark.parametrize("name", DASHBOARDS)
def test_queries_select_by_namespace_and_release(name: str) -> None:
    for one in of(name):
        for metric, matchers in selectors(one.text):
            assert matchers.startswith(RELEASE), f"{metric} of {one}"
        assert metric_names(one.text) == {metric for metric, _ in selectors(one.text)}, one


def test_the_series_of_the_ledger_are_known_with_their_labels() -> None:
    in_code = {
        re.sub("_(bucket|sum|count)$", "", name): tuple(sorted(labels - {"le"}))
        for name, labels in exported.of_ledger().items()
    }
    assert in_code == LEDGER


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_series_of_the_ledger_are_taken_once_for_all_controllers(name: str) -> None:
    of_ledger = exported.of_ledger()
    for one in of(name):
        for found in re.finditer(r"([a-z_]+)\{", one.text):
            if found[1] in of_ledger:
                before = one.text[: found.start()]
                highest = re.search(r"max by \(([^)]*)\) \((?:rate\()?$", before)
                assert highest is not None, f"{found[1]} comes from several controllers: {one}"
                assert names(highest[1]) == of_ledger[found[1]], one


@pytest.mark.parametrize("name", DASHBOARDS)
def test_quantiles_are_of_buckets_by_their_bounds(name: str) -> None:
    for one in of(name):
        quantiles = one.text.count("histogram_quantile(")
        assert (
            len(re.findall(r"histogram_quantile\([0-9.]+, sum by \(le[,)]", one.text)) == quantiles
        )
        assert sum(metric.endswith("_bucket") for metric, _ in selectors(one.text)) == quantiles


def test_every_metric_is_on_a_dashboard() -> None:
    shown = {metric for one in ALL for metric, _ in selectors(one.text)}
    for metric in {**IN_CODE, **LOAD_TEST, **RULES}:
        if not UNSHOWN.fullmatch(metric) and not metric.startswith("heavylift:slo_errors"):
            assert metric in shown


def test_latencies_of_the_api_have_exemplars() -> None:
    for panel in panels("api"):
        if panel["type"] == "timeseries" and re.match(r"p\d\d by route|Latency", panel["title"]):
            # The percentiles of one panel have the same requests as examples: once is enough.
            assert sum(target["exemplar"] for target in panel["targets"]) == 1, panel["title"]


def test_links_lead_to_dashboards_that_exist() -> None:
    uids = {dashboard["uid"] for dashboard in DASHBOARDS.values()}
    for name, dashboard in DASHBOARDS.items():
        linked = set(re.findall(r"/d/([\w-]+)\?", json.dumps(dashboard)))
        assert linked <= uids, name
        tags = [link["tags"] for link in dashboard["links"] if link["type"] == "dashboards"]
        assert tags == [["heavylift"]]
        assert "${runbooks}" in [link.get("url") for link in dashboard["links"]]


def test_a_new_build_is_marked_on_every_dashboard() -> None:
    for dashboard in DASHBOARDS.values():
        (marked,) = dashboard["annotations"]["list"]
        assert marked["enable"]
        assert marked["expr"] == marked["target"]["expr"]


def test_prometheus_parses_every_query(tmp_path: Path) -> None:
    rules = [
        {"record": f"dashboard:query:{number}", "expr": filled(text)}
        for number, text in enumerate(dict.fromkeys(one.text for one in ALL))
    ]
    # JSON is YAML.
    file = tmp_path / "rules.yaml"
    file.write_text(json.dumps({"groups": [{"name": "dashboards", "rules": rules}]}))
    checked = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert f"SUCCESS: {len(rules)} rules found" in checked.stdout


def filled(text: str) -> str:
    return re.sub(r"\$(\w+)", lambda found: VALUES.get(found[1], found[1]), text)


BUILD = (
    'heavylift_build_info{namespace="n", release="r", component="%s", version="%s", instance="%s"}'
)


@pytest.mark.parametrize(
    ("series", "marked"),
    [
        pytest.param([("api", "1", "1x400")], {}, id="a build that stays is not marked"),
        pytest.param(
            [("api", "1", "1x202 stale"), ("api", "2", "_x199 1x200")],
            {"2": [199, 200]},
            id="a build that replaces another is marked for two minutes",
        ),
        pytest.param(
            [("worker", "1", "1x199 stale _x99 1x100"), ("api", "1", "1x400")],
            {},
            id="a pool that scales from zero with its old build is not marked",
        ),
        pytest.param(
            [("api", "1", "1x199 stale _x49 1x150"), ("api", "2", "_x198 1x60 stale")],
            {"2": [198, 199], "1": [250, 251]},
            id="a roll-back is marked too",
        ),
    ],
)
def test_roll_outs_are_marked(
    series: list[tuple[str, str, str]], marked: dict[str, list[int]], tmp_path: Path
) -> None:
    """Minutes from the start, at which an annotation appears for a version."""
    expression = filled(frame.ROLL_OUTS.replace("$namespace", "n").replace("$release", "r"))
    expected = {minute: set[str]() for minute in range(10, 400)}
    for version, minutes in marked.items():
        for minute in minutes:
            expected[minute].add(version)
    component = series[0][0]
    test = {
        "interval": "1m",
        "input_series": [
            {"series": BUILD % (name, version, f"{name}-{version}"), "values": values}
            for name, version, values in series
        ],
        "promql_expr_test": [
            {
                "expr": expression,
                "eval_time": f"{minute}m",
                "exp_samples": [
                    {"labels": f'{{component="{component}", version="{version}"}}', "value": 1}
                    for version in sorted(versions)
                ],
            }
            for minute, versions in expected.items()
        ],
    }
    file = tmp_path / "test.yaml"
    file.write_text(json.dumps({"evaluation_interval": "1m", "tests": [test]}))
    tested = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True)
    assert tested.returncode == 0, tested.stdout + tested.stderr
