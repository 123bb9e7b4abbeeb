"""What a value changes, and what a bad one is told."""

import hashlib
import re
import subprocess
from typing import Any

import pytest
import yaml

from tests.chart.rendering import (
    CHART,
    PRODUCTION,
    Manifest,
    Refused,
    by_name,
    container,
    env,
    pod_of,
    program,
    render,
    template,
)
from tests.chart.value_sets import EXTERNAL, VALUE_SETS, without_random

pytestmark = pytest.mark.chart


def rendered(**values: Any) -> dict[str, Manifest]:
    return by_name(render(values=without_random(values)))


def changed(**values: Any) -> dict[str, set[str]]:
    """Names of manifests that the values bring, take away or change."""
    before, after = rendered(), rendered(**values)
    return {
        "new": after.keys() - before.keys(),
        "gone": before.keys() - after.keys(),
        "changed": {one for one in before.keys() & after.keys() if before[one] != after[one]},
    }


SENDER = "Heavylift <no-reply@example.com>"
MAIL = {"existingSecret": "mail", "sender": SENDER}
PAGE = {"api": {"settings": {"HEAVYLIFT_NEWSLETTER_PAGE_URL": "https://example.com/news"}}}

WORKERS = {"Deployment/heavylift-worker-cpu", "Deployment/heavylift-worker-io"}


@pytest.mark.parametrize(
    ("values", "difference"),
    [
        ({"api": {"replicas": 3}}, {"changed": {"Deployment/heavylift-api"}}),
        (
            {"api": {"autoscaling": {"enabled": True}}},
            {
                "new": {"HorizontalPodAutoscaler/heavylift-api"},
                "changed": {"Deployment/heavylift-api"},
            },
        ),
        (
            {"keda": {"enabled": True}},
            {
                "new": {"ScaledObject/heavylift-worker-cpu", "ScaledObject/heavylift-worker-io"},
                "changed": WORKERS | {"Deployment/heavylift-controller"},
            },
        ),
        (
            {"workers": {"gpu": {}}},
            {
                "new": {
                    "Deployment/heavylift-worker-gpu",
                    "NetworkPolicy/heavylift-worker-gpu",
                    "PodDisruptionBudget/heavylift-worker-gpu",
                },
                # They all know the pools there are.
                "changed": {
                    "Deployment/heavylift-api",
                    "Deployment/heavylift-controller",
                    *WORKERS,
                },
            },
        ),
        (
            {"workers": {"cpu": {"concurrency": 4}}},
            {"changed": {"Deployment/heavylift-worker-cpu"}},
        ),
        (
            {"controller": {"paused": True}},
            {"changed": {"Deployment/heavylift-controller"}},
        ),
        (
            {"controller": {"markPods": False}},
            {
                "gone": {"Role/heavylift-controller", "RoleBinding/heavylift-controller"},
                "changed": {
                    "Deployment/heavylift-controller",
                    "NetworkPolicy/heavylift-controller",
                },
            },
        ),
        ({"ingress": {"enabled": False}}, {"gone": {"Ingress/heavylift"}}),
        (
            {"mail": MAIL, **PAGE},
            {"changed": {"Deployment/heavylift-api", "NetworkPolicy/heavylift-api"}},
        ),
        (
            {"mail": {"url": "smtp://mail.example.com", "sender": SENDER}, **PAGE},
            {
                "new": {"Secret/heavylift-mail"},
                "changed": {"Deployment/heavylift-api", "NetworkPolicy/heavylift-api"},
            },
        ),
        (
            {"monitoring": {"operator": {"enabled": True}}},
            {"new": {"ServiceMonitor/heavylift-controller", "PodMonitor/heavylift"}},
        ),
        (
            {"loadtest": {"enabled": True}},
            {
                "new": {"Job/heavylift-loadtest-1", "NetworkPolicy/heavylift-loadtest"},
                # Its users come from one address.
                "changed": {"Deployment/heavylift-api"},
            },
        ),
    ],
)
def test_a_value_changes_what_it_says_and_nothing_else(
    values: dict[str, Any], difference: dict[str, set[str]]
) -> None:
    nothing: dict[str, set[str]] = {"new": set(), "gone": set(), "changed": set()}
    found = changed(**values)
    assert found == {**nothing, **difference}


