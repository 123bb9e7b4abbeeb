"""Whatever a stranger puts into the queues of a working system: no worker ends, no job is lost."""

import json
from typing import Any
from uuid import UUID

from tests.chaos.test_worker_signals import value
from tests.chaos.working import Working
from tests.processes import until
from tests.strangers import body, changed, message, strange
from worker.messages import queue_key

QUEUE = queue_key("cpu")
FOREIGN = 'heavylift_worker_foreign_dropped_total{pool="cpu",what="element"}'


def test_foreign_elements_are_dropped_and_counted(working: Working) -> None:
    address = working.worker.signals()
    elements = strange(huge=32 * 1024 * 1024)
    with working.administrator() as client:
        for element in elements:
            client.lpush(QUEUE, element)
        until(lambda: client.llen(QUEUE) == 0, seconds=60, what="all are taken")
    until(lambda: value(address, FOREIGN) == len(elements), seconds=30, what="all are counted")
    working.works()
    # Once a minute at most, however many come.
    assert working.worker.output.count("foreign element dropped") <= 2
    assert "Traceback" not in working.worker.output


def test_a_message_says_which_job_and_nothing_more(working: Working) -> None:
    """Celery would obey all of these: later, never, for so long, and what is to follow."""
    sent = message()
    job: UUID = working.ledger.submit(seconds=3.0)
    forged: list[dict[str, Any]] = [
        {"eta": "2999-01-01T00:00:00+00:00"},
        {"expires": "2001-01-01T00:00:00+00:00"},
        {"expires": "no date"},
        {"timelimit": [1, 1]},
        {"timelimit": "x"},
        {"retries": "many", "shadow": 7, "group": "g", "chord": 1, "root_id": [], "stamps": 1},
    ]
    follow = {"callbacks": [{"task": "x"}], "errbacks": 7, "chain": [{}], "chord": "c"}
    with working.administrator() as client:
        for changes in forged:
            headers = {**sent["headers"], **changes, "id": f"{job}.0.1"}
            element = changed(sent, headers=headers, body=body([[str(job)], {}, follow]))
            client.lpush(QUEUE, json.dumps(element))
    until(lambda: working.ledger.succeeded(job), seconds=60, what="it runs to its end")
    ended = working.ledger.job(job)
    assert (ended["attempt"], ended["tries"]) == (1, 0), ended
    working.works()
    assert "Traceback" not in working.worker.output
