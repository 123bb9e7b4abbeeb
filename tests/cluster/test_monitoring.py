"""The API server accepts dashboards, rules and monitors as the chart renders them."""

import json
from base64 import b64decode

import yaml

from monitoring.thresholds import filled
from tests.chart.rendering import CHART
from tests.cluster.release import Release
from tests.cluster.table import Table

FOLDER = CHART / "monitoring"

# `MaxSecretSize` of Kubernetes: Helm stores the release in one Secret.
SECRET_BYTES = 1 << 20


def test_the_sidecar_selects_a_config_map_for_each_dashboard(
    release: Release, table: Table
) -> None:
    with table.row("dashboards, as Grafana's sidecar selects them") as row:
        found = release.get("configmaps", "--selector", "grafana_dashboard=1")["items"]
        held = {file: text for one in found for file, text in one["data"].items()}
        committed = {
            path.name: path.read_text().rstrip("\n") for path in FOLDER.glob("dashboards/*.json")
        }
        assert held == committed
        folders = {one["metadata"]["annotations"]["grafana_folder"] for one in found}
        assert folders == {"Heavylift"}
        row.saw(f"{len(held)} ConfigMaps, {sum(map(len, held.values())):,} bytes")


def test_each_grafana_dashboard_refers_to_a_config_map_that_exists(release: Release) -> None:
    found = release.get("grafanadashboards.grafana.integreatly.org")["items"]
    maps = {one["metadata"]["name"]: one["data"] for one in release.get("configmaps")["items"]}
    references = [one["spec"]["configMapRef"] for one in found]
    assert len(references) == len(list(FOLDER.glob("dashboards/*.json")))
    for one in references:
        assert json.loads(maps[one["name"]][one["key"]])["uid"]


def test_the_prometheus_rule_has_all_rules(release: Release, table: Table) -> None:
    with table.row("rules, as the operator and a rules file have them") as row:
        committed = yaml.safe_load(filled((FOLDER / "rules.yaml").read_text()))
        stored = release.get("prometheusrule", release.name)["spec"]
        # The API server drops whatever its schema does not know.
        assert stored == committed
        file = release.get("configmap", f"{release.name}-rules")["data"]["heavylift.yaml"]
        assert yaml.safe_load(file) == committed
        row.saw(f"{sum(len(group['rules']) for group in stored['groups'])} rules")


def test_monitors_select_the_pods_that_run(release: Release) -> None:
    pods = release.get("pods", "--selector", f"app.kubernetes.io/instance={release.name}")["items"]
    (expression,) = release.get("podmonitor", release.name)["spec"]["selector"]["matchExpressions"]
    running = {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in pods}
    assert {"api", "worker-io"} <= running & {*expression["values"]}
    labels = release.get("servicemonitor", f"{release.name}-controller")["spec"]["selector"]
    selector = ",".join(f"{key}={value}" for key, value in labels["matchLabels"].items())
    (service,) = release.get("services", "--selector", selector)["items"]
    assert "signals" in {port["name"] for port in service["spec"]["ports"]}


def test_the_release_fits_into_helms_secret(release: Release, table: Table) -> None:
    with table.row("Helm's Secret of the release, with all dashboards and rules") as row:
        secrets = release.get("secrets", "--selector", f"owner=helm,name={release.name}")["items"]
        size = max(len(b64decode(one["data"]["release"])) for one in secrets)
        row.saw(f"{size:,} bytes of {SECRET_BYTES:,}")
        assert size < SECRET_BYTES / 2