def test_a_variable_is_there_once_and_the_nearest_value_says_what_it_is() -> None:
    """Helm 4 refuses duplicates: https://github.com/helm/helm/issues/31529"""
    found = rendered(
        telemetry={"otlpEndpoint": "http://collector:4318"},
        env=[
            {"name": "AWS_REGION", "value": "all"},
            {"name": "OTEL_TRACES_SAMPLER", "value": "always_on"},
        ],
        api={"env": [{"name": "AWS_REGION", "value": "mine"}]},
        loadtest={"enabled": True, "env": [{"name": "TZ", "value": "UTC"}]},
    )
    for name, region in (("api", "mine"), ("controller", "all"), ("worker-io", "all")):
        deployment = found[f"Deployment/heavylift-{name}"]
        names = [one["name"] for one in container(deployment)["env"]]
        assert len(names) == len(set(names))
        variables = env(deployment)
        assert variables["AWS_REGION"] == region
        assert variables["OTEL_TRACES_SAMPLER"] == "always_on"
        # It is expanded where it stands before the one that names it.
        assert names.index("POD_NAME") < names.index("OTEL_RESOURCE_ATTRIBUTES")
    assert env(found["Job/heavylift-loadtest-1"])["TZ"] == "UTC"


def test_keys_of_a_secret_are_those_of_ones_own() -> None:
    """The chart's has one key, whatever `values-production.yaml` says of another."""
    external = {**EXTERNAL["postgresql"]["external"], "urlKey": "uri", "directUrlKey": "direct"}
    found = rendered(postgresql={"enabled": False, "external": external})
    assert "HEAVYLIFT_DATABASE_DIRECT_URL_FILE" not in env(found["Deployment/heavylift-api"])
    pod = pod_of(found["Deployment/heavylift-api"])
    assert pod is not None
    (volume,) = (one for one in pod["spec"]["volumes"] if one["name"] == "database")
    assert volume["secret"]["items"] == [{"key": "url", "path": "url"}]


def test_pods_start_anew_for_other_secrets_that_they_read_once() -> None:
    def checksums() -> dict[str, dict[str, str]]:
        # Of Secrets that are made anew each time.
        found = by_name(render())
        pods = {name: pod_of(found[f"Deployment/heavylift-{name}"]) for name in read}
        return {
            name: {
                key.removeprefix("checksum/"): value
                for key, value in ((pod or {})["metadata"]["annotations"]).items()
                if key.startswith("checksum/")
            }
            for name, pod in pods.items()
        }

    read = {
        "api": {"auth", "redis", "storage"},
        "controller": {"redis", "storage"},
        "worker-io": {"redis", "storage"},
    }
    one, other = checksums(), checksums()
    assert {name: set(found) for name, found in one.items()} == read
    for name, secrets in read.items():
        assert all(one[name][secret] != other[name][secret] for secret in secrets)


@pytest.mark.parametrize(("server", "name"), [("redis", "redis"), ("s3", "storage")])
def test_a_server_starts_anew_with_those_who_read_its_secret(server: str, name: str) -> None:
    """Which is another in each of these renderings."""

    def checksums() -> set[str]:
        found = by_name(render())
        pods = [pod_of(found[f"StatefulSet/heavylift-{server}"])]
        pods.append(pod_of(found["Deployment/heavylift-api"]))
        return {one["metadata"]["annotations"][f"checksum/{name}"] for one in pods if one}

    (one,), (other,) = checksums(), checksums()
    assert one != other


def test_proxies_are_trusted_where_they_are_named() -> None:
    name = "HEAVYLIFT_API_FORWARDED_ALLOW_IPS"
    assert name not in env(rendered()["Deployment/heavylift-api"])
    found = rendered(ingress={"trustedProxies": "10.1.0.0/16"})["Deployment/heavylift-api"]
    assert env(found)[name] == "10.1.0.0/16"
    found = rendered(ingress={"trustedProxies": 2})["Deployment/heavylift-api"]
    assert env(found)[name] == "2"


