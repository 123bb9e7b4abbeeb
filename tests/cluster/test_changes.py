"""What changes under load: versions, nodes, servers, secrets. Nobody who uses it sees that."""

import json
import re
import secrets
from base64 import b64decode

import httpx2
import pytest

from tests.cluster.commands import kubectl
from tests.cluster.images import NEXT
from tests.cluster.release import Release
from tests.cluster.table import Table
from tests.cluster.users import User, nothing_lost, register, under_load
from tests.processes import until

# What nobody moves: each has one pod and one volume.
SERVERS = "postgresql,redis,s3"


def revision(release: Release) -> str:
    ((found,),) = release.query("SELECT version_num FROM alembic_version")
    return found


# As the alert of stalled pools has it.
AGE = "heavylift_pool_oldest_eligible_age_seconds"


def stalled_age(release: Release) -> str:
    """The threshold in the release's PrometheusRule."""
    groups = release.get("prometheusrule", release.name)["spec"]["groups"]
    (found,) = (
        re.search(rf"\({AGE}\) > (\d+)", rule["expr"])
        for group in groups
        for rule in group["rules"]
        if rule.get("alert") == "HeavyliftPoolStalled"
    )
    assert found is not None
    return found[1]


def test_a_next_version_and_back(user: User, release: Release, table: Table) -> None:
    with table.row("helm upgrade: a migration, a changed kind") as row:
        before = revision(release)
        assert stalled_age(release) == "300"
        with under_load(user) as load:
            release.upgrade(
                *("--set", f"image.tag={NEXT}"),
                *("--set", "monitoring.rules.thresholds.pool_stalled_age=1000000"),
            )
            after = revision(release)
            assert stalled_age(release) == "1000000"
            # With the field that only the next version knows.
            user.wait(user.submit("test.wait", seconds=0, loudly=True))
        row.saw(f"schema {before} -> {after}")
        nothing_lost(user, row, load, more=1)
        assert (before, after) == ("0006", "0007")
        assert load.failed() == []

    with table.row("helm rollback, on the next version's schema") as row:
        with under_load(user) as back:
            release.rollback()
        row.saw(f"schema {revision(release)}")
        assert stalled_age(release) == "300"
        nothing_lost(user, row, load, back, more=1)
        assert revision(release) == "0007"
        assert back.failed() == []
        with pytest.raises(httpx2.HTTPStatusError, match="422"):
            user.submit("test.wait", seconds=0, loudly=True)


def drain(node: str) -> None:
    kubectl(
        *("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=300s"),
        *("--pod-selector", f"app.kubernetes.io/component notin ({SERVERS})"),
    )


def node_of(release: Release, component: str) -> str:
    node: str = release.pods(component)[0]["spec"]["nodeName"]
    return node


def test_a_node_is_drained(user: User, release: Release, table: Table) -> None:
    node = node_of(release, "api")
    with table.row("kubectl drain of a node") as row:
        try:
            with under_load(user) as load:
                drain(node)
                release.wait_ready("api", 2)
                release.wait_ready("worker-io", 2)
        finally:
            kubectl("uncordon", node)
        assert {node_of(release, "api"), node_of(release, "worker-io")} != {node}
        nothing_lost(user, row, load)
        assert load.failed() == []


def test_one_replica_blocks_no_drain(release: Release, table: Table) -> None:
    with table.row("kubectl drain with one replica of all") as row:
        try:
            release.upgrade("--set", "api.replicas=1,controller.replicas=1")
            until(lambda: len(release.pods("api")) == 1, seconds=60, what="one is left")
            node = node_of(release, "api")
            drain(node)
            assert node_of(release, "api") != node
            row.saw("it was never blocked")
        finally:
            kubectl("uncordon", "--selector", "kubernetes.io/os=linux")
            release.upgrade()


@pytest.mark.parametrize("server", ["postgresql", "redis"])
def test_a_servers_pod_is_deleted(server: str, user: User, release: Release, table: Table) -> None:
    with table.row(f"the pod of {server} deleted") as row:
        with under_load(user) as load:
            release.kubectl("delete", "pod", f"{release.name}-{server}-0", "--wait=true")
            release.wait_ready(server)
            last = len(load.answers)

            def served() -> bool:
                recent = load.answers[last:][-20:]
                return len(recent) == 20 and all(one.status // 100 == 2 for one in recent)

            until(served, seconds=60, what="it serves again")
        nothing_lost(user, row, load)
        # With the database away it says so; without Redis it serves.
        allowed = {503} if server == "postgresql" else set()
        assert {one.status for one in load.failed()} <= allowed


# --- secrets ------------------------------------------------------------------------------------


def secret(release: Release, name: str, key: str) -> str:
    return b64decode(release.get("secret", name)["data"][key]).decode()


def change_secret(release: Release, name: str, key: str, value: str) -> None:
    patch = json.dumps({"stringData": {key: value}})
    release.kubectl("patch", "secret", name, "--patch", patch)


def test_signing_keys_rotate(user: User, release: Release, table: Table) -> None:
    """First all know the next one, then it signs: as the chart's README says."""
    name = f"{release.name}-auth"
    old = secret(release, name, "signing-keys")
    new = f"second:{secrets.token_urlsafe(32)}"
    with table.row("another signing key") as row:
        with under_load(user) as load:
            for keys in (f"{old},{new}", f"{new},{old}"):
                change_secret(release, name, "signing-keys", keys)
                release.upgrade()
                # Signed with the one, good with both.
                register(release, user.url).call("GET", "/users/me")
        assert secret(release, name, "signing-keys") == f"{new},{old}"
        nothing_lost(user, row, load)
        assert load.failed() == []


def test_a_databases_password_rotates(user: User, release: Release, table: Table) -> None:
    """By two roles that take turns; nothing is started anew."""
    name = f"{release.name}-postgresql"
    url, password = secret(release, name, "url"), secrets.token_urlsafe(24)
    other = url.replace("heavylift:", "heavylift_b:", 1).replace(
        secret(release, name, "password"), password
    )
    release.query(f"CREATE ROLE heavylift_b LOGIN PASSWORD '{password}' IN ROLE heavylift")
    release.query("ALTER ROLE heavylift_b SET role TO heavylift")
    with table.row("another role and password of the database") as row:
        before = {pod: release.restarts(pod) for pod in release.names("api")}
        with under_load(user) as load:
            change_secret(release, name, "url", other)
            file = "/run/secrets/heavylift/database/url"
            until(
                lambda: all(
                    release.execute(pod, "python", "-c", f"print(open({file!r}).read())").strip()
                    == other
                    for component in ("api", "controller", "worker-io")
                    for pod in release.ready(component)
                ),
                seconds=180,
                what="all have the file",
            )
            release.query("ALTER ROLE heavylift PASSWORD 'changed'")
            # What was connected stays so; a pod that is new knows the new role alone.
            release.kubectl("delete", "pod", release.ready("controller")[0], "--wait=false")
            by_role = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'heavylift_b'"
            until(lambda: release.number(by_role) > 0, seconds=90, what="the new role is used")
        row.saw(f"{release.number(by_role)} connections of the new role")
        nothing_lost(user, row, load)
        assert load.failed() == []
        assert {pod: release.restarts(pod) for pod in before} == before
    # What is in the Secret stays there.
    release.upgrade()
    assert secret(release, name, "url") == other
    release.query(f"ALTER ROLE heavylift PASSWORD '{secret(release, name, 'password')}'")
    change_secret(release, name, "url", url)
