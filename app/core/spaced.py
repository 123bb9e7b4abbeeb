"""How often the same thing is logged."""

import time


class Spaced:
    """Says of one occurrence in `seconds` that it is due, the first one at once."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due_at = 0.0

    def due(self) -> bool:
        now = time.monotonic()
        if now < self._due_at:
            return False
        self._due_at = now + self._seconds
        return True
