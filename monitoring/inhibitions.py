"""Which alerts hide which others: a consequence sends nothing while its cause does.

Prometheus cannot do this; Alertmanager does, with these rules in its configuration.
"""

from monitoring.model import Inhibition

# Other programs' alerts may have an `area`, too.
OURS = 'alertname=~"Heavylift.+"'

INHIBITIONS = (
    Inhibition(
        why="Without a controller nothing is dispatched, rescued or measured.",
        source=('alertname="HeavyliftControllerAbsent"',),
        target=(OURS, 'area=~"jobs|workers"'),
    ),
    Inhibition(
        why="Without PostgreSQL the API answers 503, no job starts and no controller reads.",
        source=('alertname="HeavyliftDependencyDown"', 'dependency="postgresql"'),
        target=(OURS, 'area=~"api|jobs|workers|controller|database"'),
    ),
    Inhibition(
        why="Without Redis no message reaches a worker.",
        source=('alertname="HeavyliftDependencyDown"', 'dependency="redis"'),
        target=(OURS, 'area=~"jobs|workers|controller"'),
    ),
    Inhibition(
        why="Without its store the API answers 5xx to uploads and downloads.",
        source=('alertname="HeavyliftDependencyDown"', 'dependency="storage"'),
        target=(OURS, 'area="api"'),
    ),
    Inhibition(
        why="Controllers that cannot read the ledger show old figures of jobs, or none.",
        source=('alertname="HeavyliftControllerBlind"',),
        target=(OURS, 'alertname="HeavyliftControllerTurnsFailing"'),
    ),
    Inhibition(
        why="A page on an objective says all that its ticket does.",
        source=(OURS, 'severity="page"', 'slo=~".+"'),
        target=(OURS, 'severity="ticket"', 'slo=~".+"'),
        equal=("namespace", "release", "slo"),
    ),
)
