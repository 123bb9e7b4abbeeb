"""Those who use a release, through its ingress."""

import asyncio
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2

from tests.cluster.release import Release
from tests.cluster.table import Row
from tests.open_loop import Client, Load, Request, percentile, request, steady_load
from tests.processes import until

API = "/api/v1"

# Requests a second, a job among each ten: a third of what two cores serve beside a cluster.
RATE = 15


@dataclass(frozen=True)
class User:
    release: Release
    url: str
    id: str
    token: str

    def call(self, method: str, path: str, **content: Any) -> httpx2.Response:
        """Raises `httpx2.HTTPStatusError` unless it went well."""
        answer = httpx2.request(
            method,
            f"{self.url}{API}{path}",
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=30,
            **content,
        )
        return answer.raise_for_status()

    def submit(self, kind: str = "test.nap", **spec: Any) -> str:
        job: str = self.call("POST", f"/jobs/{kind}", json={"spec": spec}).json()["id"]
        return job

    def job(self, job: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"/jobs/{job}").json()
        return found

    def wait(self, *jobs: str, state: str = "succeeded", seconds: float = 180) -> None:
        def all_there() -> bool:
            states = {self.job(job)["state"] for job in jobs}
            assert not states & ({"failed", "cancelled"} - {state}), states
            return states == {state}

        until(all_there, seconds=seconds, what=f"all are {state}")

    # --- what the ledger has of them ----------------------------------------------------------

    def unfinished(self) -> int:
        return self.release.number(
            f"SELECT count(*) FROM jobs WHERE owner_id = '{self.id}' AND outcome IS NULL"
        )

    def tries(self) -> int:
        """Spent by jobs that did not fail."""
        return self.release.number(f"SELECT sum(tries) FROM jobs WHERE owner_id = '{self.id}'")

    def ended(self, outcome: str = "succeeded") -> int:
        return self.release.number(
            f"SELECT count(*) FROM jobs WHERE owner_id = '{self.id}' AND outcome = '{outcome}'"
        )


def register(release: Release, url: str) -> User:
    email, password = f"{secrets.token_hex(6)}@example.com", secrets.token_urlsafe()
    with httpx2.Client(base_url=f"{url}{API}", timeout=30) as client:
        made = client.post("/users", json={"email": email, "password": password})
        made.raise_for_status()
        form = {"username": email, "password": password}
        token = client.post("/auth/login", data=form).raise_for_status().json()["access_token"]
    return User(release, url, made.json()["id"], token)


def requests_of(user: User, seconds: float) -> list[Request]:
    """What they send in turn: reads, a record, a job of the pool `io`."""
    spec = {"spec": {"seconds": seconds}}
    return [
        *(request("GET", f"{API}/items?limit=5", token=user.token) for _ in range(3)),
        *(request("GET", f"{API}/users/me", token=user.token) for _ in range(3)),
        *(request("GET", f"{API}/jobs?limit=5", token=user.token) for _ in range(2)),
        request("POST", f"{API}/items", token=user.token, body=json.dumps({"title": "a record"})),
        request("POST", f"{API}/jobs/test.wait", token=user.token, body=json.dumps(spec)),
    ]


@contextmanager
def under_load(user: User, *, rate: float = RATE, seconds: float = 1) -> Iterator[Load]:
    """Requests at a steady rate meanwhile, from a thread of its own; jobs take `seconds` each."""
    load = Load()
    stopped = threading.Event()
    target = urlsplit(user.url)
    asked = requests_of(user, seconds)

    async def go_on() -> None:
        client = Client(target.hostname or "", target.port or 80)
        async with steady_load(client, lambda n: asked[n % len(asked)], rate=rate) as sent:
            load.answers = sent.answers
            await asyncio.to_thread(stopped.wait)

    thread = threading.Thread(target=asyncio.run, args=[go_on()], name="load")
    thread.start()
    try:
        until(lambda: len(load.answers) > rate, seconds=30, what="the load has begun")
        yield load
    finally:
        stopped.set()
        thread.join()


def nothing_lost(user: User, row: Row, *loads: Load, more: int = 0) -> None:
    """What was accepted has succeeded, and no try was spent. Says in the row how the last one went.

    `more` are jobs that the user submitted besides.
    """
    until(lambda: user.unfinished() == 0, seconds=240, what="all have ended")
    last = loads[-1]
    row.saw(
        f"{len(last.failed())} of {len(last.answers)} requests failed, "
        f"p95 {percentile(last.answers, 0.95) * 1000:.0f} ms"
    )
    accepted = sum(one.status == 202 for load in loads for one in load.answers) + more
    assert (user.ended(), user.tries()) == (accepted, 0)
    row.saw(f"{accepted} jobs, 0 lost, 0 tries spent")
