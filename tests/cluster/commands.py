"""kubectl and helm, as people type them, on the cluster of KUBECONFIG."""

import json
import subprocess
from collections.abc import Mapping
from typing import Any

from tests.chart.rendering import ROOT

# Seconds that one command may take.
LIMIT = 420.0


class CommandFailed(Exception):
    """With what it said."""


def run(*command: str, stdin: str | bytes | None = None, limit: float = LIMIT) -> bytes:
    """Standard output. Raises `CommandFailed`."""
    ran = subprocess.run(
        command,
        cwd=ROOT,
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        capture_output=True,
        timeout=limit,
    )
    if ran.returncode:
        said = (ran.stdout[-4000:] + ran.stderr[-4000:]).decode(errors="replace")
        raise CommandFailed(f"{' '.join(command)[:200]}: exit code {ran.returncode}\n{said}")
    return ran.stdout


def kubectl(*command: str, stdin: str | bytes | None = None) -> str:
    return run("kubectl", *command, stdin=stdin).decode()


def get(*command: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(kubectl("get", *command, "--output", "json"))
    return found


def apply(*manifests: Mapping[str, Any]) -> None:
    document = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
    kubectl("apply", "--filename", "-", stdin=json.dumps(document))


def namespace(name: str) -> dict[str, Any]:
    """One that takes no pod that could do more than ours."""
    restricted = {
        f"pod-security.kubernetes.io/{what}": "restricted" for what in ("enforce", "warn")
    }
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": restricted},
    }
