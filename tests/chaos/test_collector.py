"""Traces where there is no collector, or a bad one, and whole ones where there is."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest

from tests.chaos.conftest import Stack
from tests.chaos.test_log_shape import API, CREDENTIALS
from tests.otlp import OtlpReceiver
from tests.processes import Part, until

# What a dead collector may add to an exit, in seconds.
BOUND = 2.0

# What two runs of the same may differ by on a machine that does something else as well.
NOISE = 1.0


@contextmanager
def silent() -> Iterator[str]:
    """It accepts, and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def refusing() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


def traced(endpoint: str) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_TRACES_SAMPLER": "parentbased_always_on",
    }


def run(stack: Stack, environment: dict[str, str], *, jobs: int) -> dict[str, Part]:
    """The parts, after as many jobs, each with spans that have not been exported yet."""
    parts = stack.parts
    port = parts.api(**environment)
    started = {
        "api": parts._parts[-1],
        "controller": parts.controller(**environment).ready(),
        "worker": parts.worker(concurrency=2, **environment).ready(),
    }
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        client.post(f"{API}/users", json=CREDENTIALS)
        form = {"username": CREDENTIALS["email"], "password": CREDENTIALS["password"]}
        token = client.post(f"{API}/auth/login", data=form).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        spec = {"spec": {"seconds": 0.01}}
        ids = [client.post(f"{API}/jobs/test.nap", json=spec).json()["id"] for _ in range(jobs)]

        def done() -> bool:
            return all(
                client.get(f"{API}/jobs/{job}").json()["state"] == "succeeded" for job in ids
            )

        until(done, seconds=60, what="the jobs")
    return started


def exits(started: dict[str, Part]) -> dict[str, float]:
    """Seconds from SIGTERM to each part's end, one after the other."""
    took = {}
    for name, part in started.items():
        began = time.monotonic()
        part.terminate()
        part.process.wait(60)
        took[name] = time.monotonic() - began
    return took


@pytest.mark.parametrize("dead", [silent, refusing])
def test_a_dead_collector_holds_up_no_exit(stack: Stack, dead: object) -> None:
    """Against the same without one."""
    alone = exits(run(stack, {}, jobs=4))
    with dead() as endpoint:  # type: ignore[operator]
        with_it = exits(run(stack, traced(endpoint), jobs=4))
    for name, seconds in with_it.items():
        assert seconds - alone[name] < BOUND + NOISE, (name, with_it, alone)


def test_an_exit_leaves_nothing_unsaid(stack: Stack) -> None:
    """What ended just before it: each job is one connected trace, from the request to the run."""
    with OtlpReceiver() as receiver:
        exits(run(stack, traced(receiver.url), jobs=4))
        spans = list(receiver.spans)
    runs = [span for span in spans if span.name == "run test.nap"]
    assert len(runs) == 4
    assert len({span.trace_id for span in runs}) == 4
    for run_span in runs:
        trace = {span.span_id: span for span in spans if span.trace_id == run_span.trace_id}
        dispatch = trace[run_span.parent_id]
        submit = trace[dispatch.parent_id]
        assert dispatch.name == "dispatch test.nap"
        assert submit.name == "POST /api/v1/jobs/test.nap"
        assert [span.service for span in (submit, dispatch, run_span)] == [
            "heavylift-api",
            "heavylift-controller",
            "heavylift-worker",
        ]
        assert (submit.trace_id, submit.span_id) in run_span.links
        assert run_span.attributes["heavylift.job.outcome"] == "succeeded"
