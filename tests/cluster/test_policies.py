"""Who may connect to whom: tried from pods, inside of the release and outside of it."""

import json
from typing import Any

import pytest

from tests.cluster.commands import apply, kubectl, namespace
from tests.cluster.images import KINDS, name
from tests.cluster.release import Release
from tests.cluster.table import Table
from tests.processes import until

ELSEWHERE = "heavylift-elsewhere"

# Whether each address takes a connection: refused is an answer, silence within 2 s is none.
TRY = """
import json, socket, sys
found = {}
for address in sys.argv[1:]:
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
        found[address] = True
    except OSError:
        found[address] = False
print(json.dumps(found))
"""

# Ports that a stranger listens on: mail's, which the API may reach, and one that nobody may.
MAIL, OTHER = 587, 5870

LISTEN = """
import socket, sys, time
kept = [socket.create_server(("", int(port))) for port in sys.argv[1:]]
time.sleep(3600)
"""


def stranger() -> dict[str, Any]:
    container = {
        "name": "stranger",
        "image": name("worker", KINDS),
        "command": ["python", "-c", LISTEN, str(MAIL), str(OTHER)],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "stranger", "namespace": ELSEWHERE},
        "spec": {
            "securityContext": {
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
                # Whoever it is may listen on the port of mail.
                "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}],
            },
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
        },
    }


def addresses(release: Release) -> dict[str, str]:
    """By what they are: pods' own, so that no Service stands between."""
    ports = {
        ("postgresql", 5432),
        ("redis", 6379),
        ("s3", 7070),
        ("api", 8000),
        ("api", 9464),
        ("controller", 9464),
        ("worker-io", 9464),
    }
    return {
        f"{component}:{port}": f"{release.pods(component)[0]['status']['podIP']}:{port}"
        for component, port in ports
    }


def reached(where: tuple[str, ...], targets: dict[str, str]) -> set[str]:
    said = kubectl("exec", *where, "--", "python", "-c", TRY, *targets.values())
    found = json.loads(said)
    return {what for what, address in targets.items() if found[address]}


def test_what_must_not_connect_does_not(release: Release, table: Table) -> None:
    targets = addresses(release)
    servers = {"postgresql:5432", "redis:6379", "s3:7070"}
    public = {"api:8000", "api:9464", "controller:9464", "worker-io:9464"}
    apply(namespace(ELSEWHERE), stranger())
    with table.row("NetworkPolicies") as row:
        try:
            kubectl(
                "wait",
                "--for=condition=Ready",
                "pod/stranger",
                "--namespace",
                ELSEWHERE,
                "--timeout=120s",
            )
            # They hold within a second or so of a pod's start.
            until(
                lambda: reached((f"--namespace={ELSEWHERE}", "stranger"), targets) == public,
                seconds=30,
                what="a stranger reaches the API and the signals, and no server",
            )
            pod = json.loads(kubectl("get", "pod/stranger", f"--namespace={ELSEWHERE}", "-o=json"))
            for port in (MAIL, OTHER):
                targets[f"stranger:{port}"] = f"{pod['status']['podIP']}:{port}"
            own = f"--namespace={release.namespace}"
            for component in ("api", "controller", "worker-io"):
                pod = release.ready(component)[0]
                mine = {one for one in targets if one.startswith(f"{component}:")}
                # Its servers, and nobody who is behind a policy of his own.
                its = servers | {f"stranger:{MAIL}"} if component == "api" else servers
                assert reached((own, pod), targets) - mine == its, component
        finally:
            kubectl("delete", "namespace", ELSEWHERE, "--wait=false")
        row.saw(
            f"{len(targets)} addresses from 4 pods: a stranger reached no server, "
            "ours nothing but servers, and the API a mail server"
        )


@pytest.mark.parametrize("component", ["postgresql", "redis", "s3"])
def test_servers_reach_nobody(component: str, release: Release, table: Table) -> None:
    policy = release.get("networkpolicy", f"{release.name}-{component}")["spec"]
    ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert ports == {53, 5353}