def test_origins_of_pages_are_a_setting_of_the_api() -> None:
    name = "HEAVYLIFT_API_CORS_ORIGINS"
    assert name not in env(rendered()["Deployment/heavylift-api"])
    found = rendered(api={"settings": {name: "https://app.example.com"}})
    assert env(found["Deployment/heavylift-api"])[name] == "https://app.example.com"
    assert name not in env(found["Deployment/heavylift-controller"])


def test_links_in_mails_lead_to_the_ingress_unless_a_setting_says_where() -> None:
    mail = {"mail": MAIL}

    def page(**values: Any) -> str | None:
        found = rendered(**values)["Deployment/heavylift-api"]
        return env(found).get("HEAVYLIFT_NEWSLETTER_PAGE_URL")

    assert page() is None
    host = {"host": "heavylift.example.com"}
    assert page(**mail, ingress=host) == "http://heavylift.example.com/newsletter"
    encrypted = {**host, "tlsSecret": "tls"}
    assert page(**mail, ingress=encrypted) == "https://heavylift.example.com/newsletter"
    assert page(**mail, ingress=encrypted, **PAGE) == "https://example.com/news"
    found = rendered(**mail, **PAGE)["Deployment/heavylift-api"]
    assert env(found)["HEAVYLIFT_MAIL_SENDER"] == SENDER


def test_a_long_tag_is_a_label_that_is_cut() -> None:
    tag = f"feature-{'x' * 54}.{'y' * 20}"
    for manifest in rendered(image={"tag": tag}).values():
        version = manifest["metadata"]["labels"]["app.kubernetes.io/version"]
        assert version == tag[:62]
        assert re.fullmatch(r"[\w.-]{1,63}", version)


def test_a_pools_name_fits_into_what_keda_makes_of_it() -> None:
    values = {"keda": {"enabled": True}, "workers": {"a-pool-of-16-abc": {}}}
    manifests = render(values=values, name="a" * 53)
    names = [one["metadata"]["name"] for one in manifests if one["kind"] == "ScaledObject"]
    assert max(map(len, names)) <= 54


def test_a_load_test_lifts_no_limit_that_was_set() -> None:
    one, other = (f"HEAVYLIFT_AUTH_{what}_PER_ADDRESS" for what in ("LOGINS", "REGISTRATIONS"))
    for given in ({"settings": {one: "9/minute"}}, {"api": {"settings": {one: "9/minute"}}}):
        found = env(rendered(loadtest={"enabled": True}, **given)["Deployment/heavylift-api"])
        assert (found[one], found[other]) == ("9/minute", "100000/minute")


def test_a_load_test_with_its_password_needs_no_secret() -> None:
    values = {
        "secrets": {"make": False},
        "auth": {"existingSecret": "keys"},
        "loadtest": {"enabled": True, "settings": {"LOADTEST_PASSWORD": "of the accounts"}},
    }
    job = by_name(render(values=values))["Job/heavylift-loadtest-1"]
    assert env(job)["LOADTEST_PASSWORD"] == "of the accounts"


