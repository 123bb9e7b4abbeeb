"""Everything that the parts print, from their start to their end, is one JSON object a line."""

import json
import re
from typing import Any

import httpx2

from tests.chaos.conftest import Stack
from tests.processes import until

API = "/api/v1"

CREDENTIALS = {"email": "ada@example.com", "password": "correct horse battery staple"}


def lines(output: str) -> list[dict[str, Any]]:
    found = []
    for line in output.splitlines():
        entry = json.loads(line)
        assert isinstance(entry, dict), line
        assert {"event", "level", "timestamp"} <= entry.keys(), line
        found.append(entry)
    return found


def live(client: httpx2.Client) -> None:
    """Requests that succeed and fail, and jobs that succeed, fail and are killed."""
    assert client.post(f"{API}/users", json=CREDENTIALS).status_code == 201
    form = {"username": CREDENTIALS["email"], "password": CREDENTIALS["password"]}
    token = client.post(f"{API}/auth/login", data=form).json()["access_token"]
    client.headers["Authorization"] = f"Bearer {token}"
    assert client.get(f"{API}/nothing").status_code == 404
    jobs = [
        client.post(f"{API}/jobs/{kind}", json={"spec": {"seconds": seconds, **more}}).json()["id"]
        for kind, seconds, more in (
            ("test.nap", 0.1, {}),
            # A file in a folder that is not there: it raises.
            ("test.brief", 0.1, {"log": "/nowhere/at/all"}),
            ("test.fail", 0.1, {}),
            ("test.spin", 60, {}),
        )
    ]

    def seen() -> bool:
        states = [client.get(f"{API}/jobs/{job}").json() for job in jobs]
        return (
            states[0]["state"] == "succeeded"
            and all(state["tries"] > 0 for state in states[1:3])
            and states[3]["state"] == "failed"
        )

    until(seen, seconds=60, what="they run, fail and are killed")


def test_every_line_is_an_object_and_says_whose_trace_it_is_in(stack: Stack) -> None:
    parts = stack.parts
    port = parts.api(HEAVYLIFT_API_PROCESSES="2")
    parts.controller().ready()
    worker = parts.worker(concurrency=2).ready()
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        live(client)
    # Celery says that it can't connect, and why, at length.
    stack.redis.stop()
    until(lambda: "Cannot connect" in worker.output, seconds=30, what="it looks for Redis")
    stack.redis.start()
    parts.stop()
    entries = lines(parts.output)
    events = {entry["event"] for entry in entries}
    assert {"ready", "request", "attempt ended", "child killed", "job raised"} <= events
    assert {"draining", "listening"} <= events
    # What billiard says of each child and each block of shared memory.
    assert not [event for event in events if "calling self.run()" in event or "mmap" in event]
    of_jobs = [entry for entry in entries if "job_id" in entry]
    of_requests = [entry for entry in entries if "request_id" in entry]
    assert of_jobs
    assert of_requests
    for entry in of_jobs + of_requests:
        assert re.fullmatch("(?!0{32})[0-9a-f]{32}", str(entry.get("trace_id"))), entry
    # What is said of a job is said in the trace of the request that submitted it.
    submitted = {entry["trace_id"] for entry in of_requests}
    assert {entry["trace_id"] for entry in of_jobs} <= submitted
    assert all("attempt" in entry for entry in of_jobs)
