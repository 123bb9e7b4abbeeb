"""Redis channels. What they carry is a hint: lost, it costs a poll's wait and nothing else."""

from uuid import UUID

# Carries a pool's name: something of it has changed, its controllers may want to look.
DISPATCH = "heavylift:dispatch"

JOB_PREFIX = "heavylift:job:"


def job(job_id: UUID) -> str:
    """Carries `JobEvent`s of one job, as JSON."""
    return f"{JOB_PREFIX}{job_id}"
