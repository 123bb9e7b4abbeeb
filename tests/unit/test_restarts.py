"""Children counted by themselves, in shared memory, and what became of them."""

from worker.restarts import Restarts
from worker.slots import Slots


def counted(restarts: Restarts) -> dict[str, int]:
    restarts.look()
    return {reason: count for reason, count in restarts.counts.items() if count}


def test_the_first_child_takes_nobodys_place() -> None:
    slots = Slots(2)
    restarts = Restarts(slots, ["cancelled"])
    slots.enter(0)
    slots.enter(1)
    assert counted(restarts) == {}
    # All reasons are there before their first time: a rate over them has no gap.
    assert restarts.counts == {"exited": 0, "recycled": 0, "cancelled": 0}


def test_each_reason_is_counted_once_a_new_child_is_there() -> None:
    slots = Slots(1)
    restarts = Restarts(slots, ["cancelled"])
    slots.enter(0)
    slots.leave(0, recycled=True)
    assert counted(restarts) == {}
    slots.enter(0)
    assert counted(restarts) == {"recycled": 1}
    restarts.killed(0, "cancelled")
    assert counted(restarts) == {"recycled": 1}
    slots.enter(0)
    assert counted(restarts) == {"recycled": 1, "cancelled": 1}
    slots.enter(0)
    assert counted(restarts) == {"recycled": 1, "cancelled": 1, "exited": 1}


def test_what_happened_between_two_looks_is_not_missed() -> None:
    slots = Slots(2)
    restarts = Restarts(slots, [])
    for slot in range(2):
        slots.enter(slot)
        for _ in range(500):
            slots.leave(slot, recycled=True)
            slots.enter(slot)
    slots.leave(1, recycled=False)
    slots.enter(1)
    assert counted(restarts) == {"recycled": 1000, "exited": 1}
