"""The chart renders dashboards and rules from the generated files, as values say."""

import json
import re
import subprocess
from base64 import b64encode
from collections.abc import Mapping
from gzip import compress
from typing import Any

import pytest
import yaml

from monitoring.thresholds import filled
from tests.chart.rendering import CHART, Manifest, Refused, by_name, program, render
from tests.chart.schemas import validate
from tests.chart.value_sets import without_random

pytestmark = pytest.mark.chart

DASHBOARDS = {path.stem: path for path in (CHART / "monitoring" / "dashboards").glob("*.json")}
NAMES = {f"heavylift-dashboard-{name}" for name in DASHBOARDS}
RULES = CHART / "monitoring" / "rules.yaml"

# A ConfigMap's and a Secret's data, in bytes: `MaxSecretSize` of Kubernetes.
OBJECT_BYTES = 1 << 20
# All annotations of an object, one of which holds the whole of it after `kubectl apply`.
ANNOTATIONS_BYTES = 1 << 18

EVERYTHING: dict[str, Any] = {
    "dashboards": {"enabled": True, "grafanaOperator": {"enabled": True}},
    "operator": {"enabled": True},
    "rules": {"enabled": True, "configMap": True},
}


def rendered(monitoring: Mapping[str, Any], **how: str) -> dict[str, Manifest]:
    """All manifests of the chart, by kind and name."""
    return by_name(render(values=without_random({"monitoring": monitoring}), **how))


def of_dashboards(**values: Any) -> dict[str, Manifest]:
    found = rendered({"dashboards": {"enabled": True, **values}})
    return {name: one for name, one in found.items() if "-dashboard-" in name}


def of_operator(**values: Any) -> dict[str, Manifest]:
    found = of_dashboards(enabled=False, grafanaOperator={"enabled": True, **values})
    return {name: one for name, one in found.items() if one["kind"] == "GrafanaDashboard"}


# --- on and off ---------------------------------------------------------------------------------


def test_the_defaults_render_no_dashboards_and_no_rules() -> None:
    found = rendered({})
    assert not [name for name in found if "dashboard" in name or "rules" in name.lower()]
    assert not {"GrafanaDashboard", "PrometheusRule"} & {one["kind"] for one in found.values()}


@pytest.mark.parametrize(
    ("monitoring", "new"),
    [
        ({"dashboards": {"enabled": True}}, {f"ConfigMap/{name}" for name in NAMES}),
        (
            {"dashboards": {"grafanaOperator": {"enabled": True}}},
            {f"{kind}/{name}" for kind in ("ConfigMap", "GrafanaDashboard") for name in NAMES},
        ),
        ({"rules": {"enabled": True}}, {"PrometheusRule/heavylift"}),
        ({"rules": {"configMap": True}}, {"ConfigMap/heavylift-rules"}),
    ],
    ids=["dashboards", "grafana-operator", "rules", "rules file"],
)
def test_a_switch_adds_its_objects_and_changes_nothing_else(
    monitoring: dict[str, Any], new: set[str]
) -> None:
    before, after = rendered({}), rendered(monitoring)
    assert after.keys() - before.keys() == new
    assert {name: after[name] for name in before} == before
    for name in new:
        validate(after[name])


# --- dashboards ---------------------------------------------------------------------------------


def test_config_maps_hold_the_committed_dashboards() -> None:
    assert len(DASHBOARDS) == 6
    for name, path in DASHBOARDS.items():
        (held,) = of_dashboards()[f"ConfigMap/heavylift-dashboard-{name}"]["data"].items()
        # Also Grafana's own variables, such as ${datasource}.
        assert held == (path.name, path.read_text().rstrip("\n"))
        assert "${datasource}" in held[1]
        assert json.loads(held[1])["uid"] == f"heavylift-{name}"


