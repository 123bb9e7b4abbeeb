"""What `make manifests` renders is what there is, and the overlays build on it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from tests.chart.rendering import CHART, ROOT, Manifest, by_name, env, pod_of, program
from tests.chart.schemas import validate

pytestmark = pytest.mark.chart

# Rendered, of what is in k8s/.
RENDERED = {
    "base/heavylift.yaml",
    "components/bundled/servers.yaml",
    "components/keda/scaledobjects.yaml",
    "components/monitoring/monitors.yaml",
    "components/monitoring/rules.yaml",
    "components/monitoring/dashboards.yaml",
    "smoke/smoke.yaml",
}


def test_they_are_what_the_chart_renders(tmp_path: Path) -> None:
    """`make manifests` after each change of the chart."""
    path = f"{Path(program('helm')).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        [ROOT / "k8s" / "render", tmp_path], env={**os.environ, "PATH": path}, check=True
    )
    rendered = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.yaml")}
    assert rendered == RENDERED
    for name in rendered:
        assert (tmp_path / name).read_text() == (ROOT / "k8s" / name).read_text(), name


def test_the_readme_has_the_table_of_the_values() -> None:
    command = [program("helm-docs"), "--log-level", "error", "--dry-run"]
    command += ["--chart-search-root", "helm", "--sort-values-order", "file"]
    made = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert made.strip() == (CHART / "README.md").read_text().strip()
    assert "| workerDefaults.terminationGracePeriodSeconds | int |" in made


def build(folder: str | Path) -> list[Manifest]:
    built = subprocess.run(
        [program("kustomize"), "build", ROOT / "k8s" / folder], check=True, capture_output=True
    )
    return list(yaml.safe_load_all(built.stdout))


def secrets_of(manifest: Manifest) -> Iterator[str]:
    """That its pods do not start without."""
    pod = pod_of(manifest)
    if pod is None:
        return
    for volume in pod["spec"].get("volumes", []):
        for source in (volume, *volume.get("projected", {}).get("sources", [])):
            if "secret" in source:
                yield source["secret"].get("secretName") or source["secret"]["name"]
    for container in pod["spec"]["containers"]:
        for variable in container.get("env", []):
            if "secretKeyRef" in variable.get("valueFrom", {}):
                yield variable["valueFrom"]["secretKeyRef"]["name"]
        for source in container.get("envFrom", []):
            yield source["secretRef"]["name"]


@pytest.mark.parametrize("folder", ["overlays/dev", "overlays/production", "smoke"])
def test_what_is_applied_is_valid(folder: str) -> None:
    manifests = build(folder)
    for manifest in manifests:
        validate(manifest)
        assert manifest["kind"] == "Namespace" or manifest["metadata"]["namespace"] == "heavylift"


def test_for_a_laptop_nothing_is_missing() -> None:
    manifests = build("overlays/dev")
    there = {one["metadata"]["name"] for one in manifests if one["kind"] == "Secret"}
    assert {name for manifest in manifests for name in secrets_of(manifest)} == there
    assert {one["metadata"]["name"] for one in manifests if one["kind"] == "StatefulSet"} == {
        "heavylift-postgresql",
        "heavylift-redis",
        "heavylift-s3",
    }


def test_for_production_only_the_secrets_are() -> None:
    manifests = build("overlays/production")
    found = by_name(manifests)
    asked_for = {name for manifest in manifests for name in secrets_of(manifest)}
    said = (ROOT / "k8s" / "overlays" / "production" / "kustomization.yaml").read_text()
    assert asked_for == {f"heavylift-{one}" for one in ("auth", "database", "broker", "storage")}
    assert all(name in said for name in asked_for)
    assert not any(one["kind"] in ("Secret", "StatefulSet") for one in manifests)
    for pool in ("cpu", "io"):
        assert "replicas" not in found[f"Deployment/heavylift-worker-{pool}"]["spec"]
        assert f"ScaledObject/heavylift-worker-{pool}" in found
    assert found["Deployment/heavylift-api"]["spec"]["replicas"] == 3
    (rule,) = found["Ingress/heavylift"]["spec"]["rules"]
    assert rule["host"] == "heavylift.example.com"
    assert "ServiceMonitor/heavylift-controller" in found
    assert env(found["Deployment/heavylift-api"])["HEAVYLIFT_API_FORWARDED_ALLOW_IPS"] == "*"
    proxies, ours = found["NetworkPolicy/heavylift-api"]["spec"]["ingress"][0]["from"]
    assert "namespaceSelector" in proxies
    assert "podSelector" in ours


def test_keda_asks_in_the_namespace_that_an_overlay_names(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "k8s", tmp_path / "k8s")
    overlay = tmp_path / "k8s" / "overlays" / "production" / "kustomization.yaml"
    said = overlay.read_text()
    overlay.write_text(said.replace("namespace: heavylift\n", "namespace: elsewhere\n"))
    for scaled in (one for one in build(overlay.parent) if one["kind"] == "ScaledObject"):
        (trigger,) = scaled["spec"]["triggers"]
        host = urlsplit(trigger["metadata"]["url"]).hostname
        assert host == "heavylift-controller.elsewhere.svc"
