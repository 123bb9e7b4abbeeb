"""Puts a worker together: Celery's prefork pool, its children's executors, its parent's threads."""

import gc
import logging
import multiprocessing.process
import os
import signal
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version as installed_version
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import billiard
import structlog
from billiard.pool import EX_RECYCLE
from billiard.process import current_process
from billiard.util import get_logger
from celery import Task, signals
from celery.exceptions import SecurityWarning
from prometheus_client import REGISTRY
from sqlalchemy.exc import SQLAlchemyError

from app.core.config import ConfigurationError, Settings
from app.core.outages import is_outage, reason
from app.core.scratch import make_folder, remove_folder
from app.core.signals import BuildInfo, SignalServer, open_port, probe
from app.core.storage import open_store
from app.core.telemetry import configure_tracing, stop_tracing
from app.jobs import KindRegistry, load_kinds
from app.services.schema import wait_for_schema
from worker.celery import create_celery, watch_broker
from worker.executor import Executor
from worker.identity import Identity
from worker.memory import container_limit, share
from worker.messages import HEADER, TASK, Foreign, queue_name
from worker.metrics import WorkerMetrics
from worker.parent import Parent
from worker.processes import become_subreaper
from worker.reaper import Reaper
from worker.slots import Slots
from worker.threads import limit_threads

log = structlog.get_logger()


def installed_kinds(settings: Settings) -> KindRegistry:
    """The kinds that this worker runs: all that are installed, or those that the settings name."""
    kinds = load_kinds()
    wanted = settings.worker.kinds
    if wanted is None:
        return kinds
    if unknown := [name for name in wanted if name not in kinds]:
        raise ConfigurationError(
            f"HEAVYLIFT_WORKER_KINDS: {', '.join(unknown)} not installed; there are "
            f"{', '.join(kinds)}"
        )
    return KindRegistry([kinds[name] for name in wanted])


def die_with(parent: int) -> None:
    """Celery asks the kernel for that, too late where the parent died right after the fork."""
    if os.getppid() != parent:
        os._exit(1)


@contextmanager
def or_exit() -> Iterator[None]:
    """End a child that can't start: Celery would log the error and still send it messages."""
    try:
        yield
    except BaseException as error:
        log.critical("child not started", exc_info=error)
        os._exit(1)


def head_a_family(main: BaseProcess) -> None:
    """Let jobs start processes, and give this child its own process group (see `Reaper`).

    `main` is the parent's process object of the standard library. billiard replaces it with one
    that may not start processes, since they would outlive it, and whose key can't be sent to them.
    """
    become_subreaper()
    os.setpgid(0, 0)
    multiprocessing.process._current_process = main  # type: ignore[attr-defined]


def retire(executor: Executor, *, after: int | None) -> None:
    """Replace this child once it has begun `after` attempts, or a job has spoilt it.

    Celery is not told that the job has ended: it would send the child the next message, which
    would be lost with it. With Celery's own limit, of one task a child, a third of all messages
    were lost, and each waited for a redispatch.
    """
    # Whatever is raised here, a spoilt child ends.
    with suppress(BaseException):
        if executor.attempts != after and not executor.spoilt:
            return
        signals.worker_process_shutdown.send(sender=None, pid=os.getpid(), exitcode=EX_RECYCLE)
        sys.stdout.flush()
    os._exit(EX_RECYCLE)


def identify(settings: Settings, pool: str) -> Identity:
    if pool not in settings.jobs.pools:
        raise ConfigurationError(
            f"no pool {pool!r}: HEAVYLIFT_JOBS_POOLS has {', '.join(settings.jobs.pools)}"
        )
    version = settings.worker.version or installed_version("heavylift")
    return Identity(uuid4(), pool, version, installed_kinds(settings))


def require_shared_memory() -> None:
    """Check that Celery's pool can make semaphores. Raises `ConfigurationError`."""
    try:
        billiard.get_context("fork").Lock()
    except OSError as error:
        raise ConfigurationError(
            f"the worker needs shared memory: /dev/shm: {error.strerror} (mount a writable tmpfs "
            "there, with space left)"
        ) from None


def scratch_folder(settings: Settings) -> Path:
    folder = settings.worker.scratch
    setting = None if folder is None else "HEAVYLIFT_WORKER_SCRATCH"
    return make_folder("heavylift-", inside=folder, setting=setting)


@contextmanager
def signals_served(
    listener: socket.socket | None, parent: Parent, metrics: WorkerMetrics, build: BuildInfo
) -> Iterator[None]:
    if listener is None:
        yield
        return
    REGISTRY.register(metrics)
    REGISTRY.register(build)
    pages = {"/livez": probe(parent.wedged), "/readyz": probe(parent.unready)}
    server = SignalServer(listener, REGISTRY, pages).start()
    try:
        yield
    finally:
        server.close()


