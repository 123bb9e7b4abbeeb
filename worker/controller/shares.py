"""Who gets the free places of a pool's window: a plan, with no access to anything."""

import heapq
from collections.abc import Mapping, Sequence
from uuid import UUID


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
