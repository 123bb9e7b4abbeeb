"""What goes out next, to whom, through which queue: plans, with no access to anything."""

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from uuid import UUID

from app.services.ledger import Build, Need, Waiting


class Window:
    """The messages that may be out: so many for each live slot, and for each build's own slots.

    What all the live workers run goes to the queue that they share. What only some run goes to
    the queue of a build that does, and takes no more of the pool than that build has: were it to
    fill the window, everybody else's slots would stand idle.
    """

    def __init__(
        self, builds: Sequence[Build], *, per_slot: int, out: Mapping[str | None, int]
    ) -> None:
        """`out` are the messages out by now, by build; None is the queue that all share."""
        self._builds = builds
        self._rooms = {
            build.name: build.slots * per_slot - out.get(build.name, 0) for build in builds
        }
        slots = sum(build.slots for build in builds)
        self.free = max(0, slots * per_slot - sum(out.values()))

    def takes(self, need: Need) -> bool:
        """Whether there is a place for a message of such a job."""
        able = self._able(need)
        if len(able) < len(self._builds):
            able = [build for build in able if self._rooms[build.name] > 0]
        return self.free > 0 and bool(able)

    def place(self, need: Need) -> str | None:
        """Take a place, which there is: the build with the most room, None for any."""
        self.free -= 1
        able = self._able(need)
        if len(able) == len(self._builds):
            return None
        roomiest = max(able, key=lambda build: self._rooms[build.name]).name
        self._rooms[roomiest] -= 1
        return roomiest

    def _able(self, need: Need) -> list[Build]:
        return [build for build in self._builds if need.met_by(build)]


def shares(free: int, waiting: Sequence[UUID], held: Mapping[UUID, int]) -> dict[UUID, int]:
    """Places for each owner, in the order of `waiting` (round robin), those with none left out.

    Each place goes to whoever holds least, running and dispatched and just given; between equals,
    to who comes first in the round. So one that holds its share waits while another has less, and
    an owner alone gets all (max-min fairness: Bertsekas and Gallager, "Data Networks", 6.5.2).
    """
    queue = [(held.get(owner, 0), turn, owner) for turn, owner in enumerate(waiting)]
    heapq.heapify(queue)
    given = dict.fromkeys(waiting, 0)
    for _ in range(free if queue else 0):
        holds, turn, owner = queue[0]
        given[owner] += 1
        heapq.heapreplace(queue, (holds + 1, turn, owner))
    return {owner: places for owner, places in given.items() if places}


def in_turn(
    jobs: Sequence[Waiting], owners: Sequence[UUID], held: Mapping[UUID, int]
) -> list[Waiting]:
    """The jobs in the order in which `shares` gave their places: it tells if not all find one.

    Each owner's own jobs keep their order.
    """
    turns = {owner: turn for turn, owner in enumerate(owners)}
    holds = Counter(held)
    order = []
    for job in jobs:
        order.append((holds[job.owner_id], turns[job.owner_id]))
        holds[job.owner_id] += 1
    return [job for _, job in sorted(zip(order, jobs, strict=True), key=lambda pair: pair[0])]
