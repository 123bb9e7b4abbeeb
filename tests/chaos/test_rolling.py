"""All workers replaced, again and again, while jobs keep coming."""

from functools import partial
from uuid import UUID

import pytest

from tests.chaos.conftest import Stack
from tests.chaos.stream import steady
from tests.processes import Part, until

DRAIN = 4.0

# Half of what four slots can do. Most finish within a drain, some never do.
NAPS = (0.05, 0.3, 0.05, 1.5, 0.05, 0.3, 0.05, 6.0)

ROUNDS = 3


def put_back(worker: Part) -> int:
    return sum("put back" in line for line in worker.output.splitlines())


@pytest.mark.parametrize("hurried", [False, True])
def test_rolling_restarts_under_load_cost_no_job_anything(stack: Stack, hurried: bool) -> None:
    controller = stack.parts.controller().ready()
    # Told twice, they leave at once, however long they would have had.
    drain = 600 if hurried else DRAIN

    def start() -> Part:
        return stack.parts.worker(concurrency=2, HEAVYLIFT_WORKER_DRAIN=str(drain)).ready()

    serving = [start(), start()]
    gone: list[Part] = []
    with steady(stack, *NAPS) as stream:
        outlasting: list[UUID] = []
        for number in range(ROUNDS * len(serving)):
            old = serving.pop(0)
            until(lambda old=old: "attempt ended" in old.output, seconds=60, what="it serves")  # type: ignore[misc]
            serving.append(start())
            if number == 0:
                # Of six slots, five: one at least is the old one's, and put back.
                outlasting = [stack.ledger.submit(seconds=3 * DRAIN) for _ in range(5)]
                for one in outlasting:
                    until(partial(stack.ledger.running, one, 1), seconds=60, what="it runs")
            old.terminate()
            if hurried:
                until(lambda old=old: "draining" in old.output, seconds=20, what="draining")  # type: ignore[misc]
                old.terminate()
            assert old.process.wait(60) == 0, old.output
            assert "Traceback" not in old.output
            gone.append(old)
        jobs = [*stream.end(), *outlasting]
        until(lambda: stack.ledger.count("job_runs") == 0, seconds=120, what="all have ended")
    assert stack.ledger.succeeded(*jobs)
    assert stack.ledger.count("jobs WHERE tries <> 0") == 0
    assert "worker lost" not in controller.output
    # Every further attempt is one that was put back: none was lost.
    released = sum(put_back(worker) for worker in gone)
    assert stack.ledger.count("jobs, generate_series(2, jobs.attempt)") == released
    assert released > 0
    assert stack.ledger.count("workers") == len(serving)
