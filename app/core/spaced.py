"""Limits how often the same thing is logged."""

import time


class Spaced:
    """Lets one occurrence in `seconds` through, beginning with the first."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due_at = 0.0

    def due(self) -> bool:
        now = time.monotonic()
        if now < self._due_at:
            return False
        self._due_at = now + self._seconds
        return True
