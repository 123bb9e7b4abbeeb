"""`heavylift api`: gunicorn's arbiter over uvicorn workers, with a shutdown of our own."""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import tempfile
from math import ceil
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import structlog
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from typing_extensions import override
from uvicorn import Config, Server
from uvicorn_worker import UvicornWorker

from app.core.config import ConfigurationError, Settings
from app.core.logging import configure_logging
from app.core.sockets import BACKLOG, listen
from app.core.storage import open_store

# Seconds that a worker has, after its open requests' time, for its lifespan's end.
LIFESPAN_END = 5

# A proxy keeps idle connections for up to a minute; who closes first must not be us, or a request
# that is on its way meets a closed connection (502).
KEEP_ALIVE = 75

# Seconds without a sign of life from a worker's event loop before the arbiter replaces it.
STALLED = 30


# A client says one short thing and then listens: events are too small to be worth compressing
# (some 64 KiB of zlib's state for each connection). Who leaves a ping unanswered has gone.
WEBSOCKETS: dict[str, Any] = {
    "ws": "websockets-sansio",
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

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn's own raises the signal again after the shutdown: its default action would
        # end the process before the interpreter's end, with another exit code than 0.
        self.should_exit = True

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What lives until now lives on: the collector need not walk it again and again (measured:
        # p99 of one read from 79 to 13 ms).
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)

    @override
    async def on_tick(self, counter: int) -> bool:
        # An arbiter that was killed stops nobody; this one notices within a tick (0.1 s).
        return await super().on_tick(counter) or os.getppid() != self._arbiter

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Unready; then accept nothing; then end the streams; then wait for open requests."""
        self.config.app.state.lifecycle.draining = True  # type: ignore[union-attr]
        await asyncio.sleep(self._shutdown_delay)
        for server in self.servers:
            server.close()
        # uvicorn waits for connections before it ends the lifespan, and a stream ends by itself
        # only with its job: so they are told first.
        self.lifespan.state["heavylift"].events.close()
        await super().shutdown(sockets)


class ApiWorker(UvicornWorker):  # type: ignore[misc]
    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        "loop": "uvloop",
        # By name: the arbiter need not load what only its workers use.
        "http": "app.api.protocol:ProblemProtocol",
        "lifespan": "on",
        "access_log": False,  # the application logs its requests
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
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)


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


def scratch_folder() -> str:
    """For the workers' heartbeat files: memory, which also a read-only root file system has."""
    memory = Path("/dev/shm")  # noqa: S108 - gunicorn makes its files with mkstemp
    if memory.is_dir() and os.access(memory, os.W_OK):
        return str(memory)
    return tempfile.gettempdir()


class ApiApplication(BaseApplication):  # type: ignore[misc]
    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self.settings = settings
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
            "worker_tmp_dir": scratch_folder(),
            "control_socket_disable": True,
            "logger_class": GunicornLog,
            "timeout": STALLED,
            "graceful_timeout": ceil(api.shutdown_delay + api.grace) + LIFESPAN_END,
            "keepalive": KEEP_ALIVE,
            "forwarded_allow_ips": api.forwarded_allow_ips,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    @override
    def load(self) -> Any:
        """In the worker: what it opens does not survive a fork."""
        from app.main import create_app

        try:
            app = create_app(self.settings)
            # Once more by the lifespan, whose errors reach the log as a traceback only.
            open_store(self.settings.storage)
        except ConfigurationError as error:
            print("heavylift:", *str(error).split(), file=sys.stderr, flush=True)  # noqa: T201
            sys.exit(Arbiter.APP_LOAD_ERROR)
        return app


def serve(settings: Settings, *, descriptor: int | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. Raises `ConfigurationError`.

    `descriptor` is a listening socket that is open already (its owner keeps it open, too, so that
    connections wait while this process is started again).
    """
    if descriptor is None:
        listener = listen(settings.api.host, settings.api.port)
    else:
        try:
            listener = socket.socket(fileno=descriptor)
        except OSError as error:
            raise ConfigurationError(f"--fd {descriptor}: {error.strerror}") from None
    configure_logging(json=settings.environment == "production")
    host, port = listener.getsockname()[:2]
    structlog.get_logger().info("listening", host=host, port=port, pid=os.getpid())
    arbiter = os.getpid()
    try:
        Arbiter(ApiApplication(settings, listener)).run()
    except SystemExit as ended:
        if os.getpid() != arbiter:  # a worker, which gunicorn forked below this very call
            raise
        # The worker has said why.
        return 2 if ended.code == Arbiter.APP_LOAD_ERROR else int(bool(ended.code))
    return 0
