"""Jobs wait that live workers of their pool cannot run."""

from monitoring.model import Alert, Case, Fired, Rule


def _waiting(reason: str, values: str) -> dict[str, str]:
    labels = f'kind="image.transform",pool="cpu",reason="{reason}"'
    return {f"heavylift_jobs_unrunnable{{{labels}}}": values}


ALERT = Alert(
    name="HeavyliftUnreadableJobs",
    says="jobs wait that live workers of their pool cannot run",
    area="jobs",
    dashboard="pools",
    variables=["pool", "kind"],
    rules=[
        Rule(
            severity="ticket",
            expr="""\
max by (namespace, release, kind, pool, reason) (
  heavylift_jobs_unrunnable{reason=~"unknown-kind|refused"}
) > 0""",
            holds="${unreadable_jobs_for}",
            summary="No worker of pool {{ $labels.pool }} can run jobs of kind {{ $labels.kind }}",
            description="Waiting jobs of kind {{ $labels.kind }} that no live worker of pool "
            "{{ $labels.pool }} can run: {{ $value }}. Reason: {{ $labels.reason }}.",
        )
    ],
    cases=[
        Case(
            name="workers of an old version refuse 3 jobs for 20 minutes",
            series={**_waiting("refused", "3x60"), **_waiting("no-workers", "0x60")},
            at="20m",
            fires=[
                Fired(
                    severity="ticket",
                    labels={"kind": "image.transform", "pool": "cpu", "reason": "refused"},
                    summary="No worker of pool cpu can run jobs of kind image.transform",
                    description="Waiting jobs of kind image.transform that no live worker of pool "
                    "cpu can run: 3. Reason: refused.",
                )
            ],
        ),
        Case(
            name="an upgrade takes 8 minutes",
            series=_waiting("unknown-kind", "0x10 4x16 0x40"),
            at="20m",
        ),
        Case(
            name="the pool has no workers, which HeavyliftPoolWithoutWorkers reports",
            series=_waiting("no-workers", "9x60"),
            at="20m",
        ),
    ],
)
