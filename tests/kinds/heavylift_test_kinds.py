"""Job kinds that behave in every way a real one may; installed where this folder is on the path."""

import ctypes
import os
import time
from pathlib import Path
from typing import Literal

from app.jobs import FileId, JobContext, JobOptions, RetryableJobError, job_kind


class Nap(JobOptions):
    seconds: float
    log: str | None = None
    """A file to which each attempt adds a line when it starts and when it ends."""
    label: str = ""
    version: int = 1


class Done(JobOptions):
    attempt: int
    pid: int


def note(spec: Nap, job: JobContext, what: str) -> None:
    if spec.log is not None:
        with Path(spec.log).open("a") as file:
            file.write(f"{what} {spec.label or job.id} {job.attempt} {os.getpid()}\n")


if os.environ.get("TEST_KINDS_VERSION") == "2":
    # A later build, whose specification has a field more.
    class Nap(Nap):  # type: ignore[no-redef]
        loudly: bool = False


@job_kind("test.nap", pool="cpu", timeout=900)
def nap(spec: Nap, job: JobContext) -> Done:
    """Sleep, and look up often."""
    note(spec, job, "start")
    began = time.monotonic()
    while (passed := time.monotonic() - began) < spec.seconds:
        job.progress(passed / spec.seconds, "napping")
        time.sleep(min(0.05, max(spec.seconds - passed, 0)))
    note(spec, job, "end")
    return Done(attempt=job.attempt, pid=os.getpid())


@job_kind("test.brief", pool="cpu", timeout=60)
def brief(spec: Nap, job: JobContext) -> Done:
    """A nap with a timeout that an outage outlasts."""
    return nap.run(spec, job)


@job_kind("test.wait", pool="io", timeout=60, wait_target=5)
def wait(spec: Nap, job: JobContext) -> Done:
    """A nap in the other pool."""
    return nap.run(spec, job)


@job_kind("test.spin", pool="cpu", timeout=4, max_tries=1)
def spin(spec: Nap, job: JobContext) -> Done:
    """Hold the interpreter's lock in C and look up never, as a badly written extension does."""
    note(spec, job, "start")
    # PyDLL, unlike CDLL, keeps the lock while it calls.
    ctypes.PyDLL(None).usleep(int(spec.seconds * 1e6))
    note(spec, job, "end")
    return Done(attempt=job.attempt, pid=os.getpid())


@job_kind("test.grind", pool="cpu", timeout=7200)
def grind(spec: Nap, job: JobContext) -> Done:
    """As `spin`, with all the time that it needs."""
    return spin.run(spec, job)


@job_kind("test.hoard", pool="cpu", timeout=60, max_tries=3)
def hoard(spec: Nap, job: JobContext) -> Done:
    """Take more and more memory."""
    hoarded = []
    while True:
        hoarded.append(os.urandom(1 << 20))
        job.check()
        time.sleep(0.001)


@job_kind("test.fail", pool="cpu", timeout=60, max_tries=2)
def fail(spec: Nap, job: JobContext) -> Done:
    """Fail in a way that may pass."""
    raise RetryableJobError("no-luck", f"attempt {job.attempt} had no luck")


class Departure(JobOptions):
    how: Literal["exit", "segfault"]


@job_kind("test.vanish", pool="cpu", timeout=900)
def vanish(spec: Departure, job: JobContext) -> Done:
    """End the process at once, past all that Python would do."""
    if spec.how == "exit":
        os._exit(3)
    ctypes.string_at(0)
    raise AssertionError("address 0 can be read")


class Written(JobOptions):
    file: FileId
    attempt: int


@job_kind("test.write", pool="cpu", timeout=900)
def write(spec: Nap, job: JobContext) -> Written:
    """Write an output, then take a nap before the end."""
    path = job.scratch / "output"
    path.write_text(f"attempt {job.attempt}")
    file = job.output(path, name="output.txt", content_type="text/plain")
    note(spec, job, "start")
    time.sleep(spec.seconds)
    note(spec, job, "end")
    return Written(file=file, attempt=job.attempt)


class Program(JobOptions):
    seconds: float = 0
    code: str
    """Python, which finds the job's context as `job` and leaves what it has found in `found`."""


class Found(JobOptions):
    found: str
    pid: int


def run_program(spec: Program, job: JobContext) -> Found:
    names: dict[str, object] = {"job": job, "found": None}
    exec(spec.code, names)
    return Found(found=repr(names["found"]), pid=os.getpid())


@job_kind("test.program", pool="cpu", timeout=300, max_tries=1)
def program(spec: Program, job: JobContext) -> Found:
    """Do anything that a function may do."""
    return run_program(spec, job)


@job_kind("test.brief_program", pool="cpu", timeout=2, max_tries=1)
def brief_program(spec: Program, job: JobContext) -> Found:
    """Do it in two seconds, or be killed."""
    return run_program(spec, job)


def square(number: int) -> int:
    """For processes that a job has started: they import it from here."""
    return number * number
