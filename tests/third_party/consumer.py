"""Someone who uses the public API of a running Heavylift."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from httpx2 import Client

EMAIL, PASSWORD = "ada@example.com", "correct horse battery"


@contextmanager
def consumer(port: int) -> Iterator[Client]:
    """Registered and logged in."""
    with Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=30) as client:
        registered = client.post("/users", json={"email": EMAIL, "password": PASSWORD})
        assert registered.status_code == 201, registered.text
        form = {"username": EMAIL, "password": PASSWORD}
        token = client.post("/auth/login", data=form).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


def upload(client: Client, name: str, content: bytes) -> str:
    response = client.post("/files", params={"name": name}, content=content)
    assert response.status_code == 201, response.text
    file: str = response.json()["id"]
    return file


def run(client: Client, kind: str, spec: dict[str, object]) -> tuple[dict[str, Any], list[Any]]:
    """The job as it ended, and its events."""
    accepted = client.post(f"/jobs/{kind}", json={"spec": spec})
    assert accepted.status_code == 202, accepted.text
    job = accepted.json()["id"]
    # The stream ends with the job.
    stream = client.get(f"/jobs/{job}/events").text.splitlines()
    events = [json.loads(line.removeprefix("data: ")) for line in stream if line[:5] == "data:"]
    ended: dict[str, Any] = client.get(f"/jobs/{job}").json()
    return ended, events
