"""Threads that others count on."""

import os
import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

# Seconds until a loop that has ended begins again.
AGAIN = 1.0

# EX_SOFTWARE of sysexits.h.
BROKEN = 70


def kept(loop: Callable[[], None], stopped: threading.Event) -> Callable[[], None]:
    """The loop, begun again whatever it raises (`SystemExit` ends a thread without a word).

    When that is not possible either, the process ends: one that only seems to live is not replaced.
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
