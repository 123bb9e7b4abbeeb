"""Keeps the loops of long-lived threads running."""

import os
import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

# Seconds until a loop that has ended is restarted.
AGAIN = 1.0

# EX_SOFTWARE of sysexits.h.
BROKEN = 70


def kept(loop: Callable[[], None], stopped: threading.Event) -> Callable[[], None]:
    """Wrap a loop to restart it after any exception (`SystemExit` ends a thread silently).

    If it can't be restarted, the process ends: one that only seems alive would not be replaced.
    """

    def run() -> None:
        while True:
            try:
                loop()
            except BaseException as error:
                try:
                    name = threading.current_thread().name
                    log.critical("loop ended, it begins again", loop=name, exc_info=error)
                    if stopped.wait(AGAIN):
                        return
                except BaseException:
                    os._exit(BROKEN)
            else:
                return

    return run
