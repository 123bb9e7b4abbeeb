"""Which children took others' places, and what had become of those."""

from collections import deque
from collections.abc import Iterable

from worker.slots import Slots

EXITED = "exited"
RECYCLED = "recycled"


class Restarts:
    """The watch's own; others may read `counts`.

    Children count themselves in their slots, so that none is missed between two looks.
    """

    def __init__(self, slots: Slots, reasons: Iterable[str]) -> None:
        """`reasons`: those that its children are killed for."""
        self._slots = slots
        self._seen = [(0, 0)] * slots.count
        # Of those whose places are not taken yet.
        self._recycled = [0] * slots.count
        self._killed: list[deque[str]] = [deque() for _ in range(slots.count)]
        self.counts = dict.fromkeys([EXITED, RECYCLED, *reasons], 0)

    def killed(self, slot: int, reason: str) -> None:
        self._killed[slot].append(reason)

    def look(self) -> None:
        for slot, (seen, seen_recycled) in enumerate(self._seen):
            lives = self._slots.lives(slot)
            if lives == (seen, seen_recycled):
                continue
            children, recycled = lives
            self._seen[slot] = lives
            self._recycled[slot] += recycled - seen_recycled
            # Its first child took nobody's place.
            for _ in range(max(seen, 1), children):
                self.counts[self._reason(slot)] += 1

    def _reason(self, slot: int) -> str:
        if self._killed[slot]:
            return self._killed[slot].popleft()
        if self._recycled[slot]:
            self._recycled[slot] -= 1
            return RECYCLED
        return EXITED