def test_the_sidecar_finds_config_maps_by_label_and_folder() -> None:
    def seen(**values: Any) -> tuple[Mapping[str, str], Mapping[str, str]]:
        found = of_dashboards(**values)
        assert found.keys() == {f"ConfigMap/{name}" for name in NAMES}
        (labels,) = {json.dumps(one["metadata"]["labels"]) for one in found.values()}
        (annotations,) = {
            json.dumps(one["metadata"].get("annotations", {})) for one in found.values()
        }
        for one in found.values():
            validate(one)
        own = {
            key: value
            for key, value in json.loads(labels).items()
            if not key.startswith(("app.kubernetes.io/", "helm.sh/"))
        }
        return own, json.loads(annotations)

    folder = {"grafana_folder": "Heavylift"}
    assert seen() == ({"grafana_dashboard": "1"}, folder)
    assert seen(label="example.com/grafana") == ({"example.com/grafana": "1"}, folder)
    assert seen(labelValue="true") == ({"grafana_dashboard": "true"}, folder)
    assert seen(labelValue="") == ({"grafana_dashboard": ""}, folder)
    assert seen(folder="On call: jobs")[1] == {"grafana_folder": "On call: jobs"}
    assert seen(folderAnnotation="k8s-sidecar/folder")[1] == {"k8s-sidecar/folder": "Heavylift"}
    assert seen(folderAnnotation="")[1] == {}


def test_grafana_operator_gets_a_dashboard_for_each_config_map() -> None:
    maps = of_dashboards(enabled=False, grafanaOperator={"enabled": True})
    for name, one in of_operator().items():
        reference = one["spec"]["configMapRef"]
        held = maps[f"ConfigMap/{reference['name']}"]
        assert reference["key"] in held["data"]
        # It is for the operator alone: a sidecar would load each dashboard once more.
        assert "grafana_dashboard" not in held["metadata"]["labels"]
        assert "annotations" not in held["metadata"]
        assert name == f"GrafanaDashboard/{reference['name']}"
    assert len(of_operator()) == len(DASHBOARDS)


@pytest.mark.parametrize(
    ("values", "changed"),
    [
        (
            {"instanceSelector": {"matchLabels": {"dashboards": "team"}}},
            {"instanceSelector": {"matchLabels": {"dashboards": "team"}}},
        ),
        (
            {
                "instanceSelector": {
                    "matchLabels": None,
                    "matchExpressions": [{"key": "grafana", "operator": "Exists"}],
                }
            },
            {
                "instanceSelector": {
                    "matchExpressions": [{"key": "grafana", "operator": "Exists"}],
                }
            },
        ),
        ({"instanceSelector": {"matchLabels": None}}, {"instanceSelector": {}}),
        ({"allowCrossNamespaceImport": True}, {"allowCrossNamespaceImport": True}),
    ],
)
def test_grafana_operator_selects_as_values_say(
    values: dict[str, Any], changed: dict[str, Any]
) -> None:
    before, after = of_operator(), of_operator(**values)
    for name, one in after.items():
        validate(one)
        assert one["spec"] == {**before[name]["spec"], **changed}


def test_the_folder_is_the_same_for_grafana_operator() -> None:
    found = of_dashboards(folder="Jobs", grafanaOperator={"enabled": True})
    folders = {one["spec"]["folder"] for one in found.values() if one["kind"] == "GrafanaDashboard"}
    assert folders == {"Jobs"}


# --- rules --------------------------------------------------------------------------------------


def test_the_prometheus_rule_and_the_rules_file_have_the_committed_rules() -> None:
    committed = yaml.safe_load(filled(RULES.read_text()))
    found = rendered(EVERYTHING)
    assert found["PrometheusRule/heavylift"]["spec"] == committed
    text = found["ConfigMap/heavylift-rules"]["data"]["heavylift.yaml"]
    assert yaml.safe_load(text) == committed


def test_labels_of_the_rules_are_those_of_the_values() -> None:
    labels = {"release": "prometheus", "team": "platform"}
    one = rendered({"rules": {"enabled": True, "labels": labels}})["PrometheusRule/heavylift"]
    validate(one)
    plain = rendered({"rules": {"enabled": True}})["PrometheusRule/heavylift"]
    assert one["metadata"]["labels"] == {**plain["metadata"]["labels"], **labels}
    assert one["spec"] == plain["spec"]


