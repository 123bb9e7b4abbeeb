"""Jobs are given up, more often than the objective allows."""

from monitoring.burn import budget_rules
from monitoring.model import Alert, Case, Fired
from monitoring.objectives import JOB_SUCCESS

_WORST = """\
 Dead letters of the last hour: {{ range $i, $kind := printf `sort_desc(topk(3, \
max by (kind, pool) (increase(heavylift_dead_letters_total{namespace=%q,release=%q}[1h])) > 0))` \
$labels.namespace $labels.release | query }}{{ if $i }}, {{ end }}{{ .Labels.kind }} \
in pool {{ .Labels.pool }} ({{ printf "%.0f" .Value }}){{ else }}none{{ end }}."""


def _jobs(kind: str, succeeded: str, dead: str) -> dict[str, str]:
    labels = f'kind="{kind}",pool="cpu"'
    return {
        f'heavylift_jobs_finished_total{{{labels},outcome="succeeded"}}': succeeded,
        f'heavylift_jobs_finished_total{{{labels},outcome="failed"}}': dead,
        f"heavylift_dead_letters_total{{{labels}}}": dead,
    }


ALERT = Alert(
    name="HeavyliftJobSuccessBudget",
    says="too many finished jobs are dead letters",
    area="jobs",
    dashboard="jobs",
    rules=budget_rules(JOB_SUCCESS, summary="Too many jobs are given up", more=_WORST),
    cases=[
        Case(
            name="a fifth of the jobs becomes dead letters",
            series={
                **_jobs("image.transform", "0+3x20", "0+1x20"),
                **_jobs("text.extract", "0+1x20", "0x20"),
            },
            at="10m",
            fires=[
                Fired(
                    severity="page",
                    labels={"slo": "job-success", "window": "1h"},
                    summary="Too many jobs are given up",
                    description="20% of the finished jobs became dead letters in the last hour. "
                    "The error budget burns at more than 14.4 times the rate that would use it up "
                    "in 30 days. Dead letters of the last hour: image.transform in pool cpu (20).",
                )
            ],
        ),
        Case(
            name="the three jobs of a night become dead letters",
            series=_jobs("image.transform", "0x40", "0x10 1 2 3x28"),
            at="9m",
        ),
        Case(
            name="no job finishes",
            series=_jobs("image.transform", "7x40", "9x40"),
            at="20m",
        ),
    ],
)