def test_a_load_test_is_scraped_like_the_other_processes() -> None:
    settings = {"LOADTEST_METRICS_LINGER": 20, "LOADTEST_METRICS_PORT": 1}
    loadtest = {"enabled": True, "settings": settings}
    found = rendered(loadtest=loadtest, monitoring={"operator": {"enabled": True}})
    job = found["Job/heavylift-loadtest-1"]
    assert container(job)["ports"] == [{"name": "signals", "containerPort": 9464}]
    variables = env(job)
    # The port is the one above, whatever the settings say.
    assert variables["LOADTEST_METRICS_PORT"] == "9464"
    assert variables["LOADTEST_METRICS_HOST"] == "0.0.0.0"
    assert variables["LOADTEST_METRICS_LINGER"] == "20"
    pod = pod_of(job)
    assert pod is not None
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == "9464"
    (peers,) = found["NetworkPolicy/heavylift-loadtest"]["spec"]["ingress"]
    assert peers == {"from": [{"namespaceSelector": {}}], "ports": [{"port": "signals"}]}

    by_operator = {"monitoring": {"operator": {"enabled": True}}}
    job = rendered(loadtest={"enabled": True}, **by_operator)["Job/heavylift-loadtest-1"]
    assert env(job)["LOADTEST_METRICS_LINGER"] == "60"
    job = rendered(loadtest={"enabled": True})["Job/heavylift-loadtest-1"]
    assert "LOADTEST_METRICS_LINGER" not in env(job)

    # Before there is one: a load test is over before the operator has seen another monitor.
    (labels,) = rendered(**by_operator)["PodMonitor/heavylift"]["spec"]["selector"][
        "matchExpressions"
    ]
    component = pod["metadata"]["labels"]["app.kubernetes.io/component"]
    assert component in labels["values"]


def test_a_load_tests_accounts_have_a_password() -> None:
    """The same ever after, since accounts stay: made with the release's other secrets."""
    made = by_name(render(values={"loadtest": {"enabled": True}}))
    (password,) = made["Secret/heavylift-loadtest"]["stringData"].values()
    assert len(password) == 32

    def source(**loadtest: Any) -> Any:
        found = by_name(render(values={"loadtest": {"enabled": True, **loadtest}}))
        assert ("Secret/heavylift-loadtest" in found) is ("existingSecret" not in loadtest)
        (variable,) = (
            one
            for one in container(found["Job/heavylift-loadtest-1"])["env"]
            if one["name"] == "LOADTEST_PASSWORD"
        )
        return variable.get("value") or variable["valueFrom"]["secretKeyRef"]["name"]

    assert source() == "heavylift-loadtest"
    assert source(existingSecret="mine") == "mine"
    assert source(settings={"LOADTEST_PASSWORD": "said"}) == "said"


@pytest.mark.parametrize("server", ["postgresql", "redis", "s3"])
def test_a_bundled_server_is_off_by_one_value(server: str) -> None:
    found = changed(**{server: EXTERNAL[server]})
    name = f"heavylift-{server}"
    assert found["gone"] >= {f"StatefulSet/{name}", f"Service/{name}", f"NetworkPolicy/{name}"}


def test_a_checksum_is_text_though_it_looks_like_a_number() -> None:
    """Of 1,500 generated keys one does, and the API server refuses the pod."""
    url = "redis://redis-2766:6379/0"
    digest = hashlib.sha256(url.encode()).hexdigest()[:16]
    assert digest.isdecimal()
    pod = pod_of(
        rendered(redis={"enabled": False, "external": {"url": url}})["Deployment/heavylift-api"]
    )
    assert pod is not None
    assert pod["metadata"]["annotations"]["checksum/redis"] == digest


@pytest.mark.parametrize("name", ["123", "1e5", "true", "null"])
def test_a_release_may_be_named_like_a_number(name: str) -> None:
    for manifest in render(values=without_random({}), name=name):
        metadata = [manifest["metadata"]]
        pod = pod_of(manifest)
        if pod is not None:
            metadata.append(pod["metadata"])
        for one in metadata:
            texts = {**one["labels"], **one.get("annotations", {})}
            assert {type(value) for value in texts.values()} == {str}


def test_a_secret_may_be_named_like_a_number() -> None:
    named = {"existingSecret": "123"}
    servers = {one: {"enabled": False, "external": named} for one in ("postgresql", "redis")}
    store = {"enabled": False, "external": {"url": "s3://bucket", **named}}
    found = render(
        values={
            **servers,
            "s3": store,
            "auth": named,
            "mail": {**MAIL, **named},
            **PAGE,
            "loadtest": {"enabled": True, "report": "s3://bucket/reports", **named},
            "image": {"pullSecrets": ["123"]},
            "ingress": {"tlsSecret": "123"},
        }
    )
    text = yaml.safe_dump(found)
    assert "'123'" in text
    assert not re.search(r": 123\b", text)


