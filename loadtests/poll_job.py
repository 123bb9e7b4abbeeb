from loadtests._jobs import JobScenario, require_success
from loadtests._scenario import journey


class PollJob(JobScenario):
    """Submit a job and ask after it until it is done; fetch the result."""

    @journey("jobs", "poll")
    def submit_and_poll(self) -> None:
        with self.job(self.seeded.picture) as submitted:
            job = self.poll(submitted)
            require_success(job.state, job.error)
        self.report_wait(job)
        self.result(job)
