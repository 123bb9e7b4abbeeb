"""When a user's journeys are due."""

from math import floor


class Schedule:
    """One start every `every` seconds from `first`; no start is left out, or moved.

    Times are `time.perf_counter()`'s.
    """

    def __init__(self, first: float, every: float) -> None:
        self._first = first
        self._every = every
        self._begun = 0
        self._ended: float | None = None

    @property
    def _next(self) -> float:
        return self._first + self._begun * self._every

    def wait(self, now: float) -> float:
        """Seconds until the next start; 0 for a user who is behind."""
        return max(0.0, self._next - now)

    def begin(self, now: float) -> float:
        """Begin the next journey; seconds that it begins too late."""
        late = max(0.0, now - self._next)
        self._begun += 1
        return late

    def end(self, now: float) -> None:
        """The user is asked to stop: nothing is due from now on."""
        if self._ended is None:
            self._ended = now

    def due(self, now: float) -> int:
        """Starts that were due by now, whether or not the user has begun them."""
        until = now if self._ended is None else self._ended
        # A timer may be a moment early.
        return max(self._begun, floor((until - self._first) / self._every) + 1)