def egress(component: str, **values: Any) -> list[Manifest]:
    rules = rendered(**values)[f"NetworkPolicy/heavylift-{component}"]["spec"]["egress"]
    assert isinstance(rules, list)
    return rules


def anywhere(*ports: int) -> Manifest:
    return {"ports": [{"port": port} for port in ports]}


def test_policies_let_pods_out_to_what_the_values_name() -> None:
    # Names are looked up on the node, too, and on OpenShift's port.
    dns = [{"port": n, "protocol": how} for n in (53, 5353) for how in ("UDP", "TCP")]
    for component in ("api", "controller", "worker-cpu", "postgresql"):
        assert egress(component)[0] == {"ports": dns}
    assert anywhere(443, 6443, 8443, 16443) in egress("controller")
    # Mail is the API's.
    mail = {"mail": MAIL, **PAGE}
    assert anywhere(25, 465, 587) in egress("api", **mail)
    assert egress("worker-cpu", **mail) == egress("worker-cpu")
    # Another API, wherever it listens.
    elsewhere = {"enabled": True, "host": "https://heavylift.example.com"}
    assert {} in egress("loadtest", loadtest=elsewhere)
    assert {} not in egress("loadtest", loadtest={"enabled": True})
    # Credentials of the node, where no Secret has the store's.
    node = {
        "to": [{"ipBlock": {"cidr": "169.254.0.0/16"}}],
        "ports": [{"port": 80}, {"port": 988}],
    }
    store: dict[str, Any] = {"enabled": False, "external": {"url": "s3://bucket"}}
    for component in ("api", "worker-cpu"):
        assert node in egress(component, s3=store)
        assert node not in egress(component)
        own = {**store, "external": {**store["external"], "existingSecret": "keys"}}
        assert node not in egress(component, s3=own)
    # Peers that are named are all there are.
    peers = [{"ipBlock": {"cidr": "10.0.0.0/8"}}]
    policy = {"egressTo": peers}
    assert egress("api", networkPolicy=policy, **mail)[-1] == {"to": peers}
    assert egress("loadtest", networkPolicy=policy, loadtest=elsewhere)[-1] == {"to": peers}


@pytest.mark.parametrize("name", VALUE_SETS)
def test_every_pod_is_restricted(name: str) -> None:
    """Kubernetes' Pod Security Standard of that name, and what goes beyond it."""
    files, values = VALUE_SETS[name]
    for manifest in render(*files, values=values):
        pod = pod_of(manifest)
        if pod is None:
            continue
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys()
        assert all("hostPath" not in volume for volume in spec["volumes"])
        # The API server's token is the controller's alone.
        marks = manifest["metadata"]["name"].endswith("-controller")
        assert spec["automountServiceAccountToken"] is marks
        one = container(manifest)
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert one["resources"]["requests"].keys() >= {"cpu", "memory"} or "gpu" in str(manifest)
        assert "memory" in one["resources"]["limits"]
        assert "preStop" not in str(one)


def test_secrets_are_files_and_whoever_needs_none_has_none() -> None:
    manifests = rendered(loadtest={"enabled": True})
    keys = {
        name
        for name, one in manifests.items()
        if pod_of(one) is not None and "HEAVYLIFT_AUTH_SIGNING_KEYS_FILE" in env(one)
    }
    assert keys == {"Deployment/heavylift-api"}
    for one in manifests.values():
        if pod_of(one) is not None:
            assert not {name for name in env(one) if name.endswith(("DATABASE_URL", "REDIS_URL"))}


@pytest.mark.parametrize("name", VALUE_SETS)
def test_a_disruption_budget_never_blocks_the_drain_of_one_replica(name: str) -> None:
    files, values = VALUE_SETS[name]
    budgets = [one for one in render(*files, values=values) if one["kind"] == "PodDisruptionBudget"]
    assert len(budgets) >= 3
    for budget in budgets:
        assert "minAvailable" not in budget["spec"]
        assert budget["spec"]["maxUnavailable"] != 0


