"""A dependency answers none of a component's processes."""

from monitoring.model import Alert, Case, Fired, Rule


def _process(component: str, instance: str, **dependencies: str) -> dict[str, str]:
    series = {f'heavylift_build_info{{component="{component}",instance="{instance}"}}': "1x40"}
    for name, values in dependencies.items():
        labels = f'dependency="{name}",instance="{instance}"'
        series[f"heavylift_dependency_up{{{labels}}}"] = values
    return series


ALERT = Alert(
    name="HeavyliftDependencyDown",
    says="PostgreSQL, Redis or the file store answers no process of a component",
    area="dependencies",
    dashboard="service",
    rules=[
        Rule(
            severity="page",
            # The metric does not say which component it is from; the process's build does. A
            # process that two jobs scrape has both twice.
            expr="""\
max by (namespace, release, component, dependency) (
  max by (namespace, release, instance, dependency) (heavylift_dependency_up)
  * on (namespace, release, instance) group_left (component)
  max by (namespace, release, instance, component) (heavylift_build_info)
) == 0""",
            holds="${dependency_down_for}",
            summary="{{ $labels.dependency }} is down for every {{ $labels.component }} process",
            description="{{ $labels.dependency }} answers "
            "{{ with printf `count(heavylift_build_info{component=%q,namespace=%q,release=%q})` "
            "$labels.component $labels.namespace $labels.release | query }}"
            "none of the {{ $labels.component }} processes ({{ . | first | value }}){{ end }}.",
        )
    ],
    cases=[
        Case(
            name="Redis answers no worker, but the API",
            series={
                **_process("api", "api", redis="1x40", postgresql="1x40"),
                **_process("worker", "worker-1", redis="1x10 0x30", postgresql="1x40"),
                **_process("worker", "worker-2", redis="1x10 0x30", postgresql="1x40"),
            },
            at="10m",
            fires=[
                Fired(
                    severity="page",
                    labels={"component": "worker", "dependency": "redis"},
                    summary="redis is down for every worker process",
                    description="redis answers none of the worker processes (2).",
                )
            ],
        ),
        Case(
            name="two scrape jobs read the same worker, which Redis does not answer",
            series={
                f'{series[:-1]},job="{job}"}}': values
                for job in ("annotations", "operator")
                for series, values in _process("worker", "worker-1", redis="0x40").items()
            },
            at="10m",
            fires=[
                Fired(
                    severity="page",
                    labels={"component": "worker", "dependency": "redis"},
                    summary="redis is down for every worker process",
                    description="redis answers none of the worker processes (2).",
                )
            ],
        ),
        Case(
            name="Redis answers one of two workers",
            series={
                **_process("worker", "worker-1", redis="1x40"),
                **_process("worker", "worker-2", redis="0x40"),
            },
            at="10m",
        ),
        Case(
            name="Redis restarts within a minute",
            series=_process("worker", "worker-1", redis="1x10 0x1 1x30"),
            at="10m",
        ),
        Case(
            name="the worker that could not reach Redis is gone",
            series={
                'heavylift_build_info{component="worker",instance="gone"}': "1x10 stale",
                'heavylift_dependency_up{dependency="redis",instance="gone"}': "0x3 stale",
            },
            at="10m",
        ),
    ],
)
