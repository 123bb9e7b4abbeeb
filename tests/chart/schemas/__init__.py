"""What each Kubernetes and the custom resources take: strictly, nothing unknown."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator, Draft202012Validator
from kubernetes_validate.utils import all_versions, schema_contents
from referencing import Registry, Resource

from tests.chart.rendering import Manifest

HERE = Path(__file__).parent

VERSIONS = [one for one in all_versions() if tuple(map(int, one.split(".")[:2])) >= (1, 28)]

CUSTOM = frozenset(
    {"GrafanaDashboard", "PodMonitor", "PrometheusRule", "ScaledObject", "ServiceMonitor"}
)


def strict(schema: Any) -> Any:
    """Unknown names are refused: the API server would drop them without a word."""
    if isinstance(schema, dict):
        schema = {key: strict(value) for key, value in schema.items()}
        known = isinstance(schema.get("properties"), dict)
        if known and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        if schema.pop("x-kubernetes-int-or-string", False):
            schema.pop("anyOf", None)
            schema["type"] = ["integer", "string"]
        return schema
    return [strict(one) for one in schema] if isinstance(schema, list) else schema


@cache
def definitions(version: str) -> Resource[Any]:
    folder = f"kubernetes-json-schema/v{version}-local-strict"
    return Resource.from_contents(schema_contents(f"{folder}/_definitions.json", version))


@cache
def standard(version: str, api_version: str, kind: str) -> Draft202012Validator:
    """As kubernetes_validate makes one, which reads all definitions anew for each manifest."""
    group, _, number = api_version.rpartition("/")
    name = "-".join(filter(None, (kind.lower(), group.split(".")[0], number)))
    folder = f"kubernetes-json-schema/v{version}-local-strict"
    schema = schema_contents(f"{folder}/{name}.json", version)
    registry: Registry[Any] = definitions(version) @ Registry()
    return Draft202012Validator(schema, registry=Resource.from_contents(schema) @ registry)


@cache
def custom(kind: str) -> Draft7Validator:
    schema = json.loads((HERE / f"{kind}.json").read_text())
    schema["properties"]["metadata"] = {"type": "object"}
    required = ["spec", "metadata", "apiVersion"]
    return Draft7Validator(strict({"properties": schema["properties"], "required": required}))


# Those that are the same with other values are looked at once.
_valid: set[str] = set()


def validate(manifest: Manifest) -> None:
    """Raises jsonschema's `ValidationError`."""
    text = json.dumps(manifest, sort_keys=True)
    if text in _valid:
        return
    if manifest["kind"] in CUSTOM:
        custom(manifest["kind"]).validate(manifest)
    else:
        for version in VERSIONS:
            standard(version, manifest["apiVersion"], manifest["kind"]).validate(manifest)
    _valid.add(text)
