"""Rules at a faster pace, and alerts that fire during a fault and are resolved after it."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import yaml

from tests.processes import until

MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
DURATION = re.compile(r"(\d+)(ms|s|m|h|d)")
# In an expression: a range, a subquery or an offset.
IN_BRACKETS = re.compile(r"\[[^\[\]]*\]|\boffset\s+\w+")

# Under this name, each test of a fault records its lines of the table.
FAULTS = "faults"

# Seconds until an alert has to fire, and to be resolved.
PATIENCE = 180


def _faster(text: str, pace: int) -> str:
    def divided(found: re.Match[str]) -> str:
        return f"{max(1, int(found[1]) * MILLISECONDS[found[2]] // pace)}ms"

    return DURATION.sub(divided, text)


def compressed(text: str, pace: int) -> str:
    """The rules file with every duration divided by `pace`: an hour of theirs takes minutes."""
    rules = yaml.safe_load(text)
    for group in rules["groups"]:
        group["interval"] = _faster(group["interval"], pace)
        for rule in group["rules"]:
            rule["expr"] = IN_BRACKETS.sub(lambda found: _faster(found[0], pace), rule["expr"])
            for name in ("for", "keep_firing_for"):
                if name in rule:
                    rule[name] = _faster(rule[name], pace)
    written: str = yaml.safe_dump(rules)
    return written


@dataclass
class Alerts:
    """The alerts of a Prometheus."""

    url: str
    note: Callable[[str], None]
    """Takes a line for the table: fault, alert, and the seconds until it fired or was resolved."""

    def firing(self, name: str) -> list[dict[str, str]]:
        """The labels of those of that name that fire."""
        answer = httpx2.get(f"{self.url}/api/v1/alerts", timeout=10).json()
        alerts: list[dict[str, Any]] = answer["data"]["alerts"]
        return [
            one["labels"]
            for one in alerts
            if one["labels"]["alertname"] == name and one["state"] == "firing"
        ]

    @contextmanager
    def fired_by(self, fault: str, *names: str) -> Iterator[None]:
        """Expect that the fault within the block fires all of the alerts.

        Call `resolved` once the fault has ended.
        """
        for name in names:
            assert not self.firing(name), f"{name} fires before the fault"
        began = time.monotonic()
        yield
        for name in names:
            until(lambda name=name: self.firing(name), seconds=PATIENCE, what=f"{name} fires")  # type: ignore[misc]
            self._note(fault, name, "fires", began)

    def resolved(self, fault: str, *names: str) -> None:
        ended = time.monotonic()
        for name in names:
            until(
                lambda name=name: not self.firing(name),  # type: ignore[misc]
                seconds=PATIENCE,
                what=f"{name} is resolved",
            )
            self._note(fault, name, "resolved", ended)

    def _note(self, fault: str, name: str, what: str, since: float) -> None:
        self.note(f"{fault:44} {name:34} {what:9} {time.monotonic() - since:5.0f} s")
