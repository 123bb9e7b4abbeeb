"""Keeps one child running: starts it again, with backoff, when it ends by itself."""

import signal
import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Protocol

from app.core.threads import kept
from app.embedded.process import ChildProcess, EmbeddedError

# Seconds before the next start: doubled each time, from the first again after a good run.
FIRST_DELAY = 0.5
LONGEST_DELAY = 15.0
GOOD_RUN = 30.0

# What a part exits with when its settings are wrong: starting it again mends nothing.
CONFIGURATION_EXIT = 2


class Service(Protocol):
    """What can be started, again too, and stopped, before its start has returned too."""

    @property
    def process(self) -> ChildProcess: ...

    def start(self) -> None:
        """Raises `EmbeddedError` when it does not come up."""

    def stop(self) -> None: ...


def ending(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


class Supervised:
    """`service`, kept running between `start` and `stop`.

    `say` is told what happened; `give_up` is called when it can't run at all.
    """

    def __init__(
        self, service: Service, *, say: Callable[[str], None], give_up: Callable[[], None]
    ) -> None:
        self._service = service
        self._say = say
        self._give_up = give_up
        self._stopping = Event()
        self._watch: Thread | None = None

    @property
    def pid(self) -> int:
        return self._service.process.pid

    def start(self) -> None:
        """The first start's errors are the caller's."""
        self._stopping.clear()
        self._service.start()
        self._watch = Thread(target=kept(self._keep_running, self._stopping), daemon=True)
        self._watch.start()

    def _keep_running(self) -> None:
        delay = FIRST_DELAY
        while True:
            began = time.monotonic()
            code = self._service.process.wait()
            if self._stopping.is_set():
                return
            if code == CONFIGURATION_EXIT:
                self._say(ending(code))
                self._give_up()
                return
            if time.monotonic() - began > GOOD_RUN:
                delay = FIRST_DELAY
            reason = ending(code)
            while True:
                self._say(f"{reason}; starting it again in {delay:g} s")
                if self._stopping.wait(delay):
                    return
                delay = min(delay * 2, LONGEST_DELAY)
                try:
                    self._service.start()
                    break
                except (EmbeddedError, OSError) as error:
                    reason = str(error)
            if self._stopping.is_set():  # asked for while it started
                self._service.stop()
                return

    def stop(self) -> None:
        self._stopping.set()
        self._service.stop()
        if self._watch is not None:
            self._watch.join()
            self._watch = None
