"""Shows a run's progress in a terminal or a log, where Locust's tables are off."""

import sys
import time
from collections.abc import Callable

import gevent

from loadtests._verdict import Seen

# Seconds between two lines, and about how many lines a run has.
SHORTEST, LINES = 5.0, 20


def line(elapsed: float, run_time: float | None, users: int, seen: Seen) -> str:
    of = f" of {run_time:,.0f}" if run_time else ""
    return (
        f"load test: {elapsed:,.0f}{of} s, {users:,} users, {seen.requests:,} requests, "
        f"{seen.failures:,} failed, p95 {seen.p95_ms:,.0f} ms"
    )


def show(run_time: float | None, look: Callable[[], tuple[int, Seen]]) -> "gevent.Greenlet":
    """Print a line at intervals until it is killed; `look` gives users and requests so far."""
    every = max(SHORTEST, (run_time or 0) / LINES)

    def tell() -> None:
        began = time.monotonic()
        while True:
            gevent.sleep(every)
            print(line(time.monotonic() - began, run_time, *look()), file=sys.stderr, flush=True)

    return gevent.spawn(tell)
