"""Workers of several versions side by side, as in every rolling upgrade."""

from tests.chaos.conftest import Stack
from tests.processes import until


def test_a_kind_that_no_worker_runs_waits_for_one_that_does(stack: Stack) -> None:
    stack.parts.controller().ready()
    old = stack.parts.worker(concurrency=1, HEAVYLIFT_WORKER_KINDS="test.fail").ready()
    unknown = [stack.ledger.submit(seconds=0) for _ in range(3)]
    known = stack.ledger.submit("test.fail", max_tries=1)
    until(lambda: stack.ledger.state(known) == "failed", seconds=30, what="the known one runs")
    assert [stack.ledger.state(job) for job in unknown] == ["queued"] * 3
    assert stack.ledger.count("job_runs WHERE dispatched_at IS NULL") == 3
    stack.parts.worker(concurrency=1).ready()
    # Both versions take from one queue: what reaches the old one is handed on.
    until(lambda: stack.ledger.succeeded(*unknown), seconds=60, what="the new one runs them")
    assert stack.ledger.count("jobs WHERE outcome = 'succeeded' AND attempt = 1") == 3
    assert old.process.poll() is None


def test_a_specification_that_a_version_cant_read_goes_to_one_that_can(stack: Stack) -> None:
    stack.parts.controller().ready()
    old = stack.parts.worker(concurrency=1, HEAVYLIFT_WORKER_VERSION="1").ready()
    job = stack.ledger.submit(seconds=0, loudly="yes", max_tries=1)
    until(lambda: "not understood here" in old.output, seconds=30, what="the old one declines")
    waits = "job_runs WHERE state = 'queued' AND dispatched_at IS NULL"
    until(lambda: stack.ledger.count(waits) == 1, seconds=30, what="it waits")
    found = stack.ledger.job(job)
    assert (found["state"], found["tries"], found["losses"]) == ("queued", 0, 0)
    stack.parts.worker(concurrency=1, HEAVYLIFT_WORKER_VERSION="2", TEST_KINDS_VERSION="2").ready()
    until(lambda: stack.ledger.succeeded(job), seconds=60, what="the new one runs it")
    assert old.output.count("not understood here") == 1
    # It says which field, not what the owner wrote in it.
    assert "loudly: " in old.output
    assert "yes" not in old.output
