"""A release of the chart, and what can be seen of it from outside."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chart.rendering import CHART, program
from tests.cluster.commands import apply, get, kubectl, namespace, run
from tests.processes import until

VALUES = Path(__file__).parent / "values.yaml"


@dataclass(frozen=True)
class Release:
    namespace: str
    name: str = "heavylift"

    def install(self, *options: str, values: Sequence[Path] = (VALUES,)) -> None:
        apply(namespace(self.namespace))
        self._helm("install", self.name, str(CHART), *_files(values), *options)

    def upgrade(self, *options: str, values: Sequence[Path] = (VALUES,)) -> None:
        """To these values and no others; it returns when all of it serves."""
        files = _files(values)
        self._helm("upgrade", self.name, str(CHART), *files, *options, "--wait", "--timeout", "5m")

    def rollback(self) -> None:
        self._helm("rollback", self.name, "--wait", "--timeout", "5m")

    def uninstall(self) -> None:
        self._helm("uninstall", self.name, "--wait", "--timeout", "5m")

    def _helm(self, *command: str) -> str:
        return run(program("helm"), "--namespace", self.namespace, *command).decode()

    def kubectl(self, *command: str, stdin: str | bytes | None = None) -> str:
        return kubectl("--namespace", self.namespace, *command, stdin=stdin)

    def get(self, *command: str) -> dict[str, Any]:
        return get("--namespace", self.namespace, *command)

    def remove(self) -> None:
        """With all that it has; the tests are over with it."""
        kubectl("delete", "namespace", self.namespace, "--ignore-not-found")

    # --- pods ---------------------------------------------------------------------------------

    def pods(self, component: str) -> list[dict[str, Any]]:
        """Those that nobody has told to go."""
        selector = f"app.kubernetes.io/component={component}"
        found: list[dict[str, Any]] = self.get("pods", "--selector", selector)["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def names(self, component: str) -> set[str]:
        return {pod["metadata"]["name"] for pod in self.pods(component)}

    def ready(self, component: str) -> list[str]:
        return [
            pod["metadata"]["name"]
            for pod in self.pods(component)
            if any(
                one["type"] == "Ready" and one["status"] == "True"
                for one in pod["status"].get("conditions", [])
            )
        ]

    def restarts(self, pod: str) -> int:
        statuses = self.get("pod", pod)["status"]["containerStatuses"]
        return sum(one["restartCount"] for one in statuses)

    def wait_ready(self, component: str, count: int = 1, *, seconds: float = 180) -> None:
        until(
            lambda: len(self.ready(component)) >= count,
            seconds=seconds,
            what=f"{count} of {component} are ready",
        )

    def execute(self, target: str, *command: str, stdin: str | bytes | None = None) -> str:
        """In a pod; `deployment/...` is one of its own."""
        return self.kubectl("exec", "--stdin", target, "--", *command, stdin=stdin)

    # --- the ledger ---------------------------------------------------------------------------

    def query(self, statement: str) -> list[list[str]]:
        """Rows of the bundled PostgreSQL."""
        psql = "psql", "--username=heavylift", "--no-align", "--tuples-only", "--command", statement
        lines = self.execute(f"{self.name}-postgresql-0", *psql).splitlines()
        return [line.split("|") for line in lines]

    def number(self, statement: str) -> int:
        ((value,),) = self.query(f"SELECT coalesce(({statement}), 0)")
        return int(value)

    # --- ingress ------------------------------------------------------------------------------

    def ingress(self) -> str:
        """The address that the cluster gave it; `INGRESS` where that is another from here."""
        if given := os.environ.get("INGRESS"):
            return given.rstrip("/")

        def look() -> str | None:
            ingress = self.get("ingress", self.name)
            found = ingress["status"].get("loadBalancer", {}).get("ingress", [])
            return next((one.get("ip") or one.get("hostname") for one in found), None)

        return f"http://{until(look, seconds=60, what='ingress has an address')}"


def _files(values: Sequence[Path]) -> list[str]:
    return [option for file in values for option in ("--values", str(file))]
