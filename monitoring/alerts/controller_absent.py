"""No controller is there: no job is dispatched, rescued or removed."""

from monitoring.model import Alert, Case, Fired, Rule


def _process(component: str, values: str, release: str = "heavylift") -> dict[str, str]:
    labels = f'component="{component}",instance="{component}",release="{release}"'
    return {f"heavylift_build_info{{{labels}}}": values}


ALERT = Alert(
    name="HeavyliftControllerAbsent",
    says="no controller is there, while the API or workers are",
    area="controller",
    dashboard="ledger",
    rules=[
        Rule(
            severity="page",
            expr="""\
count by (namespace, release) (heavylift_build_info{component=~"api|worker"})
unless on (namespace, release) heavylift_build_info{component="controller"}""",
            holds="${absent_for}",
            summary="No controller is running",
            description="Prometheus scrapes {{ $value }} of the API's and the workers' processes, "
            "and no controller. Accepted jobs are kept, but none starts, and pools are not scaled.",
        )
    ],
    cases=[
        Case(
            name="the last controller goes after 5 minutes",
            series={
                **_process("api", "1x40"),
                **_process("worker", "1x40"),
                **_process("controller", "1x10 stale"),
            },
            at="10m",
            fires=[
                Fired(
                    severity="page",
                    summary="No controller is running",
                    description="Prometheus scrapes 2 of the API's and the workers' processes, "
                    "and no controller. Accepted jobs are kept, but none starts, and pools are "
                    "not scaled.",
                )
            ],
        ),
        Case(
            name="another release's controllers are no help",
            series={**_process("api", "1x40"), **_process("controller", "1x40", "other")},
            at="10m",
            fires=[
                Fired(
                    severity="page",
                    summary="No controller is running",
                    description="Prometheus scrapes 1 of the API's and the workers' processes, "
                    "and no controller. Accepted jobs are kept, but none starts, and pools are "
                    "not scaled.",
                )
            ],
        ),
        Case(
            name="a controller is replaced within a minute",
            series={**_process("api", "1x40"), **_process("controller", "1x10 stale _ 1x28")},
            at="10m",
        ),
        Case(
            name="the release is gone",
            series={**_process("api", "1x10 stale"), **_process("controller", "1x10 stale")},
            at="10m",
        ),
    ],
)
