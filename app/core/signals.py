"""A process's metrics and probes by HTTP, on a port of their own, in a thread of their own."""

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from importlib.metadata import version as installed_version
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Self
from wsgiref.simple_server import WSGIRequestHandler

import structlog
from prometheus_client import REGISTRY, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from app.core.config import ConfigurationError, Signals
from app.core.logging import dropped_lines
from app.core.sockets import listen
from app.core.threads import kept

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

log = structlog.get_logger()

TEXT = "text/plain; charset=utf-8"

# Why not, in a word or two; None: all is well.
Probe = Callable[[], str | None]


def open_port(signals: Signals) -> socket.socket | None:
    """The listening socket, or None where the settings want none. Raises `ConfigurationError`."""
    if signals.port is None:
        return None
    try:
        return listen(signals.host, signals.port)
    except ConfigurationError as error:
        raise ConfigurationError(f"HEAVYLIFT_SIGNALS_PORT: {error}") from None


def page(text: Callable[[], str | None], *, unavailable: str = "not known yet\n") -> Any:
    """A page of plain text; a 503 while there is none."""

    def serve(_: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        body = text()
        status = "503 Service Unavailable" if body is None else "200 OK"
        start(status, [("Content-Type", TEXT), ("Cache-Control", "no-store")])
        return [(unavailable if body is None else body).encode()]

    return serve


def probe(look: Probe) -> Any:
    """`ok` with a 200, or the reason with a 503."""

    def serve(_: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        reason = look()
        start("200 OK" if reason is None else "503 Service Unavailable", [("Content-Type", TEXT)])
        return [f"{reason or 'ok'}\n".encode()]

    return serve


class LogMetrics(Collector):
    """Counts dropped log lines on every process's page: a lost log can't report itself."""

    @override
    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "heavylift_log_lines_dropped",
            "Log lines that could not be written.",
            value=dropped_lines(),
        )


REGISTRY.register(LogMetrics())


class BuildInfo(Collector):
    """The build that this process runs; `component` is api, controller or worker."""

    def __init__(self, component: str, signals: Signals, version: str | None = None) -> None:
        """`version` is the package's by default."""
        self._values = component, signals.revision, version or installed_version("heavylift")

    @override
    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "heavylift_build_info",
            "Always 1; the labels say what this process runs.",
            labels=["component", "revision", "version"],
        )
        family.add_metric(self._values, 1)
        yield family


class _Handler(WSGIRequestHandler):
    # Who connects and says nothing holds a thread no longer (seconds).
    timeout = 5

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes and probes come every few seconds and say nothing."""

    @override
    def address_string(self) -> str:
        return str(self.client_address[0])


class _Server(ThreadingWSGIServer):
    def __init__(self, listener: socket.socket) -> None:
        self.address_family = listener.family
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_name, self.server_port = listener.getsockname()[:2]
        self.setup_environ()

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a connection to the signals broke")


class SignalServer:
    """Serves `/metrics` (OpenMetrics where it is asked for) and further pages by their paths.

    It owns `listener` until `close`. A child that is forked while it serves has none of its
    threads, and does nothing with its socket.
    """

    def __init__(
        self,
        listener: socket.socket,
        registry: Collector,
        pages: Mapping[str, "WSGIApplication"] | None = None,
    ) -> None:
        self._pages = {"/metrics": make_wsgi_app(registry), **(pages or {})}
        self._server = _Server(listener)
        self._server.set_app(self._serve)
        self._closing = Event()
        self._thread = Thread(
            target=kept(self._serve_for_ever, self._closing), daemon=True, name="signals"
        )

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    def start(self) -> Self:
        self._thread.start()
        host = self._server.server_name
        log.info("signals", host=host, port=self.port, paths=sorted(self._pages))
        return self

    def _serve_for_ever(self) -> None:
        self._server.serve_forever(poll_interval=0.2)

    def close(self) -> None:
        self._closing.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        with suppress(OSError):
            self._server.server_close()

    def _serve(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        found = self._pages.get(environ["PATH_INFO"])
        if found is None:
            start("404 Not Found", [("Content-Type", TEXT)])
            return [f"there is {', '.join(sorted(self._pages))}\n".encode()]
        return found(environ, start)