def test_grace_periods_fit_the_processes_own_limits() -> None:
    manifests = rendered(workers={"cpu": {"jobTimeout": 3600}, "io": {"interruptible": True}})
    cpu, io = (manifests[f"Deployment/heavylift-worker-{pool}"] for pool in ("cpu", "io"))
    for one, grace in ((cpu, 3620), (io, 60)):
        pod = pod_of(one)
        assert pod is not None
        assert pod["spec"]["terminationGracePeriodSeconds"] == grace
        assert env(one)["HEAVYLIFT_WORKER_DRAIN"] == str(grace - 10)
    api = manifests["Deployment/heavylift-api"]
    pod = pod_of(api)
    assert pod is not None
    given = str(pod["spec"]["terminationGracePeriodSeconds"])
    assert env(api)["HEAVYLIFT_API_TERMINATION_GRACE"] == given


def test_a_scaled_pool_has_no_replicas_of_its_own_and_asks_for_its_demand() -> None:
    manifests = rendered(keda={"enabled": True}, workers={"io": {"concurrency": 8}})
    assert "replicas" not in manifests["Deployment/heavylift-worker-io"]["spec"]
    (trigger,) = manifests["ScaledObject/heavylift-worker-io"]["spec"]["triggers"]
    assert trigger == {
        "type": "metrics-api",
        "metadata": {
            "url": "http://heavylift-controller.apps.svc:9464/demand",
            "format": "prometheus",
            "valueLocation": 'heavylift_pool_demand_slots{pool="io"}',
            "targetValue": "8",
        },
    }
    # Without demand nobody knows what is surplus: nothing is.
    assert "fallback" not in manifests["ScaledObject/heavylift-worker-io"]["spec"]


def test_settings_of_a_component_go_before_everybodys() -> None:
    manifests = rendered(
        settings={"HEAVYLIFT_LOG_LEVEL": "debug", "HEAVYLIFT_FILES_MAX_BYTES": 10**9},
        api={"settings": {"HEAVYLIFT_LOG_LEVEL": "warning"}},
    )
    api, controller = (
        env(manifests[f"Deployment/heavylift-{one}"]) for one in ("api", "controller")
    )
    assert (api["HEAVYLIFT_LOG_LEVEL"], controller["HEAVYLIFT_LOG_LEVEL"]) == ("warning", "debug")
    assert api["HEAVYLIFT_FILES_MAX_BYTES"] == "1000000000"


def test_nothing_is_a_setting_too() -> None:
    settings = {"HEAVYLIFT_ONE": 5, "HEAVYLIFT_TWO": True, "HEAVYLIFT_THREE": "x"}
    own = {"HEAVYLIFT_ONE": 0, "HEAVYLIFT_TWO": False, "HEAVYLIFT_THREE": ""}
    found = env(rendered(settings=settings, api={"settings": own})["Deployment/heavylift-api"])
    assert [found[name] for name in own] == ["0", "false", ""]


def test_a_next_version_starts_no_bundled_server_anew() -> None:
    """It would take the database away from those who are served meanwhile."""
    before, after = rendered(), rendered(image={"tag": "2.0.0"})
    servers = [name for name in before if name.startswith("StatefulSet/")]
    assert len(servers) == 3
    for name in servers:
        assert before[name]["spec"] == after[name]["spec"]


