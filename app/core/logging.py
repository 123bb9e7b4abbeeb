"""Logs to stdout: one JSON object a line, or coloured text for a terminal."""

import logging
import os
import sys
import threading

import structlog
from structlog.typing import Processor

from app.core.masking import loggable


class Lines:
    """Stdout, a line at a time: one write each, so that those of threads and processes do not mix.

    structlog's PrintLogger writes the line's end apart, and its lock does not survive a fork: a
    child of the worker's parent, forked while a thread of that wrote a line, waited for ever at its
    own first one. Here nobody writes while the process forks.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        os.register_at_fork(
            before=self._lock.acquire,
            after_in_parent=self._lock.release,
            after_in_child=self._lock.release,
        )

    def write(self, line: str) -> None:
        """For the standard library's handler."""
        # Here, where all lines pass: of requests, of tracebacks, of libraries.
        line = loggable(line)
        with self._lock:
            sys.stdout.write(line)
            sys.stdout.flush()

    def msg(self, message: str) -> None:
        self.write(f"{message}\n")

    debug = info = warning = error = critical = msg


def configure_logging(*, json: bool) -> None:
    """Once in a process; later calls change nothing."""
    if structlog.is_configured():
        return
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Tracebacks without local variables: those hold passwords, and printing them took 2.7 s.
    render: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if json
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    lines = Lines()
    # A logger of structlog's kind, not the standard library's: 68 us less for each line.
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    # What libraries and servers say through the standard library, in the same form.
    handler = logging.StreamHandler(lines)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