def schema_is_there(settings: Settings, parent: Parent) -> bool:
    """Wait for it; False when told to stop before. Celery's own handlers come later."""
    told: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: told.append(number))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        return wait_for_schema(settings.database, waiting=parent.wait, stopped=lambda: bool(told))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def work(worker: Any, settings: Settings, parent: Parent, metrics: WorkerMetrics) -> None:
    if schema_is_there(settings, parent):
        # Until Celery has reached it.
        metrics.broker(up=False)
        worker.start()
        parent.stop()


def run_worker(settings: Settings, pool: str, concurrency: int) -> int:
    """Run a worker until it is told to stop; returns its exit code."""
    from celery.apps import worker as celery_worker

    identity = identify(settings, pool)
    require_shared_memory()
    configure_tracing("worker")
    listener = open_port(settings.signals)
    slots = Slots(concurrency)
    memory = settings.worker.memory_per_slot or share(concurrency, container_limit())
    queues = [queue_name(pool), queue_name(pool, identity.build)]
    foreign = Foreign()
    celery = create_celery(settings, queues, foreign)
    executor: Executor | None = None
    pid = os.getpid()
    main_process = multiprocessing.process.current_process()
    # A check only: a store does not survive a fork, so each child opens its own.
    open_store(settings.storage)
    # The parent's: a killed child can't remove its own.
    scratch = scratch_folder(settings)

    # Before any child imports a library that counts the machine's cores for itself.
    limit_threads(settings.worker.threads_per_slot)

    parent = Parent(settings, identity, slots, memory_per_slot=memory)
    metrics = WorkerMetrics(pool, slots, parent, foreign)
    watch_broker(celery, metrics.broker)
    reaper = Reaper(slots)

    def logging_is_ours(**_: Any) -> None:
        """Connecting to this signal is what keeps Celery from setting up logging."""
        # What it says of each message and of killed children is said here, with the job's id.
        logging.getLogger("celery").setLevel(logging.WARNING)
        logging.getLogger("celery.worker.request").setLevel(logging.CRITICAL)
        # Of children that end: past all handlers, to stderr, if it is left as it is. Of those that
        # begin, and of each block of shared memory, it would tell nobody anything.
        get_logger().propagate = True
        get_logger().setLevel(logging.WARNING)

    def child_started(**_: Any) -> None:
        nonlocal executor
        die_with(pid)
        with or_exit():
            if listener:
                # Only the parent keeps it: the port is free as soon as the parent has ended.
                listener.close()
            slot = current_process().index
            executor = Executor(
                settings, identity, slots, slot=slot, scratch=scratch, memory_per_slot=memory
            )
            head_a_family(main_process)

    def child_leaves(exitcode: int, **_: Any) -> None:
        stop_tracing()
        slots.leave(current_process().index, recycled=exitcode == EX_RECYCLE)

    def parent_ready(**_: Any) -> None:
        log.info(
            "ready",
            pool=pool,
            slots=concurrency,
            version=identity.version,
            kinds=list(identity.kinds),
            # The parent's, and one of each child's.
            database_connections=1 + concurrency,
        )
        parent.start()
        reaper.start()
        # Celery collects garbage before each fork, and children write to what they look through:
        # what is here by now stays (measured: three quarters of the cost of a new child).
        gc.freeze()

    def parent_told_to_stop(**_: Any) -> None:
        parent.drain()

    def run(task: Task, job_id: str) -> None:
        assert executor is not None  # noqa: S101 - tasks run in children only
        try:
            executor.execute(UUID(job_id), task.request.get(HEADER))
        except SQLAlchemyError as error:
            if not is_outage(error):
                raise
            # Nothing was claimed: the controller sends another message.
            log.warning("the ledger is unavailable, message dropped", error=reason(error))
        finally:
            retire(executor, after=settings.worker.jobs_per_child)

    celery.task(run, name=TASK, bind=True)
    # As root it warns of pickled messages: ours are JSON, and nothing else is accepted.
    warnings.simplefilter("ignore", SecurityWarning)
    signals.setup_logging.connect(logging_is_ours, weak=False)
    signals.worker_process_init.connect(child_started, weak=False)
    signals.worker_process_shutdown.connect(child_leaves, weak=False)
    signals.worker_ready.connect(parent_ready, weak=False)
    signals.worker_shutting_down.connect(parent_told_to_stop, weak=False)

    # It prints past all logging, from a signal's handler, which must take no lock to log itself.
    # That it drains is said by the parent's watch.
    celery_worker.safe_say = lambda *_: None

    worker = celery.Worker(
        pool_cls="prefork",
        concurrency=concurrency,
        queues=queues,
        hostname=f"{pool}@{identity.id}",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        optimization="fair",
        quiet=True,
        loglevel="WARNING",
    )
    try:
        # Already now: Celery waits for Redis before it says that it is ready.
        build = BuildInfo("worker", settings.signals, identity.version)
        with signals_served(listener, parent, metrics, build):
            work(worker, settings, parent, metrics)
            stop_tracing()
    finally:
        reaper.close()
        remove_folder(scratch)
    return int(worker.exitcode or 0)
