"""`heavylift api`: gunicorn's arbiter over uvicorn workers, with a shutdown of our own."""

import asyncio
import gc
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from itertools import count
from math import ceil
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, ClassVar

import structlog
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from gunicorn.glogging import Logger
from typing_extensions import override
from uvicorn import Config, Server
from uvicorn_worker import UvicornWorker

from app.core.config import ConfigurationError, Settings, Signals
from app.core.descriptors import raise_limit
from app.core.logging import configure_logging, log_crashes
from app.core.refusal import Refusal
from app.core.scratch import LEAST, try_to_write, unusable
from app.core.sockets import BACKLOG, adopt, listen
from app.core.stdio import keep_streams
from app.core.tasks import stop

if TYPE_CHECKING:
    from app.api.acceptor import Acceptor
    from app.api.protocol import ProblemProtocol

log = structlog.get_logger(__name__)

# Seconds that open requests have once it has to be quick.
HURRY = 1.0

# prometheus_client's own variable.
SHARED_METRICS = "PROMETHEUS_MULTIPROC_DIR"

# Bytes for its files, some 200 KiB for each process. They are mapped into memory: a write without
# room in the file system kills the process (SIGBUS).
METRICS = 4 << 20

# A proxy keeps idle connections for up to a minute; who closes first must not be us, or a request
# that is on its way meets a closed connection (502).
KEEP_ALIVE = 75

# Seconds without a sign of life from a worker's event loop before the arbiter replaces it.
STALLED = 30


# A client says one short thing and then listens: events are too small to be worth compressing
# (some 64 KiB of zlib's state for each connection). Who leaves a ping unanswered has gone.
WEBSOCKETS: dict[str, Any] = {
    "ws": "app.api.protocol:WebSocketProtocol",
    "ws_max_size": 16 * 1024,
    "ws_per_message_deflate": False,
    "ws_ping_interval": 20.0,
    "ws_ping_timeout": 20.0,
}


