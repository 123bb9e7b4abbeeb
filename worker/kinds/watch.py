"""Waiting for a C library's long call without letting go of the job's context."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Event
from typing import TypeVar

Result = TypeVar("Result")

# Seconds between two looks. Progress is coalesced to two writes a second anyway.
INTERVAL = 0.1


def watched(
    work: Callable[[Event], Result],
    watch: Callable[[], None],
    interrupt: Callable[[], object] = lambda: None,
) -> Result:
    """Run `work` in a thread of its own while this one calls `watch` ten times a second.

    A job's context is used from the job's own thread only, and an exception raised inside a
    library's callback may be printed and lost (libvips does). So callbacks only take notes, and
    stop their library once the `Event` given to `work` is set: `watch` has raised, which is
    raised here again when `work` has returned. Until it has, `interrupt` is called as often.
    """
    stop = Event()
    with ThreadPoolExecutor(1, thread_name_prefix="watched") as pool:
        future = pool.submit(work, stop)
        try:
            while not wait([future], timeout=INTERVAL).done:
                watch()
        except BaseException:
            stop.set()
            while not wait([future], timeout=INTERVAL).done:
                interrupt()
            raise
    return future.result()
