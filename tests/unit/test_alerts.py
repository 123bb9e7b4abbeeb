"""The alerts, the recording rules, and what Alertmanager hides; `promtool` evaluates them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.core.config import Settings
from app.core.metrics import REQUEST_BUCKETS
from app.main import create_app
from monitoring.alerts import ALERTS
from monitoring.inhibitions import INHIBITIONS
from monitoring.limits import limits
from monitoring.model import Alert, Rule, Threshold
from monitoring.objectives import LATENCY, OBJECTIVES, UNTIMED
from monitoring.rules import CHART, files
from monitoring.thresholds import DEFAULTS, PLACEHOLDER, THRESHOLDS, filled
from tests import exported
from tests.promtool import INTERVAL, promtool, write_tests

ROOT = Path(__file__).parents[2]
RULES_FILE = ROOT / CHART / "rules.yaml"
RULES = yaml.safe_load(filled(RULES_FILE.read_text()))

# The name of a series, and not that of a label, which an operator follows.
METRIC = re.compile(
    r"\b((?:heavylift|http_server|db_client)_[a-z_]+|heavylift:[a-z0-9_:]+)\b(?!\s*(?:=|!))"
)

# How a ledger's series may stand in an expression, since every controller exports it.
DEDUPLICATED = re.compile(r"(?:max by \([a-z_, ]+\)|count by \([a-z_, ]+\)) ?\(\s*(?:\w+\(\s*)?$")

# Of all rules; others are added by what the expression groups by.
LABELS = {"namespace", "release"}

# https://prometheus.io/docs/alerting/latest/configuration/#matcher, quoted as UTF-8 mode wants it.
MATCHER = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)(=~|!~|!=|=)"((?:[^"\\]|\\.)*)"')


def rules(kind: str) -> Iterator[dict[str, Any]]:
    """Those of the committed file that are alerts (`alert`) or recordings (`record`)."""
    for group in RULES["groups"]:
        yield from (rule for rule in group["rules"] if kind in rule)


ALERT_RULES = [
    pytest.param(alert, rule, id=f"{alert.name}-{number}")
    for alert in ALERTS
    for number, rule in enumerate(alert.rules)
]


def test_committed_files_are_what_the_package_generates() -> None:
    for path, text in files().items():
        assert (ROOT / path).read_text() == text, f"{path}: run `make monitoring`"
        assert not PLACEHOLDER.search(filled(text))


def test_promtool_accepts_the_rules_with_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(filled(RULES_FILE.read_text()))
    said = promtool("check", "rules", "--lint=all", "--lint-fatal", path)
    assert f"SUCCESS: {len([*rules('alert'), *rules('record')])} rules found" in said


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_every_alert_fires_and_keeps_quiet_as_its_cases_say(alert: Alert, tmp_path: Path) -> None:
    promtool("test", "rules", write_tests(tmp_path, alert, exported.of_ledger()))


def test_promtool_finds_a_rule_that_does_not_fire(tmp_path: Path) -> None:
    """Or the test above would show nothing."""
    (alert,) = (one for one in ALERTS if one.name == "HeavyliftPoolStalled")
    file = write_tests(tmp_path, alert, exported.of_ledger())
    broken = tmp_path / f"{alert.name}.rules.yaml"
    broken.write_text(broken.read_text().replace("> 300", "> 3000"))
    with pytest.raises(AssertionError, match="nothing starts for 15 minutes"):
        promtool("test", "rules", file)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_every_alert_has_cases_of_both_sorts(alert: Alert) -> None:
    assert any(case.fires for case in alert.cases)
    assert any(not case.fires for case in alert.cases)
    names = [case.name for case in alert.cases]
    assert len(set(names)) == len(names)
    fired = [(one.severity, dict(one.labels)) for case in alert.cases for one in case.fires]
    for rule in alert.rules:
        if "window" not in rule.labels:
            assert any(
                severity == rule.severity and rule.labels.items() <= labels.items()
                for severity, labels in fired
            ), f"no case fires the rule {rule.summary}"


def test_every_window_of_the_budgets_fires_in_some_case() -> None:
    windows = {
        one.labels["window"]
        for alert in ALERTS
        for case in alert.cases
        for one in case.fires
        if "window" in one.labels
    }
    assert windows == {window.long for one in OBJECTIVES for window in one.windows}


@pytest.mark.parametrize(("alert", "rule"), ALERT_RULES)
def test_every_rule_says_what_a_person_needs(alert: Alert, rule: Rule) -> None:
    assert alert.name.startswith("Heavylift")
    (written,) = (
        one
        for one in rules("alert")
        if (one["alert"], one["expr"]) == (alert.name, filled(rule.expr))
    )
    annotations = written["annotations"]
    assert annotations["runbook_url"] == f"{DEFAULTS['runbooks']}/{alert.name}.md"
    assert annotations["dashboard_url"].startswith(f"{DEFAULTS['dashboards']}/d/heavylift-")
    assert written["labels"]["severity"] in ("page", "ticket")
    assert written["labels"]["area"] == alert.area
    assert "{{" in annotations["description"]
    assert "$value" in annotations["description"] or "| value" in annotations["description"]
    assert written.get("for"), "a single evaluation is no reason to alert"
    assert written["keep_firing_for"]


@pytest.mark.parametrize(("alert", "rule"), ALERT_RULES)
def test_texts_use_labels_that_the_expression_has(alert: Alert, rule: Rule) -> None:
    texts = f"{rule.summary} {rule.description}"
    used = set(re.findall(r"\$labels\.(\w+)", texts)) | {*alert.variables}
    grouped = set(re.findall(r"by \(([a-z_, ]+)\)", rule.expr.split("\nand ")[0]))
    has = LABELS | {"slo"} if "heavylift:slo" in rule.expr else set[str]()
    has |= {label.strip() for group in grouped for label in group.split(",")}
    assert used <= has, rule.expr
    assert has >= LABELS


def test_dashboards_are_those_that_there_are() -> None:
    assert {alert.dashboard for alert in ALERTS} <= {"service", "api", "jobs", "pools", "ledger"}


def test_every_metric_of_a_rule_is_exported_or_recorded() -> None:
    known = exported.series().keys() | {rule["record"] for rule in rules("record")}
    for rule in (*rules("alert"), *rules("record")):
        texts = [rule["expr"], *rule.get("annotations", {}).values()]
        for text in texts:
            unknown = set(METRIC.findall(text)) - known
            assert not unknown, (rule.get("alert") or rule["record"], unknown)


def test_ledger_series_are_taken_once_whatever_the_number_of_controllers() -> None:
    ledger = exported.of_ledger()
    found = 0
    for rule in (*rules("alert"), *rules("record")):
        for text in (rule["expr"], rule.get("annotations", {}).get("description", "")):
            for match in METRIC.finditer(text):
                if match[1] in ledger:
                    found += 1
                    before = text[: match.start()]
                    grouped = DEDUPLICATED.search(before) or before.endswith(
                        # An info metric, of which only the labels count.
                        ("group by (pool) (",)
                    )
                    assert grouped, (rule.get("alert") or rule["record"], before[-80:])
    assert found > 20


def test_thresholds_are_all_used_and_all_there() -> None:
    texts = "".join(files().values())
    assert set(PLACEHOLDER.findall(texts)) == set(DEFAULTS)
    written = json.loads((ROOT / CHART / "thresholds.json").read_text())
    assert {name: one["default"] for name, one in written.items()} == DEFAULTS


@pytest.mark.parametrize("threshold", THRESHOLDS, ids=lambda threshold: threshold.name)
def test_a_threshold_takes_its_own_default(threshold: Threshold) -> None:
    bounds = limits(threshold)
    if isinstance(threshold.default, str):
        assert re.search(bounds["pattern"], threshold.default)
    else:
        assert bounds["above"] < threshold.default < bounds["below"]


def test_promtool_accepts_the_longest_duration_that_a_threshold_takes(tmp_path: Path) -> None:
    (keep,) = (one for one in THRESHOLDS if one.name == "keep_firing")
    longest = "999w999d99999h999999m999999s"
    assert re.search(limits(keep)["pattern"], longest)
    path = tmp_path / "rules.yaml"
    path.write_text(filled(RULES_FILE.read_text(), {**DEFAULTS, "keep_firing": longest}))
    promtool("check", "rules", path)


def test_objectives_leave_no_alert_that_can_never_fire() -> None:
    assert len({one.slo for one in OBJECTIVES}) == len(OBJECTIVES)
    for objective in OBJECTIVES:
        budget = 1 - float(DEFAULTS[objective.threshold])
        for window in objective.windows:
            assert window.factor * budget < 1, (objective.slo, window)


def test_latency_is_a_bound_of_the_histogram_and_the_objective_of_load_tests() -> None:
    assert float(LATENCY) in REQUEST_BUCKETS
    objectives = yaml.safe_load((ROOT / "loadtests" / "slo.yaml").read_text())
    assert {one["p95_ms"] for one in objectives["scenarios"].values()} == {float(LATENCY) * 1000}


def test_untimed_routes_are_routes_of_the_api() -> None:
    paths = create_app(Settings()).openapi()["paths"]
    assert set(UNTIMED) <= paths.keys()
    streamed = {
        path
        for path, operations in paths.items()
        for operation in operations.values()
        if "text/event-stream" in operation.get("responses", {}).get("200", {}).get("content", {})
    }
    assert streamed <= set(UNTIMED)


def test_what_is_recorded_has_its_labels_and_its_value(tmp_path: Path) -> None:
    rules_file = tmp_path / "rules.yaml"
    rules_file.write_text(filled(RULES_FILE.read_text()))
    labels = 'instance="api",namespace="apps",release="heavylift"'
    count = f"http_server_request_duration_seconds_count{{{labels},http_response_status_code="
    series = {
        f'heavylift_build_info{{component="api",{labels}}}': "1x40",
        f'{count}"200"}}': "0+2997x40",
        f'{count}"500"}}': "0+3x40",
    }
    own = '{namespace="apps",release="heavylift",slo="api-availability"}'
    expected = {
        "heavylift:slo_objective:ratio": 0.999,
        "heavylift:slo_errors:rate5m": 0.1,
        "heavylift:slo_events:rate5m": 100,
        **{f"heavylift:slo_errors:ratio_rate{one}": 0.001 for one in WINDOWS},
        # The budget is used up: 0.1% of the requests failed, and 0.1% may.
        "heavylift:slo_error_budget:remaining30d": 0,
    }
    tests = [
        {
            "expr": f"round(100000 * {name}{own})",
            "eval_time": "20m",
            "exp_samples": [{"labels": own, "value": round(100_000 * value)}],
        }
        for name, value in expected.items()
    ]
    # Where nothing happened nothing was good or bad, and the whole budget is left.
    tests += [
        {
            "expr": 'heavylift:slo_errors:ratio_rate5m{slo!="api-availability"}',
            "eval_time": "20m",
            "exp_samples": [],
        },
        {
            "expr": "count(heavylift:slo_objective:ratio)",
            "eval_time": "20m",
            "exp_samples": [{"labels": "{}", "value": len(OBJECTIVES)}],
        },
    ]
    file = tmp_path / "test.yaml"
    test = {
        "interval": INTERVAL,
        "input_series": [{"series": one, "values": values} for one, values in series.items()],
        "promql_expr_test": tests,
    }
    file.write_text(
        yaml.safe_dump(
            {
                "rule_files": [rules_file.name],
                "evaluation_interval": INTERVAL,
                "tests": [test],
            }
        )
    )
    promtool("test", "rules", file)


WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")


def test_recording_rules_have_the_names_that_dashboards_use() -> None:
    names = {rule["record"] for rule in rules("record")}
    assert {f"heavylift:slo_errors:ratio_rate{window}" for window in WINDOWS} <= names
    assert {"heavylift:slo_error_budget:remaining30d", "heavylift:slo_objective:ratio"} <= names


# --- what hides what ------------------------------------------------------------------------------


def matches(matchers: list[str], labels: dict[str, str]) -> bool:
    for matcher in matchers:
        found = MATCHER.fullmatch(matcher)
        assert found is not None, matcher
        name, operator, value = found.groups()
        given = labels.get(name, "")
        equal = re.fullmatch(value, given) is not None if "~" in operator else value == given
        if equal is operator.startswith("!"):
            return False
    return True


def alerts_with_labels() -> Iterator[dict[str, str]]:
    """Each alert that a case fires, as Alertmanager gets it."""
    for alert in ALERTS:
        for case in alert.cases:
            for fired in case.fires:
                yield {
                    "alertname": alert.name,
                    "area": alert.area,
                    "severity": fired.severity,
                    "namespace": "apps",
                    "release": "heavylift",
                    **fired.labels,
                }


def hidden(target: dict[str, str], source: dict[str, str]) -> bool:
    for rule in yaml.safe_load((ROOT / CHART / "inhibitions.yaml").read_text())["inhibit_rules"]:
        assert rule.keys() == {"source_matchers", "target_matchers", "equal"}
        if (
            matches(rule["source_matchers"], source)
            and matches(rule["target_matchers"], target)
            and all(target.get(label, "") == source.get(label, "") for label in rule["equal"])
        ):
            return True
    return False


def fired(name: str, **labels: str) -> dict[str, str]:
    return next(
        one
        for one in alerts_with_labels()
        if one["alertname"] == name and labels.items() <= one.items()
    )


def test_inhibitions_match_alerts_that_there_are() -> None:
    assert len(INHIBITIONS) > 3
    down = {"alertname": "HeavyliftDependencyDown", "area": "dependencies"}
    given = [*alerts_with_labels()]
    sources = given + [{**down, "dependency": name} for name in ("postgresql", "storage")]
    for one in INHIBITIONS:
        assert any(matches(list(one.source), labels) for labels in sources), one.why
        assert any(matches(list(one.target), labels) for labels in given), one.why


@pytest.mark.parametrize(
    ("target", "source", "expected"),
    [
        ("HeavyliftPoolStalled", "HeavyliftControllerAbsent", True),
        ("HeavyliftJobWaitBudget", "HeavyliftControllerAbsent", True),
        ("HeavyliftApiErrorBudget", "HeavyliftControllerAbsent", False),
        ("HeavyliftPoolStalled", "HeavyliftDependencyDown", True),
        ("HeavyliftApiErrorBudget", "HeavyliftDependencyDown", False),
        ("HeavyliftControllerTurnsFailing", "HeavyliftControllerBlind", True),
        ("HeavyliftControllerAbsent", "HeavyliftPoolStalled", False),
        ("HeavyliftDependencyDown", "HeavyliftControllerAbsent", False),
    ],
)
def test_a_cause_hides_its_consequences_and_nothing_else(
    target: str, source: str, expected: bool
) -> None:
    """The dependency of the case is Redis."""
    assert hidden(fired(target), fired(source)) is expected


def test_an_outage_of_the_database_hides_the_budgets_of_the_api() -> None:
    redis = fired("HeavyliftDependencyDown")
    assert hidden(fired("HeavyliftApiErrorBudget"), {**redis, "dependency": "postgresql"})
    assert not hidden(redis, {**redis, "dependency": "postgresql"})


def test_a_cause_hides_nothing_of_another_release() -> None:
    absent = fired("HeavyliftControllerAbsent")
    assert not hidden(fired("HeavyliftPoolStalled"), {**absent, "release": "other"})
    assert not hidden(fired("HeavyliftPoolStalled"), {**absent, "namespace": "other"})


def test_a_page_hides_the_ticket_of_its_objective_alone() -> None:
    page = fired("HeavyliftApiErrorBudget", severity="page")
    assert hidden(fired("HeavyliftApiErrorBudget", severity="ticket"), page)
    assert not hidden(fired("HeavyliftJobWaitBudget", severity="ticket"), page)
    assert not hidden(page, fired("HeavyliftApiErrorBudget", severity="ticket"))
