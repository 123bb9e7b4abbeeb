"""What renders is valid: to each Kubernetes from 1.28, to the custom resources, to kube-score."""

import json
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.chart.rendering import Manifest, program, render, template
from tests.chart.schemas import VERSIONS, validate
from tests.chart.value_sets import VALUE_SETS, without_random

HERE = Path(__file__).parent

# What values ask for that kube-score finds wrong.
ASKED_FOR = {"one replica of each": "deployment-replicas", "no policies": "pod-networkpolicy"}

pytestmark = [pytest.mark.chart, pytest.mark.parametrize("name", VALUE_SETS)]


@cache
def rendered(name: str) -> list[Manifest]:
    files, values = VALUE_SETS[name]
    return render(*files, values=values)


def test_the_manifests_are_valid(name: str) -> None:
    assert len(VERSIONS) > 8
    for manifest in rendered(name):
        validate(manifest)


def test_helm_3_renders_the_same(name: str) -> None:
    files, values = VALUE_SETS[name]
    # Whatever is random is not in them.
    values = without_random(values)
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
