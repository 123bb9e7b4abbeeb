"""What the scenarios with jobs share: submit a picture, and hold its outcome to the order."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID, uuid4

import gevent
from gevent import GreenletExit
from pydantic import JsonValue

from loadtests._answers import ENDED, Job, JobError, Rendition, State, TransformResult
from loadtests._failures import Failure, JobFailed, TimedOut, Unfinished
from loadtests._scenario import Scenario
from loadtests._session import Answer

KIND = "image.transform"

# Inside which the small rendition is to fit, and what the square one is.
WIDTH = 320
SQUARE = 96

RENDITIONS: JsonValue = [
    {"name": "small", "format": "png", "width": WIDTH, "enlarge": True},
    {
        "name": "square",
        "format": "jpeg",
        "width": SQUARE,
        "height": SQUARE,
        "fit": "cover",
        "enlarge": True,
    },
]


class JobScenario(Scenario):
    abstract = True
    makes_jobs = True

    @contextmanager
    def job(self, source: UUID) -> Iterator[Job]:
        """Submit a job; the block ends when the user knows that it succeeded."""
        began = time.perf_counter() - self.late
        failure: Failure | None = None
        try:
            yield self.submit(source)
        except Failure as failed:
            failure = failed
            raise
        except GreenletExit:
            failure = Unfinished("the run ended before the job")
            raise
        finally:
            self.api.report("JOB", KIND, time.perf_counter() - began, failure)

    def submit(self, source: UUID) -> Job:
        order: JsonValue = {"spec": {"source": str(source), "renditions": RENDITIONS}}
        headers = {**self.bearer, "Idempotency-Key": uuid4().hex}
        with self.api.ask(
            "POST", f"/jobs/{KIND}", status=202, json=order, headers=headers
        ) as answer:
            job = answer.read(Job)
            answer.require(job.kind == KIND, "a job of another kind")
            answer.require(answer.header("Location").endswith(f"/{job.id}"), "another Location")
            return job

    def look(self, job_id: UUID) -> Job:
        with self.api.ask("GET", "/jobs/{job_id}", headers=self.bearer, job_id=job_id) as answer:
            job = answer.read(Job)
            answer.require(job.id == job_id, "another job")
            return job

    def poll(self, submitted: Job) -> Job:
        in_time = self.deadline()
        job = submitted
        while job.state not in ENDED:
            in_time()
            gevent.sleep(self.settings.poll_interval)
            job = self.look(job.id)
        return job

    def deadline(self) -> Callable[[], None]:
        """Called later, it raises `TimedOut` where the job has taken too long."""
        until = time.perf_counter() + self.settings.job_timeout

        def in_time() -> None:
            if time.perf_counter() > until:
                raise TimedOut("the job is not finished")

        return in_time

    def report_wait(self, job: Job) -> None:
        if job.started_at is not None:
            waited = (job.started_at - job.created_at) / timedelta(seconds=1)
            self.api.report("QUEUE", KIND, max(0.0, waited))

    def result(self, job: Job) -> dict[str, Rendition]:
        """Both renditions, of the sizes that were ordered."""
        with self.api.ask(
            "GET", "/jobs/{job_id}/result", headers=self.bearer, job_id=job.id
        ) as answer:
            result = answer.read(TransformResult)
            answer.require(result.job_id == job.id, "another job's result")
            made = {rendition.name: rendition for rendition in result.output.renditions}
            answer.require(set(made) == {"small", "square"}, "other renditions than ordered")
            small, square = made["small"], made["square"]
            answer.require((square.width, square.height) == (SQUARE, SQUARE), "a wrong square")
            height = WIDTH * self.settings.picture_height / self.settings.picture_width
            # It is rounded, up or down.
            fits = small.width == WIDTH and abs(small.height - height) <= 1
            answer.require(fits, "a rendition of a wrong size")
            return made

    def download(self, rendition: Rendition, check: Callable[[Answer], None]) -> None:
        with self.api.ask(
            "GET", "/files/{file_id}/content", headers=self.bearer, file_id=rendition.file
        ) as answer:
            answer.require(len(answer.content) == rendition.bytes, "a file of another length")
            check(answer)

    def delete_file(self, file_id: UUID) -> None:
        with self.api.ask(
            "DELETE", "/files/{file_id}", status=204, headers=self.bearer, file_id=file_id
        ):
            pass


def require_success(state: State, error: JobError | None) -> None:
    if state != "succeeded":
        raise JobFailed(f"{state}{f' {error.code}' if error else ''}")
