"""The event loop is never blocked: its lag, measured from inside, under everything at once."""

import asyncio
import signal
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self
from uuid import UUID

import anyio
import pytest
from httpx2 import AsyncClient

from app.core import security
from app.core.config import Settings
from app.embedded import EmbeddedRedis
from app.main import create_app
from tests.integration.api.conftest import connect, serving
from tests.integration.api.kinds import KINDS

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse battery staple"

# Seconds between two looks at the clocks.
TICK = 0.005

# A loop that waits for a frozen Redis stands still for the 2 s of a socket's timeout. Waits for
# the interpreter's lock are among what is left, and are longer on a busy machine.
MOST_BLOCKED = 1.0

# What 40 requests have ready at once, as they give Redis up, takes the loop 0.15 s. (One hash is
# too short to be seen: that none is computed there has a test of its own.)
MOST_COMPUTED = 0.5

# A loop that waits or computes does so each time; a host that takes the CPU away, or a disk that
# makes a line of the log wait, does not.
MOST_TRIES = 3

LONG = 600.0

SCHEDSTAT = "/proc/self/task/{}/schedstat"
needs_schedstat = pytest.mark.skipif(
    not Path(SCHEDSTAT.format(threading.get_native_id())).exists(),
    reason="this kernel does not say how long a thread waited for a CPU",
)


class Clocks(NamedTuple):
    """Seconds of this thread: of the wall, on a CPU, and in the queue for one."""

    wall: float
    cpu: float
    queued: float

    @classmethod
    def now(cls) -> Self:
        schedstat = Path(SCHEDSTAT.format(threading.get_native_id()))
        # Nanoseconds that it ran and waited to run, and how often it ran.
        _, queued, _ = schedstat.read_text().split()
        return cls(time.perf_counter(), time.thread_time(), int(queued) / 1e9)


@dataclass
class Lag:
    """What kept the loop from a tick, at most (seconds): a wait, or work, of its own thread.

    Not that other processes had the CPUs: how long a runnable thread waits for one is theirs.
    """

    blocked: float = 0.0
    computed: float = 0.0

    @asynccontextmanager
    async def measured(self) -> AsyncIterator[None]:
        async def tick() -> None:
            while True:
                begun = Clocks.now()
                await asyncio.sleep(TICK)
                wall, cpu, queued = (b - a for a, b in zip(begun, Clocks.now(), strict=True))
                self.blocked = max(self.blocked, wall - cpu - queued - TICK)
                self.computed = max(self.computed, cpu)

        task = asyncio.create_task(tick())
        await asyncio.sleep(0)
        yield
        # One more look, so that what came last is seen too.
        await asyncio.sleep(2 * TICK)
        task.cancel()


async def everything_at_once(
    client: AsyncClient, email: str, *, rounds: int
) -> Counter[tuple[str, int]]:
    """Logins, uploads, submits, lists and a stream; how often each answered with which status."""
    answers: Counter[tuple[str, int]] = Counter()

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield bytes(65536)

    async def log_in() -> None:
        form = {"username": email, "password": PASSWORD}
        response = await client.post("/api/v1/auth/login", data=form)
        answers["login", response.status_code] += 1

    async def upload() -> None:
        response = await client.post("/api/v1/files", params={"name": "f"}, content=chunks())
        answers["upload", response.status_code] += 1

    async def submit() -> None:
        response = await client.post("/api/v1/jobs/word.count", json={"spec": {"words": "a"}})
        answers["submit", response.status_code] += 1
        cancelled = await client.post(f"/api/v1/jobs/{response.json().get('id')}/cancel")
        answers["cancel", cancelled.status_code] += 1
        answers["list", (await client.get("/api/v1/jobs")).status_code] += 1

    async def watch() -> None:
        job = (await client.post("/api/v1/jobs/shape.draw", json={"spec": {}})).json()
        await client.get(f"/api/v1/jobs/{job.get('id')}/events")

    async with anyio.create_task_group() as watching:
        for _ in range(3):
            watching.start_soon(watch)
        async with anyio.create_task_group() as tasks:
            for n in range(rounds):
                tasks.start_soon(submit)
                tasks.start_soon(log_in)
                if n % 4 == 0:
                    tasks.start_soon(upload)
                await asyncio.sleep(TICK)
        watching.cancel_scope.cancel()
    return answers


@needs_schedstat
@pytest.mark.slow
async def test_nothing_blocks_it_with_redis_frozen(
    settings: Settings, own_redis: EmbeddedRedis, sign_in: Callable[..., str]
) -> None:
    redis = settings.redis.model_validate({"url": own_redis.url()})
    # On a busy machine a request may wait long for a connection: the loop does not.
    patient = {"pool_timeout": LONG, "statement_timeout": LONG}
    database = settings.database.model_copy(update=patient)
    settings = settings.model_copy(update={"redis": redis, "database": database})
    seen: list[Lag] = []
    for n in range(MOST_TRIES):
        # A new one, that does not know yet that Redis will be away.
        app = create_app(settings, KINDS)
        async with serving(app) as served, connect(served) as client:
            email = f"ada-{n}@example.com"
            credentials = {"email": email, "password": PASSWORD}
            ada = (await client.post("/api/v1/users", json=credentials)).json()
            client.headers["Authorization"] = f"Bearer {sign_in(UUID(ada['id']))}"
            await everything_at_once(client, email, rounds=4)
            own_redis.process.signal(signal.SIGSTOP)
            lag = Lag()
            async with lag.measured():
                answers = await everything_at_once(client, email, rounds=40)
            own_redis.process.signal(signal.SIGCONT)
        assert answers == {
            ("submit", 202): 40,
            ("cancel", 202): 40,
            ("list", 200): 40,
            ("login", 200): 40,
            ("upload", 201): 10,
        }
        if lag.blocked < MOST_BLOCKED and lag.computed < MOST_COMPUTED:
            return
        seen.append(lag)
    pytest.fail(f"each time: {seen}")


@needs_schedstat
async def test_a_blocked_loop_is_seen() -> None:
    lag = Lag()
    async with lag.measured():
        threading.Event().wait(0.2)
    assert lag.blocked > 0.1


@needs_schedstat
async def test_a_loop_that_computes_is_seen() -> None:
    lag = Lag()
    async with lag.measured():
        begun = time.thread_time()
        while time.thread_time() - begun < 0.2:
            pass
    assert lag.computed > 0.1


async def test_no_hash_is_computed_on_the_loop(
    anonymous: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    for name in ("hash", "verify"):
        computed = getattr(security.ARGON2ID, name)

        def noted(*arguments: str, computed: Callable[..., object] = computed) -> object:
            threads.append(threading.current_thread().name)
            return computed(*arguments)

        monkeypatch.setattr(security.ARGON2ID, name, noted)
    credentials = {"email": "ada@example.com", "password": PASSWORD}
    await anonymous.post("/api/v1/users", json=credentials)
    for username in ("ada@example.com", "nobody@example.com"):
        form = {"username": username, "password": PASSWORD}
        await anonymous.post("/api/v1/auth/login", data=form)
    assert [name.partition("_")[0] for name in threads] == ["argon2"] * 3
