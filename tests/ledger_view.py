"""Looks into the ledger, and puts jobs into it, as tests want them."""

import json
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Engine, text

from app.services import ledger
from app.services.ledger import Retention, Submission

KEEP = Retention(result=timedelta(days=1), files=timedelta(days=1))

STATE = text(
    """
    SELECT coalesce(job.outcome, run.state) AS state, coalesce(run.attempt, job.attempt) AS attempt,
           coalesce(run.tries, job.tries) AS tries, run.losses, run.releases, job.error_code,
           job.error_detail, job.result, job.dead,
           coalesce(run.started_at, job.started_at) AS started_at, job.finished_at
    FROM jobs AS job LEFT JOIN job_runs AS run ON run.job_id = job.id WHERE job.id = :job
    """
)


@dataclass(frozen=True)
class View:
    """The ledger through an engine of the test's own."""

    engine: Engine
    owner: UUID

    def submit(
        self,
        kind: str = "test.nap",
        *,
        owner: UUID | None = None,
        max_tries: int = 3,
        **spec: object,
    ) -> UUID:
        return self.submit_spec(kind, owner=owner, max_tries=max_tries, **{"seconds": 0.0, **spec})

    def submit_spec(
        self, kind: str, *, owner: UUID | None = None, max_tries: int = 3, **spec: object
    ) -> UUID:
        """Of a kind that takes no nap."""
        submission = Submission(owner or self.owner, kind, "cpu", max_tries, json.dumps(spec))
        with self.engine.begin() as connection:
            job = ledger.accept(connection, submission)
        assert job is not None
        return job

    def job(self, job: UUID) -> dict[str, object]:
        with self.engine.begin() as connection:
            return dict(connection.execute(STATE, {"job": job}).one()._mapping)

    def state(self, job: UUID) -> str:
        return str(self.job(job)["state"])

    def running(self, job: UUID, attempt: int) -> bool:
        found = self.job(job)
        return found["state"] == "running" and found["attempt"] == attempt

    def count(self, query: str) -> int:
        with self.engine.begin() as connection:
            number: int = connection.execute(text(f"SELECT count(*) FROM {query}")).scalar_one()
        return number

    def succeeded(self, *jobs: UUID) -> bool:
        """Whether all have; a job that ended otherwise fails the test at once."""
        states = [self.job(job) for job in jobs]
        bad = [state for state in states if state["state"] in ("failed", "cancelled")]
        assert not bad, bad
        return all(state["state"] == "succeeded" for state in states)

    def new_owner(self, email: str) -> UUID:
        with self.engine.begin() as connection:
            owner: UUID = connection.execute(
                text("INSERT INTO users (email, password_hash) VALUES (:email, '!') RETURNING id"),
                {"email": email},
            ).scalar_one()
        return owner
