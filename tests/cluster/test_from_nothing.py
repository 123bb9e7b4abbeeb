"""From nothing to a finished job: by the README's commands, and by the manifests."""

import os
import shlex

from tests.chart.rendering import ROOT
from tests.cluster.commands import kubectl, run
from tests.cluster.release import Release
from tests.cluster.table import Table
from tests.processes import until
from tests.readme import section


def test_the_readmes_commands(images: None, table: Table) -> None:
    commands = [
        line.removeprefix("$ ")
        for line in section("On Kubernetes").splitlines()
        if line.startswith("$ ")
    ][:3]
    assert [command.split()[:2] for command in commands] == [
        ["make", "images"],
        ["helm", "install"],
        ["helm", "test"],
    ]
    release = Release("heavylift-readme")
    release.remove()
    kubectl("create", "namespace", release.namespace)
    try:
        with table.row("the README's three commands") as row:
            said = ""
            for command in commands:
                said = run(
                    *("env", f"HELM_NAMESPACE={release.namespace}", *shlex.split(command)),
                    limit=900,
                ).decode()
            assert "delete the account" in said
            row.saw("a picture was transformed")
        with table.row("helm uninstall") as row:
            release.uninstall()
            kinds = (
                "all,pvc,secret,configmap,serviceaccount,role,rolebinding,networkpolicy,ingress,pdb"
            )

            def left() -> set[str]:
                return {
                    f"{one['kind']}/{one['metadata']['name']}"
                    for one in release.get(kinds)["items"]
                    if one["metadata"]["name"] not in ("kube-root-ca.crt", "default")
                }

            servers = ("postgresql", "redis", "s3")
            secrets = {f"Secret/heavylift-{one}" for one in ("auth", *servers)}
            volumes = {f"PersistentVolumeClaim/data-heavylift-{one}-0" for one in servers}
            said_to_stay = {*secrets, *volumes, "Pod/heavylift-smoke"}
            until(lambda: left() <= said_to_stay, seconds=120, what="its pods have ended")
            assert left() == said_to_stay
            row.saw(
                f"left, as it says: {len(secrets)} Secrets, {len(volumes)} volumes, helm test's pod"
            )
            release.kubectl(
                *("delete", "pvc,secret,pod"),
                *("--selector", "app.kubernetes.io/instance=heavylift"),
            )
            assert left() == set()
    finally:
        if "KEEP" not in os.environ:
            release.remove()


def test_the_manifests_run_the_same(images: None, table: Table) -> None:
    release = Release("heavylift")
    release.remove()
    try:
        with table.row("kubectl apply -k k8s/overlays/dev, then k8s/smoke") as row:
            kubectl("apply", "--kustomize", str(ROOT / "k8s" / "overlays" / "dev"))
            for component, count in (("api", 2), ("controller", 2), ("worker-cpu", 1)):
                release.wait_ready(component, count)
            kubectl("apply", "--kustomize", str(ROOT / "k8s" / "smoke"))
            release.kubectl(
                *("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/heavylift-smoke"),
                "--timeout=120s",
            )
            assert "delete the account" in release.kubectl("logs", "heavylift-smoke")
            row.saw("the smoke test passed")
    finally:
        release.remove()
