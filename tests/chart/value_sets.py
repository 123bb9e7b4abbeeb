"""Values that people install with: all of them have to render into valid manifests."""

from typing import Any

from tests.chart.rendering import PRODUCTION

EXTERNAL: dict[str, Any] = {
    "postgresql": {
        "enabled": False,
        "external": {"url": "postgresql://a:b@db.example.com/heavylift"},
    },
    "redis": {"enabled": False, "external": {"url": "rediss://:b@redis.example.com:6380/0"}},
    "s3": {"enabled": False, "external": {"url": "s3://bucket/prefix"}},
}

# By name: files, and values over them.
VALUE_SETS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "default": ([], {}),
    "production": ([PRODUCTION], {}),
    "external by url": ([], EXTERNAL),
    "external database alone": ([], {"postgresql": EXTERNAL["postgresql"]}),
    "external redis alone": ([], {"redis": EXTERNAL["redis"]}),
    "external store alone": ([], {"s3": EXTERNAL["s3"]}),
    "secrets made elsewhere": (
        [],
        {"secrets": {"make": False}, "auth": {"existingSecret": "keys"}},
    ),
    "mail by url": (
        [],
        {
            "mail": {"url": "smtp://a:b@mail.example.com:587", "sender": "a@example.com"},
            "ingress": {"host": "heavylift.example.com"},
        },
    ),
    "mail by a secret": (
        [PRODUCTION],
        {
            "mail": {
                "existingSecret": "mail",
                "urlKey": "smtp",
                "sender": "Heavylift <a@example.com>",
            }
        },
    ),
    "with a condition, as a dependency": ([], {"enabled": True, "global": {}}),
    "keda": ([], {"keda": {"enabled": True}}),
    "keda with a fallback": (
        [],
        {"keda": {"enabled": True}, "workerDefaults": {"autoscaling": {"fallbackReplicas": 2}}},
    ),
    "api scales": ([], {"api": {"autoscaling": {"enabled": True}}}),
    "one replica of each": ([], {"api": {"replicas": 1}, "controller": {"replicas": 1}}),
    "many pools": (
        [],
        {
            "workers": {
                "cpu": {"concurrency": 2, "jobTimeout": 3600},
                "io": None,
                "gpu": {
                    "nodeSelector": {"accelerator": "gpu"},
                    "tolerations": [{"key": "gpu", "operator": "Exists"}],
                    "resources": {"limits": {"memory": "4Gi", "nvidia.com/gpu": 1}},
                },
                "batch": {"interruptible": True, "terminationGracePeriodSeconds": 45},
            }
        },
    ),
    "no policies": ([], {"networkPolicy": {"enabled": False}}),
    "narrow policies": (
        [],
        {
            **EXTERNAL,
            "networkPolicy": {
                "ingressFrom": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}],
                "metricsFrom": [{"podSelector": {"matchLabels": {"app": "prometheus"}}}],
                "egressTo": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
            },
        },
    ),
    "monitors": ([], {"monitoring": {"operator": {"enabled": True, "labels": {"release": "p"}}}}),
    "dashboards and rules": (
        [],
        {
            "monitoring": {
                "dashboards": {"enabled": True, "grafanaOperator": {"enabled": True}},
                "rules": {"enabled": True, "configMap": True, "labels": {"release": "p"}},
            }
        },
    ),
    "traces": ([], {"telemetry": {"otlpEndpoint": "http://collector:4318", "samplingRatio": 1}}),
    "ingress with tls": (
        [],
        {
            "ingress": {
                "className": "nginx",
                "host": "heavylift.example.com",
                "tlsSecret": "tls",
                "annotations": {"nginx.ingress.kubernetes.io/proxy-body-size": "0"},
            }
        },
    ),
    "no ingress": (
        [],
        {"ingress": {"enabled": False}, "api": {"service": {"type": "LoadBalancer"}}},
    ),
    "load test": ([], {"loadtest": {"enabled": True}}),
    "load test with all": (
        [],
        {
            "loadtest": {
                "enabled": True,
                "report": "s3://heavylift/reports",
                "existingSecret": "loadtest",
                "settings": {"LOADTEST_RATE": 0.5},
                "slo": {"scenarios": {"LogIn": {"p95_ms": 100, "error_rate": 0}}},
            }
        },
    ),
    "long names": ([], {"fullnameOverride": "a-name-as-long-as-it-may-be-xy"}),
    "everywhere placed": (
        [],
        {
            one: {
                "nodeSelector": {"pool": "apps"},
                "priorityClassName": "high",
                "podAnnotations": {"team": "platform"},
                "podLabels": {"cost-centre": "42"},
                "env": [{"name": "TZ", "value": "UTC"}],
                "affinity": {"podAntiAffinity": {}},
            }
            for one in ("api", "controller", "workerDefaults", "migrations", "loadtest")
        },
    ),
    "settings": (
        [],
        {
            "settings": {"HEAVYLIFT_LOG_LEVEL": "debug", "HEAVYLIFT_FILES_MAX_BYTES": 10**9},
            "api": {"settings": {"HEAVYLIFT_LOG_LEVEL": "warning"}},
            "image": {"tag": "1.2.3", "registry": "registry.example.com", "pullSecrets": ["pull"]},
        },
    ),
}


def without_random(values: dict[str, Any]) -> dict[str, Any]:
    """The same with Secrets that are made elsewhere, which render alike each time."""
    return {
        "auth": {"existingSecret": "keys"},
        **values,
        "secrets": {"make": False},
        "loadtest": {"existingSecret": "accounts", **values.get("loadtest", {})},
    }
