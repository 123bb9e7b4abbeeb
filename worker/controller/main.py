"""Puts a controller together and runs it until it is told to stop."""

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

import redis
import structlog

from app.core import channels
from app.core.config import Settings
from app.core.db import sync_engine
from app.core.storage import open_store
from app.services.ledger import Retention
from worker.announce import Announcer
from worker.controller import erase, rescue
from worker.controller.dispatch import Dispatch, Redispatch, Schedule, register_pools
from worker.controller.erase import Erase
from worker.controller.loop import BACKOFF, Loop
from worker.controller.publisher import Publisher
from worker.controller.retain import retain

log = structlog.get_logger()

# Connections to PostgreSQL: one for each loop.
CONNECTIONS = 6

REGISTER_INTERVAL = 5.0
REDISPATCH_INTERVAL = 2.0
RETAIN_INTERVAL = 60.0

# Seconds that the loops have for the turn that they are in.
STOP_WITHIN = 5.0


def listen(settings: Settings, wake: Callable[[], None], stopped: threading.Event) -> None:
    """Wake dispatch on hints; without Redis it polls, and there is nothing to dispatch to."""
    failures = 0
    while not stopped.is_set():
        try:
            with redis.Redis.from_url(
                settings.redis.url.get_secret_value(),
                socket_connect_timeout=settings.redis.timeout,
                socket_timeout=settings.redis.timeout,
                retry=None,
            ) as client:
                subscription = client.pubsub(ignore_subscribe_messages=True)
                subscription.subscribe(channels.DISPATCH)
                # Whatever was said while nobody listened.
                wake()
                failures = 0
                while not stopped.is_set():
                    if subscription.get_message(timeout=settings.redis.timeout / 2) is not None:
                        wake()
        except (redis.RedisError, OSError):
            stopped.wait(BACKOFF[min(failures, len(BACKOFF) - 1)])
            failures += 1


def run_controller(settings: Settings) -> None:
    engine = sync_engine(settings.database, connections=CONNECTIONS)
    announcer = Announcer(settings)
    store = open_store(settings.storage)
    pools = settings.jobs.pools
    stopped = threading.Event()

    register_at = 0.0

    def dispatch_turn() -> None:
        nonlocal register_at
        # Again and again: a database that was restored may not know the pools of today.
        if time.monotonic() >= register_at:
            register_pools(engine, pools)
            register_at = time.monotonic() + REGISTER_INTERVAL
        dispatch.turn()

    def retain_turn() -> None:
        retain(engine, store, settings)

    publishers = Publisher(settings), Publisher(settings)
    dispatch = Dispatch(
        engine, publishers[0], pools, window_per_slot=settings.controller.window_per_slot
    )
    dispatching = Loop("dispatch", dispatch_turn, interval=settings.controller.poll)
    loops = [
        dispatching,
        Loop(
            "redispatch",
            Redispatch(engine, publishers[1], pools, dispatching.wake).turn,
            interval=REDISPATCH_INTERVAL,
        ),
        Loop(
            "schedule",
            Schedule(engine, announcer.change, dispatching.wake).turn,
            interval=settings.controller.poll,
        ),
        Loop(
            "rescue",
            rescue.Rescue(
                engine, Retention.configured(settings), announcer.change, dispatching.wake
            ).turn,
            interval=rescue.INTERVAL,
        ),
        Loop(
            "erase",
            Erase(engine, Retention.configured(settings), announcer.change).turn,
            interval=erase.INTERVAL,
        ),
        Loop("retain", retain_turn, interval=RETAIN_INTERVAL),
    ]

    stopping: list[int] = []

    def stop(signal_number: int, _: FrameType | None) -> None:
        # A handler takes no lock, and an event has one.
        stopping.append(signal_number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)

    listener = threading.Thread(
        target=listen, args=(settings, dispatching.wake, stopped), name="hints", daemon=True
    )
    listener.start()
    for loop in loops:
        loop.start()
    log.info("ready", pools=list(pools), database_connections=CONNECTIONS)
    while not stopping:
        time.sleep(0.1)
    stopped.set()
    for loop in loops:
        loop.stop()
    for loop in loops:
        loop.join(STOP_WITHIN)
    for publisher in publishers:
        publisher.close()
    announcer.close()
    engine.dispose()
