"""A loop in a thread of its own: a turn, a wait, whatever the turn ran into."""

import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger()

# Seconds, after a turn that failed: doubled up to the last.
BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0)


class Loop:
    """Runs `turn` every `interval` seconds, and at once when woken or when it left more to do."""

    def __init__(self, name: str, turn: Callable[[], bool | None], *, interval: float) -> None:
        self.name = name
        self._turn = turn
        self._interval = interval
        self._woken = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._woken.set()

    def stop(self) -> None:
        self._stopped.set()
        self._woken.set()

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    def _run(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            try:
                more = self._turn()
                failures = 0
            except Exception as error:
                # A loop that ends is a controller that lies: whatever it was, it tries again.
                if failures == 0:
                    log.warning("turn failed", loop=self.name, exc_info=error)
                self._stopped.wait(BACKOFF[min(failures, len(BACKOFF) - 1)])
                failures += 1
                continue
            if more:
                continue
            self._woken.wait(self._interval)
            self._woken.clear()
