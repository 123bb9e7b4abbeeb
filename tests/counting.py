"""What counters must say, counted from the ledger itself; and what a controller's page says."""

import httpx2
from sqlalchemy import text

from tests.exposition import Exposition
from tests.ledger_view import View
from tests.processes import Part

# Of a ledger that has forgotten none of its jobs.
TRUTH = {
    "heavylift_jobs_submitted_total": "SELECT kind, count(*) FROM jobs GROUP BY 1",
    "heavylift_jobs_finished_total": """
        SELECT kind || ' ' || outcome, count(*) FROM jobs WHERE outcome <> '' GROUP BY 1
    """,
    "heavylift_dead_letters_total": "SELECT kind, count(*) FROM jobs WHERE dead GROUP BY 1",
    "heavylift_jobs": "SELECT kind || ' ' || state, count(*) FROM job_runs GROUP BY 1",
    # All attempts there were, less those that have not ended.
    "heavylift_job_attempts_total": """
        SELECT jobs.kind, sum(coalesce(job_runs.attempt, jobs.attempt))
                     - count(*) FILTER (WHERE state = 'running')
        FROM jobs LEFT JOIN job_runs ON job_id = id GROUP BY 1
    """,
    "heavylift_job_queue_duration_seconds_count": """
        SELECT jobs.kind, sum(coalesce(job_runs.attempt, jobs.attempt))
        FROM jobs LEFT JOIN job_runs ON job_id = id GROUP BY 1
    """,
}


def counted(view: View) -> dict[str, dict[str, int]]:
    """By metric, then by kind (and state or outcome)."""
    with view.engine.begin() as connection:
        return {
            name: {key: int(n) for key, n in connection.execute(text(query)) if n}
            for name, query in TRUTH.items()
        }


def told(page: Exposition) -> dict[str, dict[str, int]]:
    """The same, as a controller's page says it; what is 0 left out."""
    found: dict[str, dict[str, int]] = {name: {} for name in TRUTH}
    for (name, labels), value in page.samples.items():
        if name not in found or not value:
            continue
        by = dict(labels)
        key = by["kind"]
        if name in ("heavylift_jobs", "heavylift_jobs_finished_total"):
            key += " " + by.get("state", by.get("outcome", ""))
        found[name][key] = found[name].get(key, 0) + int(value)
    return found


class Signals:
    """A process's port of metrics and probes."""

    def __init__(self, part: Part) -> None:
        self.client = httpx2.Client(base_url=part.signals(), timeout=30)

    def metrics(self) -> Exposition:
        return Exposition(self.client.get("/metrics").raise_for_status().text)

    def status(self, path: str) -> int:
        return self.client.get(path).status_code
