"""What dashboards and rules ask of Prometheus, and what it answers."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import yaml

# A name that a query selects by: before braces, brackets or a blank, and neither a function, a
# label nor a keyword.
WORD = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
LABELS = re.compile(r"\{[^{}]*\}")
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)")
DURATION = re.compile(r"\[[^\[\]]*\]|\boffset\s+\S+")
KEYWORDS = frozenset(
    {"and", "or", "unless", "bool", "offset", "inf", "nan", "group_left", "group_right"}
)


@dataclass(frozen=True)
class Query:
    where: str
    """Dashboard and panel, or the rule."""
    expression: str


def metric_names(expression: str) -> set[str]:
    """Names of the series that the expression selects."""
    text = GROUPING.sub(" ", LABELS.sub(" ", STRING.sub(" ", expression)))
    text = DURATION.sub(" ", text)
    found = set()
    for match in WORD.finditer(text):
        behind = text[match.end() :].lstrip()
        if not behind.startswith("(") and match[0].lower() not in KEYWORDS:
            found.add(match[0])
    return found


def panels(dashboard: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """All panels, those within rows as well; rows themselves are left out."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", [])
        else:
            yield panel


def panel_queries(path: Path) -> list[Query]:
    dashboard = json.loads(path.read_text())
    return [
        Query(f"{dashboard['title']}: {panel['title']}", target["expr"])
        for panel in panels(dashboard)
        for target in panel.get("targets", [])
    ]


def variable_queries(path: Path) -> list[Query]:
    """Of each variable that is asked of Prometheus: `label_values(series, label)`."""
    dashboard = json.loads(path.read_text())
    found = []
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            asked = variable["query"]
            text = asked if isinstance(asked, str) else asked["query"]
            found.append(Query(f"{dashboard['title']}: ${variable['name']}", text))
    return found


def _rules(text: str, kind: str) -> list[Query]:
    groups = yaml.safe_load(text)["groups"]
    return [
        Query(rule[kind], rule["expr"])
        for group in groups
        for rule in group["rules"]
        if kind in rule
    ]


def recording_queries(text: str) -> list[Query]:
    """Of each recording rule in a rules file; `where` is the name that it records."""
    return _rules(text, "record")


def alert_queries(text: str) -> list[Query]:
    """Of each alert in a rules file."""
    return _rules(text, "alert")


class Prometheus:
    """Answers queries over the whole of a run; `values` are those of dashboards' variables."""

    def __init__(self, url: str, *, begun: float, ended: float, values: Mapping[str, str]) -> None:
        self._client = httpx2.Client(base_url=f"{url}/api/v1", timeout=60)
        self._begun = begun
        self._ended = ended
        self._values = values

    def fill_in(self, expression: str) -> str:
        def value(found: re.Match[str]) -> str:
            name = found[1] or found[2]
            return self._values[name]

        return re.sub(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)", value, expression)

    def _get(self, path: str, parameters: Mapping[str, str | float]) -> Any:
        answer = self._client.get(path, params=parameters)
        body = answer.json()
        if body.get("status") != "success":
            raise AssertionError(f"{parameters}: {body.get('error', answer.text)}")
        return body["data"]

    def samples(self, expression: str) -> int:
        """Finite samples of the expression in the run."""
        data = self._get(
            "/query_range",
            {
                "query": self.fill_in(expression),
                "start": self._begun,
                "end": self._ended,
                "step": max(2.0, (self._ended - self._begun) / 1_000),
            },
        )
        return sum(
            math.isfinite(float(value)) for one in data["result"] for _, value in one["values"]
        )

    def values_of(self, query: str) -> list[str]:
        """What `label_values(series, label)` offers."""
        series, label = re.fullmatch(
            r"label_values\((.+),\s*(\w+)\)", query.strip(), re.DOTALL
        ).groups()  # type: ignore[union-attr]
        found = self._get(
            f"/label/{label}/values",
            {"match[]": self.fill_in(series), "start": self._begun, "end": self._ended},
        )
        return list(found)

    def close(self) -> None:
        self._client.close()
