"""Puts a controller together and runs it until it is told to stop."""

import signal
import socket
import time
from collections.abc import Sequence
from types import FrameType

import structlog
from prometheus_client import REGISTRY
from sqlalchemy import Engine

from app.core.config import Settings
from app.core.db import sync_engine
from app.core.signals import BuildInfo, SignalServer, open_port, page, probe
from app.core.storage import open_store
from app.core.telemetry import configure_tracing, stop_tracing
from app.services.ledger import Retention
from app.services.schema import wait_for_schema
from worker.announce import Announcer
from worker.controller import erase, measure, rescue
from worker.controller.dispatch import Dispatch, Redispatch, Schedule, register_pools
from worker.controller.erase import Erase
from worker.controller.health import PATIENCE, Health
from worker.controller.hints import Hints
from worker.controller.loop import Loop
from worker.controller.measure import Count, Measure, PingRedis, TakeSurvey, known_kinds
from worker.controller.metrics import PAUSED, LedgerMetrics
from worker.controller.publisher import Publisher
from worker.controller.retain import retain

log = structlog.get_logger()

# Connections to PostgreSQL: one for each loop but that which looks at Redis. One that marks pods
# takes one more.
CONNECTIONS = 9

REGISTER_INTERVAL = 5.0
REDISPATCH_INTERVAL = 2.0
RETAIN_INTERVAL = 60.0

# Seconds that the loops have, all together, for the turns that they are in.
STOP_WITHIN = 5.0

# Seconds between two looks at the signals that have come.
TICK = 0.1


def serve_signals(
    port: socket.socket, settings: Settings, metrics: LedgerMetrics, health: Health
) -> SignalServer:
    REGISTRY.register(metrics)
    REGISTRY.register(BuildInfo("controller", settings.signals))
    pages = {
        "/demand": page(metrics.demand, unavailable="the ledger can't be read\n"),
        "/livez": probe(health.livez),
        "/readyz": probe(health.readyz),
    }
    return SignalServer(port, REGISTRY, pages).start()


def marking(settings: Settings, engine: Engine) -> list[Loop]:
    """The loop that marks pods, where that is set and there is a cluster: nothing needs it."""
    if not settings.controller.mark_pods:
        return []
    try:
        # An extra, and 0.3 s to import.
        from worker.controller import mark

        turn = mark.Mark(engine, mark.connect(), settings.jobs.pools).turn
    except Exception as error:
        log.warning("pods are not marked", error=str(error))
        return []
    return [Loop("mark", turn, interval=mark.INTERVAL)]


def unless_paused(settings: Settings, dispatching: list[Loop]) -> list[Loop]:
    PAUSED.set(settings.controller.paused)
    if not settings.controller.paused:
        return dispatching
    log.warning("dispatch is paused", setting="HEAVYLIFT_CONTROLLER_PAUSED")
    return []


def wind_down(loops: Sequence[Loop], health: Health, stopping: Sequence[int]) -> None:
    """Let the loops finish their turns; a second signal waits for none, they are rolled back."""
    health.drain()
    for loop in loops:
        loop.stop()
    deadline = time.monotonic() + STOP_WITHIN
    while any(loop.alive for loop in loops) and time.monotonic() < deadline and len(stopping) < 2:
        health.tick()
        time.sleep(TICK)


def look_after(health: Health, stopping: Sequence[int]) -> int:
    """Wait for a signal (returns 0) or the end of a loop (returns 1: a new process is needed)."""
    while not stopping:
        health.tick()
        if (ended := health.ended()) is not None:
            log.critical("leaving", reason=ended)
            return 1
        time.sleep(TICK)
    return 0


def run_controller(settings: Settings) -> int:
    """Run a controller until it is told to stop; returns its exit code."""
    # First: whoever can't have its port says so at once.
    port = open_port(settings.signals)
    configure_tracing("controller")
    connections = CONNECTIONS + (1 if settings.controller.mark_pods else 0)
    engine = sync_engine(settings.database, connections=connections)
    announcer = Announcer(settings)
    store = open_store(settings.storage)
    pools = settings.jobs.pools
    register_at = 0.0

    def dispatch_turn() -> bool:
        nonlocal register_at
        # Again and again: a database that was restored may not know the pools of today.
        if time.monotonic() >= register_at:
            register_pools(engine, pools)
            register_at = time.monotonic() + REGISTER_INTERVAL
        return dispatch.turn()

    def retain_turn() -> None:
        retain(engine, store, settings)

    metrics = LedgerMetrics(
        known_kinds(settings),
        window_per_slot=settings.controller.window_per_slot,
        demand_limit=settings.controller.demand_limit,
        max_workers=settings.controller.max_workers,
    )
    contact = rescue.Contact()
    ping = PingRedis(settings, metrics)
    publishers = Publisher(settings), Publisher(settings)
    dispatch = Dispatch(
        engine, publishers[0], pools, window_per_slot=settings.controller.window_per_slot
    )
    dispatching = Loop(
        "dispatch", dispatch_turn, interval=settings.controller.poll, patience=PATIENCE
    )
    redispatching = Loop(
        "redispatch",
        Redispatch(engine, publishers[1], pools, dispatching.wake).turn,
        interval=REDISPATCH_INTERVAL,
        patience=PATIENCE,
    )
    hints = Hints(settings, dispatching.wake)
    loops = [
        *unless_paused(settings, [dispatching, redispatching]),
        Loop(
            "schedule",
            Schedule(engine, announcer.change, dispatching.wake).turn,
            interval=settings.controller.poll,
            patience=PATIENCE,
        ),
        Loop(
            "rescue",
            rescue.Rescue(
                engine, Retention.configured(settings), announcer.change, dispatching.wake
            ).turn,
            interval=rescue.INTERVAL,
            patience=PATIENCE,
        ),
        Loop(
            "erase",
            Erase(engine, Retention.configured(settings), announcer.change).turn,
            interval=erase.INTERVAL,
        ),
        Loop("retain", retain_turn, interval=RETAIN_INTERVAL),
        Loop("count", Count(engine).turn, interval=measure.COUNT_INTERVAL, patience=PATIENCE),
        Loop(
            "measure",
            Measure(engine, metrics, contact, pools, limit=settings.controller.demand_limit).turn,
            interval=measure.MEASURE_INTERVAL,
        ),
        Loop("survey", TakeSurvey(engine, metrics).turn, interval=measure.SURVEY_INTERVAL),
        Loop("redis", ping.turn, interval=measure.REDIS_INTERVAL, patience=PATIENCE),
        Loop("hints", hints.turn, interval=0),
        *marking(settings, engine),
    ]
    health = Health(loops, contact, lambda: metrics.shown)

    stopping: list[int] = []

    def stop(signal_number: int, _: FrameType | None) -> None:
        # A handler takes no lock, and an event has one.
        stopping.append(signal_number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)

    health.wait("starting")
    signals = None if port is None else serve_signals(port, settings, metrics, health)
    if wait_for_schema(settings.database, waiting=health.wait, stopped=lambda: bool(stopping)):
        for loop in loops:
            loop.start()
        health.wait(None)
        log.info("ready", pools=list(pools), database_connections=connections)
    exit_code = look_after(health, stopping)
    wind_down(loops, health, stopping)
    if signals is not None:
        signals.close()
    for publisher in publishers:
        publisher.close()
    hints.close()
    ping.close()
    announcer.close()
    engine.dispose()
    stop_tracing()
    return exit_code
