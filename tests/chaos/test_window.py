"""The window against the queue itself: what Redis holds, and what is sent again."""

import json
import time
from uuid import UUID

import redis

from tests.chaos.conftest import Stack
from tests.processes import until
from worker.controller.dispatch import UNCLAIMED_AFTER
from worker.controller.main import REDISPATCH_INTERVAL
from worker.messages import queue_key

KEY = queue_key("cpu")
WINDOW = 4

# Long enough for every message that waits to be compared with the queue, twice.
COMPARED = UNCLAIMED_AFTER.total_seconds() + 3 * REDISPATCH_INTERVAL


def test_long_jobs_leave_a_short_queue_and_only_a_lost_message_is_sent_again(stack: Stack) -> None:
    jobs = [stack.ledger.submit(seconds=600) for _ in range(50)]
    with redis.Redis.from_url(stack.settings.redis.url.get_secret_value()) as client:
        stack.parts.controller().ready()
        stack.parts.worker(concurrency=2).ready()
        until(
            lambda: (
                stack.ledger.count("job_runs WHERE state = 'running'") == 2
                and client.llen(KEY) == WINDOW
            ),
            seconds=30,
            what="two run, four wait",
        )

        def watched() -> int:
            """The most that the queue held while every message came up for comparison."""
            most, end = 0, time.monotonic() + COMPARED
            while time.monotonic() < end:
                most = max(most, client.llen(KEY))
                time.sleep(0.01)
            return most

        assert watched() == WINDOW
        assert stack.ledger.count("job_runs WHERE publishes = 1") == 2 + WINDOW
        assert stack.ledger.count("job_runs WHERE publishes > 1") == 0
        # What is in the queue was not even taken back.
        assert stack.ledger.count("job_runs WHERE dispatched_at IS NOT NULL") == 2 + WINDOW

        message = client.rpop(KEY)
        assert isinstance(message, bytes)
        lost = UUID(json.loads(message)["headers"]["id"].partition(".")[0])
        assert lost in jobs
        until(
            lambda: stack.ledger.count(f"job_runs WHERE job_id = '{lost}' AND publishes = 2") == 1,
            seconds=30,
            what="it is sent again",
        )
        assert watched() == WINDOW
        assert stack.ledger.count("job_runs WHERE publishes > 1") == 1
        assert stack.ledger.count("job_runs WHERE publishes > 2") == 0
