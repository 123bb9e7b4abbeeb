"""Each runbook has its parts; neither it nor docs/operations.md names what does not exist."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.main import get_command

from app.cli import cli
from app.core.config import variables
from monitoring.alerts import ALERTS
from monitoring.inhibitions import INHIBITIONS
from monitoring.thresholds import DEFAULTS
from tests.runbook_commands import (
    OPERATIONS,
    RUNBOOKS,
    Command,
    commands,
    options,
    statements,
)

ROOT = Path(__file__).parents[2]
PAGES = sorted(RUNBOOKS.glob("Heavylift*.md"))

SECTIONS = [
    "What it means",
    "How to see it",
    "What to do",
    "How to know that it worked",
]

KUBECTL = {
    "annotate", "config", "delete", "describe", "drain", "edit", "exec", "get", "logs",
    "port-forward", "rollout", "scale", "top",
}  # fmt: skip

HELM = {"get", "history", "rollback", "test", "upgrade"}

OTHERS = {
    "amtool", "cat", "curl", "echo", "grep", "kill", "openssl", "pg_isready", "redis-cli", "sh",
    "sleep", "tail",
}  # fmt: skip

VALUES = yaml.safe_load((ROOT / "helm" / "heavylift" / "values.yaml").read_text())

# What the chart makes, as it is rendered for kustomize.
MANIFESTS = [
    document
    for path in (ROOT / "k8s").rglob("*.yaml")
    for document in yaml.safe_load_all(path.read_text())
    if document and "metadata" in document
]

SOURCES = [
    path.read_text() for package in ("app", "worker") for path in (ROOT / package).rglob("*.py")
]


def pages() -> list[Any]:
    paths = (*PAGES, RUNBOOKS / "README.md", OPERATIONS)
    return [pytest.param(path, id=path.stem) for path in paths]


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert [path.stem for path in PAGES] == sorted(alert.name for alert in ALERTS)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_runbook_has_its_four_sections_and_is_short(path: Path) -> None:
    text = path.read_text()
    assert text.startswith(f"# {path.stem}\n\n## {SECTIONS[0]}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    for section in re.split(r"^## .+$", text, flags=re.MULTILINE)[1:]:
        assert len(section.split()) > 10, section
    assert len(text.splitlines()) <= 60
    assert [*commands(text)]


def test_the_index_links_every_runbook() -> None:
    text = (RUNBOOKS / "README.md").read_text()
    for alert in ALERTS:
        assert f"[{alert.name}]({alert.name}.md)" in text
        for severity in {rule.severity for rule in alert.rules}:
            assert re.search(rf"^\| \[{alert.name}\].*\b{severity}\b", text, re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """Names of a page's headings, as links to them have them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}


@pytest.mark.parametrize("path", pages())
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", path.read_text()):
        file, _, anchor = link.partition("#")
        target = path.parent / file
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


def test_dashboards_that_are_named_exist() -> None:
    folder = ROOT / "helm" / "heavylift" / "monitoring" / "dashboards"
    titles = {json.loads(path.read_text())["title"] for path in folder.glob("*.json")}
    named = {
        title
        for path in (*PAGES, OPERATIONS)
        for title in re.findall(r"\*(Heavylift / [^*]+)\*", path.read_text())
    }
    assert len(named) > 3
    assert named <= titles


@pytest.mark.parametrize("path", pages())
def test_settings_and_alerts_that_are_named_exist(path: Path) -> None:
    text = path.read_text()
    assert set(re.findall(r"HEAVYLIFT_[A-Z_]+[A-Z]", text)) <= variables().keys()
    named = set(re.findall(r"\bHeavylift[A-Z]\w+", text))
    assert named <= {alert.name for alert in ALERTS}


# --- commands -------------------------------------------------------------------------------------


def parse(arguments: Sequence[str]) -> None:
    """Read a command line as `heavylift` does, without running it. Raises what it would say."""
    command: Any = get_command(cli)
    context = command.make_context("heavylift", [*arguments])
    while hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)


@pytest.mark.parametrize(
    "line",
    [
        "jobs reconcile --cancel-all",
        "jobs reconcile --cancel not-an-id",
        "jobs requeue",
        "reconcile",
        "jobs cancel",
    ],
)
def test_a_command_line_that_does_not_exist_is_refused(line: str) -> None:
    with pytest.raises(typer.TyperException):
        parse(line.split())


def value_exists(path: str) -> bool:
    """Whether the chart has a value at `a.b.c`; a pool has those of all pools."""
    names = path.split(".")
    if names[0] == "workers":
        names = ["workerDefaults", *names[2:]]
    if names[:3] == ["monitoring", "rules", "thresholds"] and len(names) == 4:
        return names[3] in DEFAULTS
    found: Any = VALUES
    for name in names:
        if not isinstance(found, dict) or name not in found:
            return False
        found = found[name]
    return True