def test_labels_and_interval_of_the_monitors_are_those_of_the_values() -> None:
    operator = {"enabled": True, "labels": {"release": "prometheus"}, "interval": "7s"}
    found = rendered({"operator": operator})
    monitor, pods = found["ServiceMonitor/heavylift-controller"], found["PodMonitor/heavylift"]
    for one, endpoints in ((monitor, "endpoints"), (pods, "podMetricsEndpoints")):
        validate(one)
        assert one["metadata"]["labels"]["release"] == "prometheus"
        assert {endpoint["interval"] for endpoint in one["spec"][endpoints]} == {"7s"}


@pytest.mark.parametrize(
    ("dashboards", "said"),
    [
        ({"label": "grafana dashboard"}, "/monitoring/dashboards/label'"),
        ({"label": ""}, "/monitoring/dashboards/label'"),
        ({"label": None}, "/monitoring/dashboards': missing property 'label'"),
        ({"labelValue": "a b"}, "/monitoring/dashboards/labelValue'"),
        ({"labelValue": 1}, "/monitoring/dashboards/labelValue': got number, want string"),
        ({"folder": ""}, "/monitoring/dashboards/folder'"),
        ({"folderAnnotation": "a b"}, "/monitoring/dashboards/folderAnnotation'"),
        (
            {"grafanaOperator": {"instanceSelector": {"dashboards": "grafana"}}},
            "/monitoring/dashboards/grafanaOperator/instanceSelector'",
        ),
    ],
)
def test_a_value_that_the_api_server_would_refuse_is_refused(
    dashboards: dict[str, Any], said: str
) -> None:
    with pytest.raises(Refused) as refused:
        of_dashboards(**dashboards)
    assert f"at '{said}" in str(refused.value)


# --- names and sizes ----------------------------------------------------------------------------


def of_monitoring(**how: Any) -> dict[str, Manifest]:
    values = without_random({"monitoring": EVERYTHING, **how.pop("values", {})})
    kinds = {"GrafanaDashboard", "PodMonitor", "PrometheusRule", "ServiceMonitor"}
    return {
        name: one
        for name, one in by_name(render(values=values, **how)).items()
        if one["kind"] in kinds
        or one["metadata"]["labels"]["app.kubernetes.io/component"] in ("dashboard", "rules")
    }


def test_names_begin_with_the_releases_and_two_releases_share_none() -> None:
    plain, other = of_monitoring(name="jobs"), of_monitoring(name="heavylift-two")
    overridden = of_monitoring(values={"fullnameOverride": "queue"}, name="jobs")
    assert len(plain) == len(other) == len(overridden) == 2 * len(DASHBOARDS) + 4
    for prefix, found in (
        ("jobs-heavylift", plain),
        ("heavylift-two", other),
        ("queue", overridden),
    ):
        for one in found.values():
            assert re.fullmatch(rf"{prefix}(-.+)?", one["metadata"]["name"])
    assert not plain.keys() & other.keys()


def test_each_object_is_small_enough_to_be_stored_and_applied() -> None:
    for one in of_monitoring().values():
        written = json.dumps(one)
        assert len(written) < OBJECT_BYTES
        assert len(json.dumps(written)) < ANNOTATIONS_BYTES, one["metadata"]["name"]


def test_the_release_fits_into_the_secret_that_helm_stores_it_in() -> None:
    """As Helm writes it: base64 of the gzipped JSON of chart and manifests."""
    command = [program("helm"), "install", "heavylift", str(CHART), "--dry-run=client"]
    ran = subprocess.run(
        [*command, "--output", "json", "--values", "-"],
        input=json.dumps({"monitoring": EVERYTHING}),
        capture_output=True,
        text=True,
        check=True,
    )
    release = json.loads(ran.stdout)
    # Nothing of it is missing from what is measured.
    files = {file["name"] for file in release["chart"]["files"]}
    assert {f"monitoring/dashboards/{path.name}" for path in DASHBOARDS.values()} <= files
    assert "kind: PrometheusRule" in release["manifest"]
    stored = b64encode(compress(json.dumps(release, separators=(",", ":")).encode(), 9))
    assert len(stored) < OBJECT_BYTES / 2, "half is left to the values and what is added later"
