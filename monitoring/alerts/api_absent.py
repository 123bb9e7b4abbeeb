"""No API process is there: no 5xx is counted, because nothing answers."""

from monitoring.model import Alert, Case, Fired, Rule


def _process(component: str, values: str) -> dict[str, str]:
    return {f'heavylift_build_info{{component="{component}",instance="{component}"}}': values}


ALERT = Alert(
    name="HeavyliftApiAbsent",
    says="no API process is there, while controllers or workers are",
    area="api",
    dashboard="api",
    rules=[
        Rule(
            severity="page",
            expr="""\
count by (namespace, release) (heavylift_build_info{component=~"controller|worker"})
unless on (namespace, release) heavylift_build_info{component="api"}""",
            holds="${absent_for}",
            summary="No API process is running",
            description="Prometheus scrapes {{ $value }} of the controllers' and the workers' "
            "processes, and none of the API. Nobody can submit or follow a job; accepted jobs go "
            "on.",
        )
    ],
    cases=[
        Case(
            name="the last API process goes after 5 minutes",
            series={**_process("api", "1x10 stale"), **_process("controller", "1x40")},
            at="10m",
            fires=[
                Fired(
                    severity="page",
                    summary="No API process is running",
                    description="Prometheus scrapes 1 of the controllers' and the workers' "
                    "processes, and none of the API. Nobody can submit or follow a job; accepted "
                    "jobs go on.",
                )
            ],
        ),
        Case(
            name="an API process is replaced within a minute",
            series={**_process("api", "1x10 stale _ 1x28"), **_process("controller", "1x40")},
            at="10m",
        ),
    ],
)
