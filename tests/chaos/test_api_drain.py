"""SIGTERM to each of two API processes behind a balancer, under load: nobody sees it."""

import asyncio
import json
import re
import socket
from contextlib import closing

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.balancer import Balancer, balancing
from tests.chaos.conftest import Stack
from tests.open_loop import Client, Request, percentile, request, steady_load
from tests.processes import Part, until

pytestmark = pytest.mark.anyio

RATE = 8

# Seconds, for a balancer that looks each second.
DELAY = "3"


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as found:
        port: int = found.getsockname()[1]
        return port


def start(stack: Stack, port: int) -> Part:
    return stack.parts.start(
        "api",
        HEAVYLIFT_API_PORT=str(port),
        HEAVYLIFT_API_SHUTDOWN_DELAY=DELAY,
        # Whether a busy machine has CPUs for all of it is not what is looked at.
        HEAVYLIFT_DATABASE_POOL_TIMEOUT="60",
    )


async def follow_by_sse(url: str, token: str, hints: list[int]) -> None:
    """The same stream for ever; how it ends is noted."""
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(timeout=60) as client:
        while True:
            async with client.stream("GET", url, headers=headers) as stream:
                assert stream.status_code == 200, await stream.aread()
                said = "".join([line + "\n" async for line in stream.aiter_lines()])
            hint = re.search(r"^retry: (\d+)$", said, re.MULTILINE)
            assert hint is not None, said[-200:]
            hints.append(int(hint[1]))
            await asyncio.sleep(int(hint[1]) / 1000)


async def follow_by_websocket(url: str, token: str, codes: list[int]) -> None:
    while True:
        async with connect(url.replace("http", "ws"), proxy=None) as watcher:
            await watcher.send(json.dumps({"access_token": token}))
            try:
                while True:
                    await watcher.recv()
            except ConnectionClosed:
                assert watcher.close_code is not None
                codes.append(watcher.close_code)


async def restart_each(stack: Stack, apis: dict[int, Part], balancer: Balancer) -> None:
    for port, api in apis.items():
        api.terminate()
        assert await asyncio.to_thread(api.process.wait, 60) == 0
        apis[port] = start(stack, port)
        await asyncio.to_thread(until, balancer.all_ready, seconds=60, what="it is ready again")
        await asyncio.sleep(2)


async def test_nobody_sees_that_an_api_process_is_replaced(stack: Stack) -> None:
    apis = {port: start(stack, port) for port in (free_port(), free_port())}
    with balancing(*apis) as balancer:
        until(balancer.all_ready, seconds=60, what="both are ready")
        with httpx2.Client(base_url=balancer.url, timeout=30) as client:
            user = {"email": "a@example.com", "password": "correct horse battery"}
            assert client.post("/api/v1/users", json=user).status_code == 201
            form = {"username": user["email"], "password": user["password"]}
            token = client.post("/api/v1/auth/login", data=form).json()["access_token"]
            client.headers["Authorization"] = f"Bearer {token}"
            # Nothing runs it: it is followed all along.
            job = client.post("/api/v1/jobs/test.nap", json={"spec": {"seconds": 0}}).json()["id"]

        def mixed(number: int) -> Request:
            # Every fourth on a connection of its own.
            keep = number % 4 != 0
            if number % 5 == 0:
                body = json.dumps({"spec": {"seconds": 0}})
                return request("POST", "/api/v1/jobs/test.nap", token=token, body=body, keep=keep)
            return request("GET", "/api/v1/users/me", token=token, keep=keep)

        hints: list[int] = []
        codes: list[int] = []
        events = f"{balancer.url}/api/v1/jobs/{job}/events"
        following = [
            *(asyncio.create_task(follow_by_sse(events, token, hints)) for _ in range(3)),
            *(asyncio.create_task(follow_by_websocket(events, token, codes)) for _ in range(3)),
        ]
        async with steady_load(Client("127.0.0.1", balancer.port), mixed, rate=RATE) as load:
            await asyncio.sleep(2)
            await restart_each(stack, apis, balancer)
        ended = [task for task in following if task.done()]
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        print(f"answers: {load.statuses()}, p99: {percentile(load.answers, 0.99):.3f} s")  # noqa: T201
        assert load.failed()[:10] == []
        assert (balancer.refused, balancer.unserved) == (0, 0)
        assert all(backend.taken for backend in balancer.backends)
    assert [task.exception() for task in ended] == []
    # Each stream was on one of them at least once when it left.
    assert len(hints) >= 3
    assert set(codes) == {1012}
    assert len(codes) >= 3
    # The job that is followed, and those that were accepted.
    accepted = sum(answer.status == 202 for answer in load.answers)
    assert stack.ledger.count("job_runs WHERE state = 'queued' AND tries = 0") == accepted + 1
