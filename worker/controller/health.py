"""Whether this controller lives, and whether it may be counted on: what its probes say."""

import time
from collections.abc import Callable, Sequence

from worker.controller.loop import Loop
from worker.controller.rescue import Contact

# The main thread looks at its signals ten times a second.
SILENT = 30.0

# Seconds that a turn may go on, of a loop whose turns are short, while another loop's connection is
# answered all the time: longer than any wait for a lock, of which none outlasts ten seconds.
PATIENCE = 120.0


class Health:
    """Judged by what this process does by itself: no outage makes it dead, whatever it lasts.

    A loop that fails and tries again is alive. So is one that waits for a database that answers
    nobody. One that goes on waiting while the database answers others is stuck for good.
    """

    def __init__(
        self,
        loops: Sequence[Loop],
        contact: Contact,
        reached: Callable[[], bool],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loops = loops
        self._contact = contact
        self._clock = clock
        self._looked_at = clock()
        self._reached = reached
        self._draining = False
        self._waiting: str | None = None

    def wait(self, why: str | None) -> None:
        """Nothing runs yet, for this reason."""
        self._waiting = why
        self.tick()

    def tick(self) -> None:
        """The main thread is there."""
        self._looked_at = self._clock()

    def drain(self) -> None:
        self._draining = True

    def ended(self) -> str | None:
        """Names a loop that has ended without being stopped; None if there is none."""
        if self._draining or self._waiting is not None:
            return None
        return next((f"{loop.name} has ended" for loop in self._loops if not loop.alive), None)

    def livez(self) -> str | None:
        silent = self._clock() - self._looked_at
        if silent > SILENT:
            return f"the main thread has not been heard for {silent:.0f} s"
        if self._draining or self._waiting is not None:
            return None
        if (ended := self.ended()) is not None:
            return ended
        for loop in self._loops:
            stuck = min(loop.turning, self._contact.lasts)
            if loop.patience is not None and stuck > loop.patience:
                return f"{loop.name} is stuck in a turn for {loop.turning:.0f} s"
        return None

    def readyz(self) -> str | None:
        if self._draining:
            return "draining"
        if self._waiting is not None:
            return self._waiting
        if (dead := self.livez()) is not None:
            return dead
        # Once it has, it has: an outage that all share makes none of them unready.
        return None if self._reached() else "the ledger has not been read yet"
