import gevent

from loadtests._answers import ENDED, Job, JobEvent
from loadtests._jobs import JobScenario, require_success
from loadtests._scenario import journey
from loadtests._session import read

# Seconds until a stream that ended before its job is opened again, where the server names none.
RECONNECT = 1.0


class FollowJob(JobScenario):
    """Submit a job and follow it by server-sent events, over streams that may end early."""

    @journey("jobs", "events")
    def submit_and_follow(self) -> None:
        with self.job(self.seeded.picture) as submitted:
            event = self.follow(submitted)
            require_success(event.state, event.error)
        self.report_wait(self.look(submitted.id))
        self.result(submitted)

    def follow(self, job: Job) -> JobEvent:
        in_time = self.deadline()
        last: JobEvent | None = None
        retry = RECONNECT
        while True:
            headers = {
                **self.bearer,
                "Accept": "text/event-stream",
                "Accept-Encoding": "identity",
                "Last-Event-ID": str(last.seq if last else 0),
            }
            with self.api.ask(
                "GET", "/jobs/{job_id}/events", headers=headers, stream=True, job_id=job.id
            ) as answer:
                for sent in answer.events():
                    in_time()
                    if sent.retry is not None:
                        retry = sent.retry
                    if not sent.data:
                        continue
                    event = read(JobEvent, sent.data)
                    answer.require(event.job_id == job.id, "another job's event")
                    answer.require(last is None or event.seq > last.seq, "an event of the past")
                    answer.require(last is None or last.state not in ENDED, "an event after all")
                    last = event
            if last is not None and last.state in ENDED:
                return last
            # A server that leaves ends its streams: the client comes again, to another.
            in_time()
            gevent.sleep(retry)
