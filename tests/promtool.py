"""Checks of rules by Prometheus's own `promtool`, which `.ci/run` installs."""

import os
import re
import shutil
import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.model import Alert, Case, Fired
from monitoring.rules import groups
from monitoring.thresholds import filled

INTERVAL = "30s"

# name{labels}; both parts of a series in a case.
SERIES = re.compile(r"([a-z_:]+)(?:\{(.*)\})?")


def promtool(*arguments: str | Path) -> str:
    """What it prints; fails the test with that where it finds a fault."""
    program = shutil.which("promtool")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("promtool is not on the PATH")
        pytest.skip("promtool is not on the PATH: apt-get install prometheus")
    ran = subprocess.run([program, *arguments], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def rules_of(alert: Alert) -> list[dict[str, Any]]:
    """The groups of the alert's rules, with the recording rules of the objectives it is about."""
    found: list[dict[str, Any]] = yaml.safe_load(filled(yaml.safe_dump(groups([alert]))))
    slos = {slo for rule in alert.rules for slo in re.findall(r'slo="([a-z-]+)"', rule.expr)}
    for group in found:
        group["rules"] = [
            rule
            for rule in group["rules"]
            if "alert" in rule or (slos and rule.get("labels", {}).get("slo", min(slos)) in slos)
        ]
    return [group for group in found if group["rules"]]


def _labels(given: str | None) -> str:
    labels = given or ""
    for name, value in (("namespace", "apps"), ("release", "heavylift")):
        if f"{name}=" not in labels:
            labels = f'{labels},{name}="{value}"'.removeprefix(",")
    return labels


def _series(case: Case, ledger: Collection[str]) -> list[dict[str, str]]:
    written = []
    for series, values in case.series.items():
        match = SERIES.fullmatch(series)
        assert match is not None, series
        name, labels = match[1], _labels(match[2])
        instances = [f'{labels},instance="controller-{number}"' for number in (1, 2)]
        if name not in ledger or "instance=" in labels:
            instances = [labels]
        written += [{"series": f"{name}{{{one}}}", "values": values} for one in instances]
    return written


def _expected(alert: Alert, fired: Fired, rules: list[dict[str, Any]]) -> dict[str, Any]:
    labels = {
        "namespace": "apps",
        "release": "heavylift",
        "severity": fired.severity,
        "area": alert.area,
        **fired.labels,
    }
    annotations: Mapping[str, str] = rules[0]["annotations"]
    links = {
        name: re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: labels[match[1]], text)
        for name, text in annotations.items()
        if name.endswith("_url")
    }
    summary = f"{fired.summary} (apps/heavylift)"
    texts = {"summary": summary, "description": fired.description}
    return {"exp_labels": labels, "exp_annotations": {**texts, **links}}


def write_tests(folder: Path, alert: Alert, ledger: Collection[str]) -> Path:
    """A file for `promtool test rules` with all cases of an alert, and its rules beside it.

    `ledger` has the names of the series that every controller exports alike.
    """
    rules = rules_of(alert)
    path = folder / f"{alert.name}.rules.yaml"
    path.write_text(yaml.safe_dump({"groups": rules}))
    own = [rule for group in rules for rule in group["rules"] if rule.get("alert") == alert.name]
    tests = [
        {
            "name": case.name,
            "interval": INTERVAL,
            "input_series": _series(case, ledger),
            "alert_rule_test": [
                {
                    "eval_time": case.at,
                    "alertname": alert.name,
                    "exp_alerts": [_expected(alert, fired, own) for fired in case.fires],
                }
            ],
        }
        for case in alert.cases
    ]
    file = folder / f"{alert.name}.test.yaml"
    written = {
        "rule_files": [path.name],
        "evaluation_interval": INTERVAL,
        # Or the order is random, and what one group records, another may read a moment later.
        "group_eval_order": [group["name"] for group in rules],
        "tests": tests,
    }
    file.write_text(yaml.safe_dump(written))
    return file
