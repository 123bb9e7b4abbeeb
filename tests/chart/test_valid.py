"""What renders is valid: to each Kubernetes from 1.28, to the custom resources, to kube-score."""

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator
from kubernetes_validate.utils import all_versions, schema_contents
from referencing import Registry, Resource

from tests.chart.rendering import Manifest, program, render, template
from tests.chart.value_sets import VALUE_SETS

HERE = Path(__file__).parent

VERSIONS = [one for one in all_versions() if tuple(map(int, one.split(".")[:2])) >= (1, 28)]

CUSTOM = frozenset({"PodMonitor", "ScaledObject", "ServiceMonitor"})

# What values ask for that kube-score finds wrong.
ASKED_FOR = {"one replica of each": "deployment-replicas", "no policies": "pod-networkpolicy"}

pytestmark = [pytest.mark.chart, pytest.mark.parametrize("name", VALUE_SETS)]


@cache
def rendered(name: str) -> list[Manifest]:
    files, values = VALUE_SETS[name]
    return render(*files, values=values)


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
    schema = json.loads((HERE / "schemas" / f"{kind}.json").read_text())
    schema["properties"]["metadata"] = {"type": "object"}
    return Draft7Validator(strict({"properties": schema["properties"]}))


# Those that are the same with other values are looked at once.
_valid: set[str] = set()


def test_the_manifests_are_valid(name: str) -> None:
    assert len(VERSIONS) > 8
    for manifest in rendered(name):
        text = json.dumps(manifest, sort_keys=True)
        if text in _valid:
            continue
        if manifest["kind"] in CUSTOM:
            custom(manifest["kind"]).validate(manifest)
        else:
            for version in VERSIONS:
                standard(version, manifest["apiVersion"], manifest["kind"]).validate(manifest)
        _valid.add(text)


def test_helm_3_renders_the_same(name: str) -> None:
    files, values = VALUE_SETS[name]
    # Whatever is random is not in them.
    values = {**values, "secrets": {"make": False}}
    assert render(*files, values=values, helm="helm3") == render(*files, values=values)


def test_kube_score_finds_nothing_but_what_has_a_reason(name: str) -> None:
    reasons = yaml.safe_load((HERE / "kube-score.yaml").read_text())
    files, values = VALUE_SETS[name]
    command = [program("kube-score"), "score", "--output-format", "json", "-"]
    for check in reasons:
        command += ["--ignore-test", check]
    scored = subprocess.run(
        command, input=template(*files, values=values), capture_output=True, text=True
    )
    assert not scored.stderr
    found = [
        (one["object_name"], check["check"]["id"], check["comments"])
        for one in json.loads(scored.stdout)
        for check in one["checks"]
        if not check["skipped"]
        and check["grade"] < 10
        and check["check"]["id"] != ASKED_FOR.get(name)
    ]
    assert found == []
