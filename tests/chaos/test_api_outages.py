"""PostgreSQL and Redis gone or frozen under the API: fast refusals, and nothing else changes."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable

import httpx2
import pytest

from tests.chaos.conftest import Stack
from tests.open_loop import Answer, Client, Request, percentile, request, steady_load
from tests.processes import until

pytestmark = pytest.mark.anyio

RATE = 25

# Seconds: a lease has 30.
AWAY = 60

# Seconds that whoever probes waits for an answer.
PROBED_WITHIN = 5.0

# Seconds from the return of what was away to the last refusal.
BACK_WITHIN = 5.0

FAST = 0.1


def stop_postgres(stack: Stack) -> Callable[[], None]:
    stack.postgres.stop()
    return stack.postgres.start


def freeze_postgres(stack: Stack) -> Callable[[], None]:
    stack.postgres.signal_all(signal.SIGSTOP)
    return lambda: stack.postgres.signal_all(signal.SIGCONT)


def kill_redis(stack: Stack) -> Callable[[], None]:
    stack.redis.process.kill()
    return stack.redis.start


def freeze_redis(stack: Stack) -> Callable[[], None]:
    stack.redis.process.signal(signal.SIGSTOP)
    return lambda: stack.redis.process.signal(signal.SIGCONT)


class Api:
    """One that is logged in to."""

    def __init__(self, stack: Stack) -> None:
        self.port = stack.parts.api()
        self.base = f"http://127.0.0.1:{self.port}"
        with httpx2.Client(base_url=self.base, timeout=30) as client:
            until(
                lambda: client.get("/readyz").status_code == 200, seconds=60, what="the API is up"
            )
            user = {"email": "a@example.com", "password": "correct horse battery"}
            assert client.post("/api/v1/users", json=user).status_code == 201
            form = {"username": user["email"], "password": user["password"]}
            login = client.post("/api/v1/auth/login", data=form)
            self.token: str = login.json()["access_token"]

    def mixed(self, number: int) -> Request:
        if number % 5 == 0:
            body = json.dumps({"spec": {"seconds": 0.05}})
            return request("POST", "/api/v1/jobs/test.nap", token=self.token, body=body)
        return request("GET", "/api/v1/users/me", token=self.token)


@pytest.fixture
async def probes() -> AsyncIterator[list[tuple[str, int]]]:
    """What /livez and /readyz have said: none but good answers, and those in time."""
    said: list[tuple[str, int]] = []
    yield said
    assert len(said) > AWAY
    assert [answer for answer in said if answer[1] != 200] == []


async def probe_for_ever(port: int, said: list[tuple[str, int]]) -> None:
    client = Client("127.0.0.1", port)
    loop = asyncio.get_running_loop()
    try:
        while True:
            for path in ("/livez", "/readyz"):
                answer = await client.ask(request("GET", path), loop.time())
                in_time = answer.seconds < PROBED_WITHIN
                said.append((path, answer.status if in_time else 0))
            await asyncio.sleep(0.5)
    finally:
        await client.close()


async def outage(
    stack: Stack,
    api: Api,
    begin: Callable[[Stack], Callable[[], None]],
    probes: list[tuple[str, int]],
) -> tuple[list[Answer], list[Answer]]:
    """What was asked while it was away, and all that was asked."""
    loop = asyncio.get_running_loop()
    probing = asyncio.create_task(probe_for_ever(api.port, probes))
    async with steady_load(Client("127.0.0.1", api.port), api.mixed, rate=RATE) as load:
        await asyncio.sleep(5)
        end = await asyncio.to_thread(begin, stack)
        begun = loop.time()
        await asyncio.sleep(AWAY)
        ending = loop.time()
        await asyncio.to_thread(end)
        ended = loop.time()
        await asyncio.sleep(BACK_WITHIN + 5)
    probing.cancel()
    await asyncio.wait([probing])
    assert probing.cancelled()
    assert [answer for answer in load.answers if answer.status == 0] == []
    late = [answer for answer in load.answers if answer.begun > ended + BACK_WITHIN]
    assert late
    assert {answer.status for answer in late} <= {200, 202}, "it is back"
    assert len(load.between(begun, ending)) > RATE * AWAY * 0.9
    return load.between(begun, ending), load.answers


@pytest.mark.parametrize("begin", [freeze_postgres, stop_postgres], ids=["frozen", "gone"])
async def test_without_postgresql_requests_are_refused_at_once(
    stack: Stack, begin: Callable[[Stack], Callable[[], None]], probes: list[tuple[str, int]]
) -> None:
    stack.parts.controller().ready()
    worker = stack.parts.worker(concurrency=2).ready()
    api = Api(stack)
    long = stack.ledger.submit(seconds=AWAY + 30)
    until(lambda: stack.ledger.running(long, 1), seconds=30, what="a job runs")
    during, everything = await outage(stack, api, begin, probes)
    refused = [answer for answer in during if answer.status == 503]
    assert len(refused) > 0.95 * len(during)
    assert {answer.retry_after for answer in refused} == {"1"}
    p50, p99 = percentile(refused, 0.5), percentile(refused, 0.99)
    print(f"refusals: p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms")  # noqa: T201
    assert p99 < FAST
    assert {answer.status for answer in everything} <= {200, 202, 503}
    accepted = sum(answer.status == 202 for answer in everything)
    stack.ledger.engine.dispose()
    until(lambda: stack.ledger.succeeded(long), seconds=90, what="the long job is done")
    until(
        lambda: stack.ledger.count("jobs WHERE outcome = 'succeeded'") > accepted,
        seconds=90,
        what="all that was accepted is done",
    )
    # One whose answer was lost may have been accepted all the same.
    spoilt = "outcome <> 'succeeded' OR attempt <> 1 OR tries <> 0"
    assert stack.ledger.count(f"jobs WHERE {spoilt}") == 0
    assert "worker lost" not in stack.parts.output
    assert "child killed" not in worker.output


@pytest.mark.parametrize("begin", [freeze_redis, kill_redis], ids=["frozen", "gone"])
async def test_without_redis_everything_is_answered(
    stack: Stack, begin: Callable[[Stack], Callable[[], None]], probes: list[tuple[str, int]]
) -> None:
    stack.parts.controller().ready()
    stack.parts.worker(concurrency=2).ready()
    api = Api(stack)
    _, everything = await outage(stack, api, begin, probes)
    assert {answer.status for answer in everything} <= {200, 202}
    accepted = sum(answer.status == 202 for answer in everything)
    until(
        lambda: stack.ledger.count("jobs WHERE outcome = 'succeeded'") == accepted,
        seconds=90,
        what="all that was accepted is done",
    )
    assert stack.ledger.count("jobs WHERE tries <> 0 OR attempt <> 1") == 0