class ApiServer(Server):
    """uvicorn's server, with what it does at shutdown in an order that ends."""

    def __init__(self, config: Config, *, arbiter: int, shutdown_delay: float) -> None:
        super().__init__(config)
        self._arbiter = arbiter
        self._shutdown_delay = shutdown_delay
        self._acceptors: list[Acceptor] = []
        self._hurried = False

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn's own raises the signal again after the shutdown: its default action would
        # end the process before the interpreter's end, with another exit code than 0.
        self.should_exit = True
        # A second SIGTERM is no sign of haste here: who signals a whole group of processes means
        # the arbiter, too, which hands on its own.
        self._hurried = self._hurried or sig != signal.SIGTERM

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        # Imported here, where it is loaded already: the arbiter does not need it.
        from app.api.acceptor import Acceptor

        await super().startup([])
        self._acceptors = [
            Acceptor(listener, self._protocol, self._http_connections) for listener in sockets or ()
        ]
        self.servers = list(self._acceptors)  # type: ignore[arg-type] # with what uvicorn calls
        # What lives until now lives on: the collector need not walk it again and again (measured:
        # p99 of one read from 79 to 13 ms).
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)

    def _protocol(self) -> asyncio.Protocol:
        """Make a connection's protocol as uvicorn does."""
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        return protocol

    def _http_connections(self) -> "list[ProblemProtocol]":
        from app.api.protocol import ProblemProtocol

        connections = self.server_state.connections
        return [found for found in connections if isinstance(found, ProblemProtocol)]

    def _look(self, counter: int) -> None:
        """Look for free descriptors ten times a second, and for slow clients once a second."""
        for acceptor in self._acceptors:
            acceptor.look()
        if counter % 10 == 0:
            for connection in list(self.server_state.connections):
                try:
                    connection.look()  # type: ignore[union-attr] # both protocols have it
                except Exception:
                    # An error of one connection must not end the others.
                    log.exception("connection not looked at")
                    connection.transport.abort()

    @override
    async def on_tick(self, counter: int) -> bool:
        self._look(counter)
        # An arbiter that was killed stops nobody; this one notices within a tick (0.1 s).
        return await super().on_tick(counter) or os.getppid() != self._arbiter

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Unready; then accept nothing; then end the streams; then wait for open requests."""
        self.config.app.state.lifecycle.draining = True  # type: ignore[union-attr]
        for connection in self._http_connections():
            connection.answer_last()
        loop = asyncio.get_running_loop()
        accept_until = loop.time() + self._shutdown_delay
        for counter in count(1):
            if self._hurried or loop.time() >= accept_until:
                break
            self._look(counter)
            # A sign of life, and the date: an arbiter that stops nothing replaces who gives none.
            await super().on_tick(0)
            await asyncio.sleep(0.1)
        for server in self.servers:
            server.close()
        # What has been sent to idle connections by now is read, and so they are idle no more.
        await asyncio.sleep(0)
        # uvicorn waits for connections before it ends the lifespan, and a stream ends by itself
        # only with its job: so they are told first.
        self.lifespan.state["heavylift"].events.close()
        await super().shutdown(sockets)

    @override
    async def _wait_tasks_to_complete(self) -> None:
        """Raises `TimeoutError` when it has to be quick, and is not."""
        done = asyncio.ensure_future(super()._wait_tasks_to_complete())
        hurried_for = 0.0
        try:
            while not done.done():
                await asyncio.wait({done}, timeout=0.1)
                await super().on_tick(0)
                hurried_for += 0.1 * self._hurried
                if hurried_for > HURRY:
                    raise TimeoutError
            done.result()
        finally:
            await stop(done)


class ApiWorker(UvicornWorker):  # type: ignore[misc]
    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        "loop": "uvloop",
        # By name: the arbiter need not load what only its workers use.
        "http": "app.api.protocol:ProblemProtocol",
        "lifespan": "on",
        "access_log": False,  # the application logs its requests
        "proxy_headers": False,  # app.api.forwarded reads X-Forwarded-For
        "server_header": False,
        "log_config": None,
        **WEBSOCKETS,
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settings: Settings = self.app.settings
        self.config.timeout_graceful_shutdown = ceil(settings.api.grace)
        GunicornLog.hand_over("uvicorn.error")

    @override
    async def _serve(self) -> None:
        # As UvicornWorker's, which names its server class.
        self.config.app = self.wsgi
        server = ApiServer(
            self.config,
            arbiter=self.ppid,
            shutdown_delay=self.app.settings.api.shutdown_delay,
        )
        # The arbiter's signal when it is interrupted; UvicornWorker's handler does not stop.
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGQUIT, server.handle_exit, signal.SIGQUIT, None
        )
        with self._signals():
            await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Its own metrics, where it is the only worker."""
        listener: socket.socket | None = self.app.worker_signals
        if listener is None:
            yield
            return
        from prometheus_client import REGISTRY

        from app.core.signals import BuildInfo, SignalServer

        REGISTRY.register(BuildInfo("api", self.app.settings.signals))
        server = SignalServer(listener, REGISTRY).start()
        try:
            yield
        finally:
            server.close()


class GunicornLog(Logger):  # type: ignore[misc]
    """gunicorn's and uvicorn's logs through ours; of their chatter, warnings and worse."""

    @override
    def setup(self, cfg: Any) -> None:
        self.cfg = cfg
        self._access_log_enabled = False
        self.hand_over("gunicorn.error")

    @staticmethod
    def hand_over(name: str) -> None:
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
        logger.setLevel(logging.WARNING)


def scratch_folder(size: int = LEAST) -> str:
    """A folder in memory, available even with a read-only root file system, or else TMPDIR.

    gunicorn keeps the workers' heartbeat files in it. Raises `ConfigurationError` if neither takes
    `size` bytes.
    """
    memory = Path("/dev/shm")  # noqa: S108 - gunicorn makes its files with mkstemp
    try:
        try_to_write(memory, size)
    except OSError:
        disk = None
        try:
            disk = Path(tempfile.gettempdir())
            try_to_write(disk, size)
        except OSError as error:
            raise unusable("TMPDIR", disk, error) from None
        return str(disk)
    return str(memory)


