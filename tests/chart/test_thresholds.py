"""Thresholds: which values the chart takes, and that Prometheus reads them as they are meant."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.thresholds import DEFAULTS, THRESHOLDS, filled
from tests.chart.rendering import CHART, Refused, by_name, program, render
from tests.chart.value_sets import without_random
from tests.promtool import promtool

pytestmark = pytest.mark.chart

RULES = CHART / "monitoring" / "rules.yaml"


def rules_with(thresholds: Mapping[str, Any] | None, helm: str = "helm") -> str:
    """The rules file that the chart renders with these thresholds."""
    monitoring = {"rules": {"configMap": True, "thresholds": thresholds}}
    manifests = render(values=without_random({"monitoring": monitoring}), helm=helm)
    text: str = by_name(manifests)["ConfigMap/heavylift-rules"]["data"]["heavylift.yaml"]
    return text


def checked(rules: str, folder: Path) -> str:
    """What `promtool check rules` prints about them; fails the test if it refuses them."""
    path = folder / "heavylift.yaml"
    path.write_text(rules)
    return promtool("check", "rules", "--lint=all", "--lint-fatal", path)


def test_promtool_accepts_the_rules_with_the_defaults(tmp_path: Path) -> None:
    text = rules_with({})
    committed = yaml.safe_load(filled(RULES.read_text()))
    assert yaml.safe_load(text) == committed
    assert "${" not in text
    count = sum(len(group["rules"]) for group in committed["groups"])
    assert f"SUCCESS: {count} rules found" in checked(text, tmp_path)


def another(number: int, unit: str) -> float | str:
    """A value of that unit, which no other number has."""
    match unit:
        case "URL":
            return f"https://example.com/{number}/grafana"
        case "duration":
            return f"{number}h30m7s"
        case "ratio":
            return round(0.9 + number / 10_000, 4)
    return 7_654_000 + number


def test_every_threshold_changes_the_rules_that_use_it(tmp_path: Path) -> None:
    given = {one.name: another(number, one.unit) for number, one in enumerate(THRESHOLDS, 100)}
    text = rules_with(given)
    checked(text, tmp_path)
    committed = RULES.read_text()
    assert yaml.safe_load(text) == yaml.safe_load(filled(committed, given))
    for name, value in given.items():
        assert text.count(str(value)) == committed.count(f"${{{name}}}") > 0, name


def test_a_threshold_leaves_all_other_rules_as_they_are() -> None:
    before, after = (
        rules_with(given).splitlines() for given in ({}, {"long_transaction_age": 7200})
    )
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert [(old.split()[-1], new.split()[-1]) for old, new in changed] == [("3600", "7200")]


@pytest.mark.parametrize("helm", ["helm", "helm3"])
@pytest.mark.parametrize(
    ("value", "written"),
    [
        (1, "1"),
        (2.5, "2.5"),
        (0.00001, "1e-05"),
        # Helm's numbers are floats, and would be printed as 1e+06.
        (1_000_000, "1000000"),
        (999_999_999, "999999999"),
        (1e6, "1000000"),
    ],
)
def test_prometheus_reads_the_number_that_was_given(
    value: float, written: str, helm: str, tmp_path: Path
) -> None:
    text = rules_with({"turn_failures": value}, helm=helm)
    (found,) = (
        rule["expr"].split(">=")[1].strip()
        for group in yaml.safe_load(text)["groups"]
        for rule in group["rules"]
        if rule.get("alert") == "HeavyliftControllerTurnsFailing"
    )
    assert found == written
    assert float(found) == value
    checked(text, tmp_path)


NUMBER = "use a number above 0 and below 1000000000"
RATIO = "use a number above 0 and below 1"
DURATION = "use a duration such as 90s, 5m or 1h30m"
URL = "use an http or https URL without a slash at the end, a query or a fragment"


@pytest.mark.parametrize("helm", ["helm", "helm3"])
@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("turn_failures", "10", f"{NUMBER}, not a string"),
        ("turn_failures", -1, NUMBER),
        ("turn_failures", 0, NUMBER),
        ("turn_failures", None, NUMBER),
        ("turn_failures", True, NUMBER),
        ("turn_failures", [10], NUMBER),
        ("turn_failures", {"ten": 10}, NUMBER),
        ("turn_failures", 1e21, NUMBER),
        ("turn_failures", 10**9, NUMBER),
        ("turn_failures", "NaN", f"{NUMBER}, not a string"),
        ("failure_ratio", 25, RATIO),
        ("failure_ratio", 1, RATIO),
        ("failure_ratio", "0.4", f"{RATIO}, not a string"),
        ("absent_for", 120, DURATION),
        ("absent_for", "", DURATION),
        ("absent_for", "2 minutes", DURATION),
        ("absent_for", "1e+06s", DURATION),
        ("absent_for", "5s1h", DURATION),
        ("absent_for", "${keep_firing}", DURATION),
        ("absent_for", None, DURATION),
        ("runbooks", "docs/runbooks", URL),
        ("runbooks", "https://example.com/", URL),
        ("runbooks", "https://example.com/a b", URL),
        ("runbooks", "https://example.com/#a", URL),
        ("runbooks", "https://example.com/{{ $value }}", URL),
        ("runbooks", 5, URL),
    ],
)
def test_a_bad_threshold_is_refused_with_its_name_and_the_fix(
    name: str, value: object, fix: str, helm: str
) -> None:
    with pytest.raises(Refused) as refused:
        rules_with({name: value}, helm=helm)
    (line,) = str(refused.value).strip().splitlines()[:1]
    given = re.escape(f"monitoring.rules.thresholds.{name}: ") + ".+ is not valid, "
    assert re.search(f"{given}{re.escape(fix)}", line)


@pytest.mark.parametrize("helm", ["helm", "helm3"])
def test_a_threshold_that_does_not_exist_is_refused_with_the_names(helm: str) -> None:
    with pytest.raises(Refused) as refused:
        rules_with({"pool_staled_age": 600}, helm=helm)
    said = str(refused.value)
    names = ", ".join(sorted(DEFAULTS))
    assert f"thresholds.pool_staled_age is not a threshold, use one of: {names}" in said


@pytest.mark.parametrize("helm", ["helm", "helm3"])
@pytest.mark.parametrize("number", [".nan", ".inf"])
def test_a_threshold_that_is_not_a_number_is_refused(number: str, helm: str) -> None:
    """Helm reads values as JSON, which has none such."""
    command = [program(helm), "template", "heavylift", str(CHART), "--values", "-"]
    text = f"monitoring: {{rules: {{enabled: true, thresholds: {{failure_ratio: {number}}}}}}}"
    ran = subprocess.run(command, input=text, capture_output=True, text=True)
    assert ran.returncode != 0
    assert "unsupported value" in ran.stderr


def test_thresholds_may_be_left_empty() -> None:
    assert rules_with(None) == rules_with({})
