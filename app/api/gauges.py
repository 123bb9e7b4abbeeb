"""What the API process measures of itself. With several processes, each is a part of the sum."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NoReturn

from prometheus_client import Counter, Gauge, Histogram

from app.core.db import GuardedPool
from app.core.tasks import Background, Loops
from app.services.dependencies import DependencyWatch

POOL = "api"

CONNECTIONS = Gauge(
    "db_client_connection_count",
    "Connections of the pool to PostgreSQL, by state.",
    ["db_client_connection_pool_name", "db_client_connection_state"],
    multiprocess_mode="livesum",
)
CONNECTIONS_MAX = Gauge(
    "db_client_connection_max",
    "Connections that the pool may have.",
    ["db_client_connection_pool_name"],
    multiprocess_mode="livesum",
)
PENDING = Gauge(
    "db_client_connection_pending_requests",
    "Requests that wait for a connection of the pool.",
    ["db_client_connection_pool_name"],
    multiprocess_mode="livesum",
)
TIMEOUTS = Counter(
    "db_client_connection_timeouts",
    "Requests that waited in vain for a connection of the pool.",
    ["db_client_connection_pool_name"],
)
LOOP_DELAY = Histogram(
    "heavylift_event_loop_delay_seconds",
    "How late the event loop was for a timer.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
DEPENDENCY_UP = Gauge(
    "heavylift_dependency_up",
    "1: what this process depends on answered when it was last asked.",
    ["dependency"],
    multiprocess_mode="livemin",
)
STREAMS = Gauge(
    "heavylift_event_streams",
    "Clients that follow a job.",
    ["transport"],
    multiprocess_mode="livesum",
)

# There from the start, at zero.
USED = CONNECTIONS.labels(POOL, "used")
IDLE = CONNECTIONS.labels(POOL, "idle")
MAX = CONNECTIONS_MAX.labels(POOL)
WAITING = PENDING.labels(POOL)
TIMED_OUT = TIMEOUTS.labels(POOL)
BY_TRANSPORT = {name: STREAMS.labels(name) for name in ("sse", "websocket")}

# Seconds between two samples.
EVERY = 0.1


@contextmanager
def counted_stream(transport: Literal["sse", "websocket"]) -> Iterator[None]:
    gauge = BY_TRANSPORT[transport]
    gauge.inc()
    try:
        yield
    finally:
        gauge.dec()


class Sampler(Background):
    """Takes the samples. It sets what has changed: a gauge costs a microsecond, and seldom does."""

    def __init__(self, pool: GuardedPool, dependencies: DependencyWatch) -> None:
        super().__init__()
        MAX.set(pool.size())
        self._pool = pool
        self._dependencies = dependencies
        self._shown: dict[int, float] = {}
        self._timeouts = 0

    def _loops(self) -> Loops:
        return {"gauges": self._sample_for_ever}

    async def _sample_for_ever(self) -> NoReturn:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + EVERY
            await asyncio.sleep(EVERY)
            LOOP_DELAY.observe(max(0.0, loop.time() - due))
            self._show_pool()
            for dependency in self._dependencies.all:
                if dependency.health.state != "unknown":
                    self._show(DEPENDENCY_UP.labels(dependency.name), float(dependency.up))

    def _show_pool(self) -> None:
        pool = self._pool
        self._show(USED, pool.checkedout())
        self._show(IDLE, pool.checkedin())
        self._show(WAITING, pool.pending)
        if pool.timeouts > self._timeouts:
            TIMED_OUT.inc(pool.timeouts - self._timeouts)
            self._timeouts = pool.timeouts

    def _show(self, gauge: Gauge, value: float) -> None:
        if self._shown.get(id(gauge)) != value:
            self._shown[id(gauge)] = value
            gauge.set(value)