class ApiArbiter(Arbiter):  # type: ignore[misc]
    """A second SIGTERM hurries: gunicorn's own knows SIGINT and SIGQUIT for that."""

    def __init__(self, app: "ApiApplication") -> None:
        self._terms = 0
        self._stopping = False
        super().__init__(app)

    @override
    def stop(self, graceful: bool = True) -> None:
        self._stopping = True
        # After a refusal no worker serves: there is nothing to drain.
        super().stop(graceful and self.app.refusal.reason is None)

    @override
    def reap_workers(self) -> None:
        """Reap the workers; while the arbiter stops, ignore those that could not start."""
        with suppress(HaltServer) if self._stopping else nullcontext():
            super().reap_workers()

    @override
    def signal(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGTERM:
            self._terms += 1
        super().signal(signal.SIGQUIT if self._terms > 1 else sig, frame)

    @override
    def handle_term(self) -> None:
        if self._terms > 1:
            self.stop(False)
        super().handle_term()


def forget_gauges(_: Arbiter, worker: UvicornWorker) -> None:
    """Of a process that is gone; its counts still count."""
    if SHARED_METRICS in os.environ:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


@contextmanager
def shared_metrics() -> Iterator[None]:
    """Let several processes count together, in files in memory (no exemplars: it has none).

    `prometheus_client` looks for the folder's name when it is first imported.
    """
    if "prometheus_client" in sys.modules:
        raise RuntimeError("prometheus_client was imported before its processes' folder was made")
    folder = tempfile.mkdtemp(prefix="heavylift-metrics-", dir=scratch_folder(METRICS))
    os.environ[SHARED_METRICS] = folder
    maker = os.getpid()
    try:
        yield
    finally:
        if os.getpid() == maker:  # and no worker, which leaves through here as well
            del os.environ[SHARED_METRICS]
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def signals_of_all(listener: socket.socket, signals: Signals) -> Iterator[None]:
    """The arbiter's page: the sums over its workers."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector

    from app.core.signals import BuildInfo, LogMetrics, SignalServer

    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    registry.register(LogMetrics())
    registry.register(BuildInfo("api", signals))
    maker = os.getpid()
    server = SignalServer(listener, registry).start()
    try:
        yield
    finally:
        if os.getpid() == maker:
            server.close()


class ApiApplication(BaseApplication):  # type: ignore[misc]
    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        signals: socket.socket | None,
        refusal: Refusal,
    ) -> None:
        self.settings = settings
        self.refusal = refusal
        # For the one worker, whichever it is by now; several have their arbiter's.
        self.worker_signals = signals if settings.api.processes == 1 else None
        # Before gunicorn makes its options: it would report an error in its own way.
        self._scratch = scratch_folder()
        # gunicorn makes a socket object of its own around the descriptor, and closes it.
        self._descriptor = listener.detach()
        super().__init__()

    @override
    def load_config(self) -> None:
        api = self.settings.api
        options = {
            "bind": f"fd://{self._descriptor}",
            "backlog": BACKLOG,
            "workers": api.processes,
            "worker_class": ApiWorker,
            "worker_tmp_dir": self._scratch,
            "control_socket_disable": True,
            "logger_class": GunicornLog,
            "timeout": STALLED,
            "graceful_timeout": ceil(api.shutdown_delay + api.grace) + api.lifespan_end,
            "keepalive": KEEP_ALIVE,
            "child_exit": forget_gauges,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    @override
    def load(self) -> Any:
        """In the worker: what it opens does not survive a fork."""
        from app.main import create_app, require_usable

        try:
            app = create_app(self.settings)
            # Once more by the lifespan, whose errors reach the log as a traceback only.
            require_usable(self.settings)
        except ConfigurationError as error:
            self.refusal.tell(error)
            sys.exit(Arbiter.APP_LOAD_ERROR)
        return app


def serve(settings: Settings, *, descriptor: int | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. Raises `ConfigurationError`.

    `descriptor` is a listening socket that is open already (its owner keeps it open, too, so that
    connections wait while this process is started again).
    """
    api = settings.api
    listener = listen(api.host, api.port) if descriptor is None else adopt(descriptor)
    configure_logging(settings.log)
    keep_streams()
    log_crashes()
    raise_limit()
    arbiter, refusal = os.getpid(), Refusal()
    logging.getLogger("gunicorn.error").addFilter(refusal.is_unsaid)
    try:
        with ExitStack() as stack:
            together = settings.api.processes > 1 and settings.signals.port is not None
            if together:
                stack.enter_context(shared_metrics())
            # Not before: it loads prometheus_client.
            from app.core.signals import open_port

            signals = open_port(settings.signals)
            if together and signals is not None:
                stack.enter_context(signals_of_all(signals, settings.signals))
            host, port = listener.getsockname()[:2]
            log.info("listening", host=host, port=port, pid=os.getpid())
            ApiArbiter(ApiApplication(settings, listener, signals, refusal)).run()
    except SystemExit as ended:
        if os.getpid() != arbiter:  # a worker, which gunicorn forked below this very call
            raise
        if refusal.reason is not None:
            raise ConfigurationError(refusal.reason) from None
        return int(bool(ended.code))
    return 0
