"""The chart, rendered by the real Helm."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "heavylift"
PRODUCTION = CHART / "values-production.yaml"

Manifest = dict[str, Any]


class Refused(Exception):
    """Helm's own words."""


@cache
def program(name: str) -> str:
    """`HELM3=/path/to/helm` and the like say which one."""
    found = os.environ.get(name.upper().replace("-", "_")) or shutil.which(name)
    assert found is not None, f"{name} is not on the PATH: `.ci/run` installs it"
    return found


def template(
    *files: Path,
    values: Mapping[str, Any] | None = None,
    helm: str = "helm",
    kubernetes: str = "1.34.0",
    name: str = "heavylift",
) -> str:
    """What `helm template` prints. Raises `Refused`."""
    command = [program(helm), "template", name, str(CHART), "--kube-version", kubernetes]
    for file in files:
        command += ["--values", str(file)]
    ran = subprocess.run(
        [*command, "--namespace", "apps", "--values", "-"],
        input=json.dumps(values or {}),
        capture_output=True,
        text=True,
    )
    if ran.returncode:
        raise Refused(ran.stderr)
    return ran.stdout


def render(*files: Path, values: Mapping[str, Any] | None = None, **how: str) -> list[Manifest]:
    # As `safe_load_all` does, but in C: dashboards are long.
    documents = yaml.load_all(template(*files, values=values, **how), Loader=yaml.CSafeLoader)
    return [document for document in documents if document]


def by_name(manifests: list[Manifest]) -> dict[str, Manifest]:
    """By kind and name: `Deployment/heavylift-api`."""
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in manifests}


def pod_of(manifest: Manifest) -> Manifest | None:
    """The pod that it is, or makes."""
    if manifest["kind"] == "Pod":
        return manifest
    template = manifest.get("spec", {}).get("template")
    return template if isinstance(template, dict) and "spec" in template else None


def container(manifest: Manifest) -> Manifest:
    pod = pod_of(manifest)
    assert pod is not None
    (one,) = pod["spec"]["containers"]
    found: Manifest = one
    return found


def env(manifest: Manifest) -> dict[str, str]:
    return {one["name"]: one.get("value", "") for one in container(manifest).get("env", [])}
