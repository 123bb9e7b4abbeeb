"""Children of workers crash, or are killed for their memory or their time."""

from monitoring.model import Alert, Case, Fired, Rule


def _restarts(instance: str, reason: str, values: str) -> dict[str, str]:
    labels = f'instance="{instance}",pool="cpu",reason="{reason}"'
    return {f"heavylift_worker_child_restarts_total{{{labels}}}": values}


ALERT = Alert(
    name="HeavyliftChildrenKilled",
    says="child processes of workers crash or are killed",
    area="workers",
    dashboard="pools",
    variables=["pool"],
    rules=[
        Rule(
            severity="ticket",
            # Not those that were recycled, cancelled or put back: that is how it should be.
            expr="""\
sum by (namespace, release, pool, reason) (
  increase(
    heavylift_worker_child_restarts_total{
      reason=~"exited|out-of-memory|timed-out|lost-its-lease"
    }[1h]
  )
) >= ${killed_children_per_hour}""",
            holds="1m",
            summary="Child processes of pool {{ $labels.pool }} end early: {{ $labels.reason }}",
            description='{{ printf "%.0f" $value }} child processes of pool {{ $labels.pool }} '
            "ended in the last hour with the reason {{ $labels.reason }}, and the attempt that "
            "each was running with it.",
        )
    ],
    cases=[
        Case(
            name="four children of each of two workers take too much memory",
            series={
                **_restarts("worker-1", "out-of-memory", "0x10 4x70"),
                **_restarts("worker-2", "out-of-memory", "0x20 4x60"),
                **_restarts("worker-1", "recycled", "0+2x80"),
            },
            at="30m",
            fires=[
                Fired(
                    severity="ticket",
                    labels={"pool": "cpu", "reason": "out-of-memory"},
                    summary="Child processes of pool cpu end early: out-of-memory",
                    description="8 child processes of pool cpu ended in the last hour with the "
                    "reason out-of-memory, and the attempt that each was running with it.",
                )
            ],
        ),
        Case(
            name="children are recycled, cancelled and put back",
            series={
                **_restarts("worker-1", "recycled", "0+2x80"),
                **_restarts("worker-1", "cancelled", "0+1x80"),
                **_restarts("worker-1", "put-back", "0+1x80"),
                **_restarts("worker-1", "out-of-memory", "3x40 4x40"),
            },
            at="30m",
        ),
    ],
)