def notes(*options: str) -> str:
    ran = subprocess.run(
        [program("helm"), "install", "heavylift", str(CHART), "--dry-run=client", *options],
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.partition("\nNOTES:\n")[2]


def test_the_notes_have_the_next_three_commands_and_count_connections() -> None:
    # 2 APIs with 11, 2 controllers with 9, a worker with 2 and one with 5: then each twice, and the
    # migrations.
    assert "up to 49 connections, and 99 during an upgrade" in notes()
    few = "api.replicas=1,api.databasePoolSize=4,controller.replicas=1,controller.markPods=false"
    assert "up to 21 connections, and 43 during an upgrade" in notes("--set", few)
    # KEDA: 10 of each pool.
    assert "up to 112 connections" in notes("--set", "keda.enabled=true")
    for number, command in ((1, "rollout status"), (2, "helm test"), (3, "port-forward")):
        assert re.search(rf"^  {number}\. .*:\n     .*{command}", notes(), re.MULTILINE)


def test_controllers_know_how_many_workers_each_pool_may_have() -> None:
    def most(**values: Any) -> str:
        return env(rendered(**values)["Deployment/heavylift-controller"])[
            "HEAVYLIFT_CONTROLLER_MAX_WORKERS"
        ]

    assert most() == "cpu=1,io=1"
    assert most(workers={"io": {"replicas": 3}}) == "cpu=1,io=3"
    scaled = {"cpu": {"autoscaling": {"maxReplicas": 40}}, "gpu": {"replicas": 2}}
    assert most(keda={"enabled": True}, workers=scaled) == "cpu=40,gpu=10,io=10"
    assert most(workers=scaled) == "cpu=1,gpu=2,io=1"


def test_monitors_give_each_series_its_release() -> None:
    found = rendered(monitoring={"operator": {"enabled": True}})
    endpoints = [
        *found["ServiceMonitor/heavylift-controller"]["spec"]["endpoints"],
        *found["PodMonitor/heavylift"]["spec"]["podMetricsEndpoints"],
    ]
    label = "__meta_kubernetes_pod_label_app_kubernetes_io_instance"
    for endpoint in endpoints:
        assert endpoint["relabelings"] == [{"sourceLabels": [label], "targetLabel": "release"}]


def test_the_notes_say_what_an_uninstall_leaves() -> None:
    def stays(*flags: str) -> tuple[str, str]:
        printed = notes(*flags)
        found = re.search(r"uninstall there stay (.*):\n.* delete (\S+) ", printed)
        assert found is not None
        return found[1], found[2]

    assert stays() == (
        "the volumes, the Secrets that were made here, the pod of helm test",
        "pvc,secret,pod",
    )
    production = ("--values", str(PRODUCTION))
    assert stays(*production) == ("the pod of helm test", "pod")
    assert stays(*production, "--set", "secrets.make=true,auth.existingSecret=") == (
        "the Secrets that were made here, the pod of helm test",
        "secret,pod",
    )


def test_a_migration_is_another_job_when_its_image_is_another() -> None:
    def jobs(**values: Any) -> set[str]:
        return {name for name in rendered(**values) if name.startswith("Job/heavylift-migrate")}

    assert jobs() == jobs(api={"replicas": 5})
    assert jobs() != jobs(image={"tag": "2.0.0"})


def test_production_makes_no_secret_and_bundles_nothing() -> None:
    kinds = {one["kind"] for one in render(PRODUCTION)}
    assert not kinds & {"Secret", "StatefulSet"}
    assert kinds >= {"HorizontalPodAutoscaler", "ScaledObject", "ServiceMonitor", "PodMonitor"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replicaCount": 2}, "at '/replicaCount': value must be 'api.replicas'"),
        (
            {"workers": {"cpu": {"replicaCount": 2}}},
            "at '/workers/cpu/replicaCount': value must be 'replicas'",
        ),
        (
            {"workers": {"cpu": {"colour": "red"}}},
            "at '/workers/cpu': additional properties 'colour' not allowed",
        ),
        ({"workers": {"CPU": {}}}, "at '/workers': additional properties 'CPU' not allowed"),
        ({"ingress": {"hosts": ["a"]}}, "at '/ingress/hosts': value must be 'ingress.host'"),
        ({"image": {"tag": "a/b"}}, "at '/image/tag': 'a/b' does not match"),
        (
            {"settings": {"LOG_LEVEL": "debug"}},
            "at '/settings': additional properties 'LOG_LEVEL' not",
        ),
        (
            {"settings": {"HEAVYLIFT_SIGNALS_PORT": 1}},
            "settings.HEAVYLIFT_SIGNALS_PORT: the chart sets it itself",
        ),
        (
            {"api": {"terminationGracePeriodSeconds": 20}},
            (
                "api.terminationGracePeriodSeconds: 20 s end it before shutdownDelay (5) and "
                "requestGrace (20) do: make it 31 or more"
            ),
        ),
        (
            {"workers": {"cpu": {"terminationGracePeriodSeconds": 60}}},
            (
                "workers.cpu.terminationGracePeriodSeconds: 60 s end a job before its timeout "
                "(jobTimeout: 600) does: make it 620 or more, or say workers.cpu.interruptible"
            ),
        ),
        (
            {"postgresql": {"maxConnections": 60}, "api": {"replicas": 4}},
            "postgresql.maxConnections: 60 are too few for the 71 that these replicas may take",
        ),
        ({"workers": {"cpu": None, "io": None}}, "workers: there is no pool"),
        (
            {"api": {"autoscaling": {"enabled": True, "maxReplicas": 1}}},
            "api.autoscaling: minReplicas (2) is more than maxReplicas (1)",
        ),
        (
            {"workers": {"cpu": {"autoscaling": {"minReplicas": 20}}}},
            "workers.cpu.autoscaling: minReplicas (20) is more than maxReplicas (10)",
        ),
        (
            {"ingress": {"trustedProxies": "the proxy"}},
            "at '/ingress/trustedProxies': 'the proxy' does not match",
        ),
        (
            {"api": {"settings": {"HEAVYLIFT_STORAGE_URL": "s3://other"}}},
            "settings.HEAVYLIFT_STORAGE_URL: the chart sets it itself",
        ),
        (
            {"settings": {"HEAVYLIFT_MAIL_URL": "smtp://mail.example.com"}},
            "settings.HEAVYLIFT_MAIL_URL: the chart sets it itself",
        ),
        (
            {"mail": {"existingSecret": "mail"}},
            "mail.sender: which address do mails come from?",
        ),
        (
            {"mail": MAIL},
            "ingress.host: links in mails lead to it; or say api.settings.HEAVYLIFT_NEWSLETTER",
        ),
        (
            {"mail": {"url": "mail.example.com"}},
            "at '/mail/url': 'mail.example.com' does not match",
        ),
        (
            {"secrets": {"make": False}},
            "auth.existingSecret: a Secret with signing-keys, since secrets.make is false",
        ),
        (
            {
                "secrets": {"make": False},
                "auth": {"existingSecret": "keys"},
                "loadtest": {"enabled": True},
            },
            "loadtest.existingSecret: a Secret with password, since secrets.make is false",
        ),
        ({"postgresql": {"enabled": False}}, "postgresql.external.url: where is the database?"),
        ({"redis": {"enabled": False}}, "redis.external.url: where is Redis?"),
        ({"s3": {"enabled": False}}, "s3.external.url: say where files go"),
        (
            {"postgresql": {"external": {"url": "mysql://a"}}},
            "at '/postgresql/external/url': 'mysql://a' does not match",
        ),
    ],
)
def test_a_bad_value_is_told_by_its_name(values: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused) as refused:
        render(values=values)
    assert said in str(refused.value)


def at(*path: str, value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return dict(value)


# A key whose lines below are all comments is a null, which takes the default away.
@pytest.mark.parametrize("name", yaml.safe_load((CHART / "values.yaml").read_text()))
def test_a_value_that_was_emptied_is_named_or_not_needed(name: str) -> None:
    default = yaml.safe_load((CHART / "values.yaml").read_text())[name]
    paths: list[tuple[str, ...]] = [(name,)]
    if name != "workers" and isinstance(default, dict):
        paths += [(name, key) for key in default]
    for path in paths:
        place = "".join(f"/{one}" for one in path[:-1])
        try:
            printed = template(values=at(*path, value=None))
        except Refused as refused:
            printed = str(refused)
            missing = f"at '{place}': missing property '{path[-1]}'"
            assert missing in printed, path
        assert "<nil>" not in printed, path


def test_the_defaults_are_short_enough_to_read() -> None:
    chart = PRODUCTION.parent
    assert len((chart / "values.yaml").read_text().splitlines()) < 500
