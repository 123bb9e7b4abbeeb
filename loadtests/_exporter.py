"""Serves a load test's metrics from the Locust process that has them all."""

import sys
from collections.abc import Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import gevent.event
from gevent.pywsgi import WSGIServer
from locust.env import Environment
from locust.runners import WorkerRunner
from prometheus_client import CollectorRegistry, make_wsgi_app

from loadtests._metrics import Recorder, Totals, exported
from loadtests._settings import PREFIX, BadSetup, LoadSettings
from loadtests._slo import Slo

# Key in the report that a Locust worker sends to its master every three seconds.
REPORTED = "heavylift_loadtest"


def record(environment: Environment, settings: LoadSettings, slo: Slo) -> Recorder | None:
    """Record what users see, and serve it; None where no port is set.

    Locust's workers send it to their master, which serves the sum. Raises `BadSetup`.
    """
    if settings.metrics_port is None:
        return None
    classes = environment.user_classes
    names = [one.__name__ for one in classes]
    with_jobs = {one.__name__ for one in classes if getattr(one, "makes_jobs", False)}
    recorder = Recorder(slo, names, with_jobs)
    environment.events.request.add_listener(recorder.saw)
    runner = environment.runner
    if isinstance(runner, WorkerRunner):

        def report(data: dict[str, Any], **_: Any) -> None:
            data[REPORTED] = recorder.report()

        environment.events.report_to_master.add_listener(report)
        return recorder

    totals = Totals(recorder)

    def take(client_id: str, data: dict[str, Any], **_: Any) -> None:
        # A worker without the setting sends none.
        totals.take(client_id, data.get(REPORTED, {}))

    environment.events.worker_report.add_listener(take)

    def users() -> int:
        return runner.user_count if runner is not None else 0

    page = Page(exported(totals, slo, names, with_jobs, users))
    page.serve(settings.metrics_host, settings.metrics_port)

    def linger(**_: Any) -> None:
        # Not before: a master's workers report once more after the test has stopped.
        environment.events.quitting.add_listener(lambda **_: page.linger(settings.metrics_linger))

    # Neither in the UI nor after Ctrl-C, when the process quits before the test stops.
    if getattr(environment.parsed_options, "headless", False):
        environment.events.test_stop.add_listener(linger)
    return recorder


class Page:
    """/metrics, in Locust's own event loop."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._make = make_wsgi_app(registry)
        self._over = False
        self._read = gevent.event.Event()

    def serve(self, host: str, port: int) -> None:
        """Raises `BadSetup`."""
        try:
            WSGIServer((host, port), self._answer, log=None).start()
        except OSError as error:
            # gevent adds the address, as a tuple.
            reason = (error.strerror or str(error)).partition(": ")[0]
            raise BadSetup(f"{PREFIX}METRICS_PORT: {host}:{port}: {reason}") from None

    def linger(self, seconds: float) -> None:
        """Wait until somebody has read the final values, but no longer than this."""
        if seconds:
            print(f"load test: up to {seconds:g} s for a last scrape", file=sys.stderr, flush=True)
            self._over = True
            self._read.wait(seconds)

    def _answer(self, environ: WSGIEnvironment, start: StartResponse) -> Iterator[bytes]:
        final = self._over
        body: Iterable[bytes] = self._make(environ, start)
        yield from body
        # It has been sent by now.
        if final:
            self._read.set()
