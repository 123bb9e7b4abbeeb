"""A loop in a thread of its own: a turn, a wait, whatever the turn ran into."""

import threading
import time
from collections.abc import Callable

import structlog

from app.core.threads import kept
from worker.controller.metrics import TURN_DURATION, TURN_FAILURES

log = structlog.get_logger()

# Seconds, after a turn that failed: doubled up to the last.
BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0)

# Seconds in which the same failure is told once, whatever went well in between: a loop that calls
# on something only now and then fails only now and then.
SPACING = 300.0


# Characters of an error's text, which may quote the input that it failed on.
MOST = 500


def _identity(error: BaseException) -> str:
    """The key that tells failures apart: the error's text, or its type if that raises."""
    try:
        return repr(error)[:MOST]
    except Exception:
        return type(error).__name__


class Loop:
    """Runs `turn` every `interval` seconds, and at once when woken or when it left more to do."""

    def __init__(
        self,
        name: str,
        turn: Callable[[], bool | None],
        *,
        interval: float,
        patience: float | None = None,
    ) -> None:
        """`patience` is for how many seconds a turn may go on while the database answers others."""
        self.name = name
        self.patience = patience
        self._turn = turn
        self._interval = interval
        self._since: float | None = None
        self._duration = TURN_DURATION.labels(name)
        self._failures = TURN_FAILURES.labels(name)
        self._woken = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=kept(self._run, self._stopped), name=name, daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._woken.set()

    def stop(self) -> None:
        self._stopped.set()
        self._woken.set()

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def turning(self) -> float:
        """For how many seconds the turn goes on that it is in."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def _run(self) -> None:
        failures = 0
        told: dict[str, float] = {}
        while not self._stopped.is_set():
            try:
                more = self._timed_turn()
                failures = 0
            except BaseException as error:
                # A loop that ends is a controller that lies: whatever it was, it tries again.
                self._failures.inc()
                told = {what: at for what, at in told.items() if time.monotonic() - at < SPACING}
                what = _identity(error)
                if what not in told:
                    told[what] = time.monotonic()
                    log.warning("turn failed", loop=self.name, exc_info=error)
                self._stopped.wait(BACKOFF[min(failures, len(BACKOFF) - 1)])
                failures += 1
                continue
            if more:
                continue
            self._woken.wait(self._interval)
            self._woken.clear()

    def _timed_turn(self) -> bool | None:
        self._since = time.monotonic()
        try:
            with self._duration.time():
                return self._turn()
        finally:
            self._since = None
