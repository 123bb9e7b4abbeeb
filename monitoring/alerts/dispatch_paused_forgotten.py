"""Dispatch was paused, and nobody has resumed it."""

from monitoring.model import Alert, Case, Fired, Rule


def _paused(instance: str, values: str) -> dict[str, str]:
    return {f'heavylift_dispatch_paused{{instance="{instance}"}}': values}


_OLDEST = 'heavylift_pool_oldest_eligible_age_seconds{pool="cpu"}'

ALERT = Alert(
    name="HeavyliftDispatchPausedForgotten",
    says="dispatch has been paused for an hour; a page if jobs have waited for two",
    area="controller",
    dashboard="ledger",
    rules=[
        Rule(
            severity="page",
            expr="""\
max by (namespace, release) (heavylift_pool_oldest_eligible_age_seconds) > ${dispatch_paused_age}
and on (namespace, release)
  min by (namespace, release) (heavylift_dispatch_paused) == 1""",
            holds="5m",
            summary="Dispatch is paused, and jobs wait",
            description="HEAVYLIFT_CONTROLLER_PAUSED holds back every job. The oldest has waited "
            "for {{ $value | humanizeDuration }}.",
        ),
        Rule(
            severity="ticket",
            expr="sum by (namespace, release) (heavylift_dispatch_paused) > 0",
            holds="${dispatch_paused_for}",
            summary="Dispatch has been paused for ${dispatch_paused_for}",
            description="HEAVYLIFT_CONTROLLER_PAUSED has held back dispatch for "
            "${dispatch_paused_for}, on {{ $value }} of the controllers.",
        ),
    ],
    cases=[
        Case(
            name="both controllers are paused for 70 minutes, and a job has waited for 2 hours",
            series={
                **_paused("controller-1", "1x160"),
                **_paused("controller-2", "1x160"),
                _OLDEST: "5400+30x160",
            },
            at="70m",
            fires=[
                Fired(
                    severity="page",
                    summary="Dispatch is paused, and jobs wait",
                    description="HEAVYLIFT_CONTROLLER_PAUSED holds back every job. The oldest has "
                    "waited for 2h 40m 0s.",
                ),
                Fired(
                    severity="ticket",
                    summary="Dispatch has been paused for 1h",
                    description="HEAVYLIFT_CONTROLLER_PAUSED has held back dispatch for 1h, on 2 "
                    "of the controllers.",
                ),
            ],
        ),
        Case(
            name="one of two controllers is paused, and the other dispatches",
            series={
                **_paused("controller-1", "1x160"),
                **_paused("controller-2", "0x160"),
                _OLDEST: "5400+30x160",
            },
            at="70m",
            fires=[
                Fired(
                    severity="ticket",
                    summary="Dispatch has been paused for 1h",
                    description="HEAVYLIFT_CONTROLLER_PAUSED has held back dispatch for 1h, on 1 "
                    "of the controllers.",
                )
            ],
        ),
        Case(
            name="dispatch is paused for half an hour",
            series={
                **_paused("controller-1", "0x80 1x60 0x20"),
                **_paused("controller-2", "0x80 1x60 0x20"),
                _OLDEST: "0x80 0+30x80",
            },
            at="70m",
        ),
        Case(
            name="jobs are old, and dispatch is not paused",
            series={
                **_paused("controller-1", "0x160"),
                **_paused("controller-2", "0x160"),
                _OLDEST: "5400+30x160",
            },
            at="70m",
        ),
    ],
)
