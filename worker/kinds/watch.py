"""Waiting for a C library's long call without letting go of the job's context."""

import time
from collections.abc import Callable
from threading import Event, Thread
from typing import TypeVar

Result = TypeVar("Result")

# Seconds between two looks. Progress is coalesced to two writes a second anyway.
INTERVAL = 0.1


class OverdueError(Exception):
    """The library's call has not returned in time. Its thread runs on."""


def watched(
    work: Callable[[Event], Result],
    watch: Callable[[], None],
    interrupt: Callable[[], object] = lambda: None,
    patience: float = float("inf"),
) -> Result:
    """Run `work` in a thread of its own while this one calls `watch` ten times a second.

    A job's context is used from the job's own thread only, and an exception raised inside a
    library's callback may be printed and lost (libvips does). So callbacks only take notes, and
    stop their library once the `Event` given to `work` is set: `watch` has raised, which is
    raised here again when `work` has returned. Until it has, `interrupt` is called as often.

    Raises `OverdueError` after `patience` seconds, or what `watch` has raised. The thread runs on
    then: touch nothing that it uses. The worker replaces a child in which a thread is left. `watch`
    may raise `OverdueError` itself, to give up the call at once.
    """
    stop, ended = Event(), Event()
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work(stop))
        except BaseException as error:
            errors.append(error)
        finally:
            ended.set()

    deadline = time.monotonic() + patience
    # A daemon: the interpreter's end would wait for any other.
    thread = Thread(target=run, name="watched", daemon=True)
    thread.start()
    try:
        while not ended.wait(INTERVAL):
            if time.monotonic() > deadline:
                raise OverdueError
            watch()
    except OverdueError:
        stop.set()
        raise
    except BaseException:
        stop.set()
        while time.monotonic() < deadline and not ended.wait(INTERVAL):
            interrupt()
        raise
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
