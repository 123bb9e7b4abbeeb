"""Jobs start later than their kinds' targets, more often than their objective allows.

Waits are counted when an attempt starts. While nothing starts at all this budget stays as it is:
HeavyliftPoolStalled and HeavyliftPoolWithoutWorkers fire then.
"""

from monitoring.burn import budget_rules
from monitoring.model import Alert, Case, Fired
from monitoring.objectives import JOB_WAIT_HIGH, JOB_WAIT_LOW, JOB_WAIT_NORMAL

_LATE = """\
 Late in the last hour: {{ range $i, $kind := printf `sort_desc(topk(3, \
max by (kind, pool) (increase(heavylift_job_waits_total{within_target="false",\
namespace=%q,release=%q}[1h])) * on (pool) group_left () group by (pool) (\
heavylift_pool_wait_target_seconds{urgency="URGENCY",namespace=%q,release=%q}) > 0))` \
$labels.namespace $labels.release $labels.namespace $labels.release | query }}\
{{ if $i }}, {{ end }}{{ .Labels.kind }} in pool {{ .Labels.pool }} \
({{ printf "%.0f" .Value }}){{ else }}none{{ end }}."""


def _waits(kind: str, pool: str, within: str, late: str) -> dict[str, str]:
    series = f'heavylift_job_waits_total{{kind="{kind}",pool="{pool}",within_target="%s"}}'
    return {series % "true": within, series % "false": late}


def _target(pool: str, urgency: str, seconds: int, samples: int) -> dict[str, str]:
    series = f'heavylift_pool_wait_target_seconds{{pool="{pool}",urgency="{urgency}"}}'
    return {series: f"{seconds}x{samples}"}


_BURNS = (
    "of the attempts started later than their kind's target in the last %s. The error budget burns "
    "at more than %sthe rate that would use it up in 30 days. Late in the last hour: "
)

ALERT = Alert(
    name="HeavyliftJobWaitBudget",
    says="too many attempts of jobs start later than their kind's wait target",
    area="jobs",
    dashboard="jobs",
    rules=[
        rule
        for urgency, objective in (
            ("high", JOB_WAIT_HIGH),
            ("normal", JOB_WAIT_NORMAL),
            ("low", JOB_WAIT_LOW),
        )
        for rule in budget_rules(
            objective,
            summary=f"Jobs of {urgency} urgency start too late",
            more=_LATE.replace("URGENCY", urgency),
            labels={"urgency": urgency},
        )
    ],
    cases=[
        Case(
            name="a third of the urgent attempts is late, those of another pool are not",
            series={
                **_target("io", "high", 5, 20),
                **_target("cpu", "normal", 60, 20),
                **_waits("mail.send", "io", "0+2x20", "0+2x20"),
                **_waits("mail.read", "io", "0+2x20", "0x20"),
                **_waits("image.transform", "cpu", "0+40x20", "0+1x20"),
            },
            at="10m",
            fires=[
                Fired(
                    severity="page",
                    labels={"slo": "job-wait-high", "urgency": "high", "window": "1h"},
                    summary="Jobs of high urgency start too late",
                    description=f"33.33% {_BURNS % ('hour', '14.4 times ')}"
                    "mail.send in pool io (40).",
                )
            ],
        ),
        Case(
            name="all attempts of low urgency are late for 80 minutes",
            series={
                **_target("batch", "low", 3600, 160),
                **_waits("report.make", "batch", "0x160", "0+1x160"),
            },
            at="80m",
            fires=[
                Fired(
                    severity="ticket",
                    labels={"slo": "job-wait-low", "urgency": "low", "window": window},
                    summary="Jobs of low urgency start too late",
                    description=f"100% {_BURNS % (spelled, factor)}"
                    "report.make in pool batch (120).",
                )
                for window, spelled, factor in (("1d", "day", "3 times "), ("3d", "3 days", ""))
            ],
        ),
        Case(
            name="the three jobs of a night are late",
            series={
                **_target("io", "high", 5, 40),
                **_waits("mail.send", "io", "0x40", "0x10 1 2 3x28"),
            },
            at="9m",
        ),
        Case(
            name="controllers of two versions differ in a pool's urgency, and jobs start in time",
            series={
                **_target("io", "high", 5, 40),
                **_target("io", "normal", 60, 40),
                **_waits("mail.send", "io", "0+10x40", "0x40"),
            },
            at="20m",
        ),
        Case(
            name="attempts are late in a pool whose kinds no controller knows",
            series=_waits("mail.send", "io", "0x40", "0+10x40"),
            at="20m",
        ),
    ],
)