def check_kubernetes(command: Command) -> None:
    kinds = {
        "deployment": "Deployment",
        "statefulset": "StatefulSet",
        "scaledobject": "ScaledObject",
    }
    names = {(one["kind"], one["metadata"]["name"]) for one in MANIFESTS}
    words = command[: command.index("--")] if "--" in command else command
    for word, following in zip(words, [*words[1:], ""], strict=True):
        kind, slash, name = word.partition("/")
        if not slash and following.startswith("heavylift-"):
            name = following
        if kind in kinds and name:
            assert (kinds[kind], name) in names, command
    components = {
        one["metadata"].get("labels", {}).get("app.kubernetes.io/component") for one in MANIFESTS
    }
    for selector in options(words, "--selector"):
        label, _, value = selector.partition("=")
        assert label in (
            "app.kubernetes.io/component",
            "app.kubernetes.io/instance",
            "kubernetes.io/service-name",
        )
        if label == "app.kubernetes.io/component":
            assert value in components, command


def check(command: Command) -> None:
    match command[0]:
        case "heavylift":
            parse(command[1:])
        case "kubectl":
            assert command[1] in KUBECTL, command
            check_kubernetes(command)
        case "helm":
            assert command[1] in HELM, command
            for value in options(command, "--set"):
                assert value_exists(value.partition("=")[0]), value
        case "psql":
            assert command[1:3] == ("-U", "heavylift"), command
        case other:
            assert other in OTHERS, command


@pytest.mark.parametrize("path", pages())
def test_every_command_exists(path: Path) -> None:
    for command in commands(path.read_text()):
        if "…" not in " ".join(command):
            check(command)


@pytest.mark.parametrize("path", pages())
def test_logs_of_several_pods_do_not_need_all_of_them_to_have_started(path: Path) -> None:
    """Without the option, one pod that is Pending hides the lines of all others."""
    for command in commands(path.read_text()):
        if command[:2] == ("kubectl", "logs") and "--selector" in command:
            assert "--ignore-errors" in command, command


@pytest.mark.parametrize("path", pages())
def test_lines_that_are_looked_for_in_logs_are_logged(path: Path) -> None:
    for command in commands(path.read_text()):
        if command[0] != "grep" or not command[-1].startswith('"'):
            continue
        for event in re.findall(r"[a-z][a-z ',]+[a-z]", command[-1].replace('"event": *', "")):
            assert any(f'"{event}' in text for text in SOURCES), event


@pytest.mark.parametrize("path", pages())
def test_values_that_are_named_exist(path: Path) -> None:
    """`api.resources.limits.memory` in a sentence is a value of the chart."""
    roots = "|".join([*VALUES, "workers"])
    for value in re.findall(rf"`((?:{roots})(?:\.\w+)+)`", path.read_text()):
        assert value_exists(value), value


def test_commands_are_found_where_they_are() -> None:
    """Or the tests above would show nothing."""
    found = [one for path in PAGES for one in commands(path.read_text())]
    assert sum(one[0] == "heavylift" for one in found) > 10
    assert sum(one[0] == "kubectl" for one in found) > 80
    assert sum(1 for path in PAGES for _ in statements(path.read_text())) > 20
    assert sum(1 for one in found for _ in options(one, "--set")) > 10


# --- docs/operations.md ---------------------------------------------------------------------------


def documents() -> list[dict[str, Any]]:
    """Every YAML document that docs/operations.md shows."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", OPERATIONS.read_text(), re.MULTILINE | re.DOTALL)
    return [yaml.safe_load(block) for block in blocks]


def leaves(value: Any, path: str = "") -> list[str]:
    if not isinstance(value, dict):
        return [path]
    return [leaf for key, one in value.items() for leaf in leaves(one, f"{path}.{key}".lstrip("."))]


def test_values_that_operations_sets_exist() -> None:
    paths = [path for one in documents() if "monitoring" in one for path in leaves(one)]
    assert len(paths) > 5
    assert [path for path in paths if not value_exists(path)] == []


def test_alertmanager_configuration_of_operations_has_a_receiver_for_each_route() -> None:
    (configuration,) = [one for one in documents() if "route" in one]
    route = configuration["route"]
    routes = [route, *route["routes"]]
    names = {one["name"] for one in configuration["receivers"]}
    assert {one["receiver"] for one in routes} == names
    severities = {rule.severity for alert in ALERTS for rule in alert.rules}
    matched = set(re.findall(r'severity="(\w+)"', str(route)))
    assert matched
    assert matched < severities
    assert "inhibit_rules" not in configuration  # those are appended


def test_operations_shows_how_many_inhibitions_there_are() -> None:
    assert f" - {len(INHIBITIONS)} inhibit rules\n" in OPERATIONS.read_text()


def test_the_walk_in_operations_has_commands_of_the_runbooks() -> None:
    """A runbook that changes takes the walk along."""
    known = {one for path in (*PAGES, RUNBOOKS / "README.md") for one in commands(path.read_text())}
    text = OPERATIONS.read_text()
    walk = text[text.index("## An alert, from") : text.index("## Change thresholds")]
    walked = [one for one in commands(walk) if one[0] in ("kubectl", "helm", "psql")]
    assert len(walked) > 15
    assert [one for one in walked if one not in known] == []
