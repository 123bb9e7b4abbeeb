"""Custom resources that the chart creates and no test needs an operator for."""

import json
from typing import Any

from tests.chart.schemas import HERE
from tests.cluster.commands import apply, kubectl

# By kind: its group and version. KEDA's are not here, since KEDA itself scales the pools.
MONITORING = {
    "GrafanaDashboard": ("grafana.integreatly.org", "v1beta1"),
    "PodMonitor": ("monitoring.coreos.com", "v1"),
    "PrometheusRule": ("monitoring.coreos.com", "v1"),
    "ServiceMonitor": ("monitoring.coreos.com", "v1"),
}


def definition(kind: str) -> dict[str, Any]:
    """The CustomResourceDefinition of the operator's own schema, which also validates manifests."""
    group, version = MONITORING[kind]
    schema = json.loads((HERE / f"{kind}.json").read_text())
    del schema["$comment"]
    plural = f"{kind.lower()}s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def install_missing() -> list[str]:
    """Creates the definitions that the cluster does not have. Returns their names."""
    created = []
    for one in map(definition, MONITORING):
        name = f"customresourcedefinition/{one['metadata']['name']}"
        if not kubectl("get", name, "--ignore-not-found", "--output", "name"):
            apply(one)
            kubectl("wait", "--for=condition=Established", name, "--timeout=60s")
            created.append(name)
    return created


def remove(names: list[str]) -> None:
    if names:
        kubectl("delete", "--ignore-not-found", *names)
