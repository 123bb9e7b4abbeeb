"""The plan of a dispatch turn."""

from uuid import UUID

import pytest

from app.services.ledger import Build, Need, Waiting
from worker.controller.plan import Window, in_turn, shares

A, B, C = (UUID(int=n) for n in (1, 2, 3))


@pytest.mark.parametrize(
    ("free", "waiting", "held", "expected"),
    [
        pytest.param(0, [A, B], {}, {}, id="no room"),
        pytest.param(3, [], {A: 1}, {}, id="nobody waits"),
        pytest.param(3, [A], {A: 9}, {A: 3}, id="alone, whatever it holds"),
        pytest.param(2, [B, C, A], {}, {B: 1, C: 1}, id="round robin, as far as it goes"),
        pytest.param(4, [A, B], {}, {A: 2, B: 2}, id="equal parts"),
        pytest.param(5, [B, A], {}, {B: 3, A: 2}, id="the odd one to who comes first"),
        pytest.param(2, [A, B], {A: 4}, {B: 2}, id="one that holds its share waits"),
        pytest.param(4, [A, B], {A: 2}, {A: 1, B: 3}, id="levelled out"),
        pytest.param(1, [A, B], {A: 1, C: 7}, {B: 1}, id="who waits for nothing is nobody"),
    ],
)
def test_shares(
    free: int, waiting: list[UUID], held: dict[UUID, int], expected: dict[UUID, int]
) -> None:
    assert shares(free, waiting, held) == expected


def window(*builds: Build, per_slot: int = 1, **out: int) -> Window:
    """`out` by the build's name; `shared` is the queue that all of them read."""
    queues = {None if name == "shared" else name: count for name, count in out.items()}
    return Window(builds, per_slot=per_slot, out=queues)


OLD = Build("old", "1", frozenset({"a.b"}), 3)
NEW = Build("new", "2", frozenset({"a.b", "c.d"}), 1)
EVERYONES, NEW_ONES, NOBODYS = Need("a.b"), Need("c.d"), Need("e.f")


def test_without_workers_there_is_no_place() -> None:
    assert not window().takes(EVERYONES)
    # Nor for what is still out to those that have left.
    assert window(gone=3).free == 0


def test_what_all_run_goes_to_the_queue_that_all_read() -> None:
    both = window(OLD, NEW)
    assert [both.place(EVERYONES) for _ in range(4)] == [None] * 4
    assert not both.takes(EVERYONES)


def test_what_one_build_runs_takes_no_more_than_its_part() -> None:
    both = window(OLD, NEW, per_slot=2, new=1)
    assert both.takes(NEW_ONES)
    assert both.place(NEW_ONES) == "new"
    assert not both.takes(NEW_ONES)
    assert (both.free, both.takes(EVERYONES), both.takes(NOBODYS)) == (6, True, False)


def test_a_full_pool_has_no_place_in_a_queue_that_is_empty() -> None:
    assert not window(OLD, NEW, shared=4).takes(NEW_ONES)


def test_a_version_that_refused_is_passed_over() -> None:
    both = window(OLD, NEW)
    assert both.place(Need("a.b", refused_by=("1",))) == "new"
    assert not both.takes(Need("a.b", refused_by=("1", "2")))


def test_the_order_is_that_in_which_places_were_given() -> None:
    def job(owner: UUID, number: int) -> Waiting:
        return Waiting(UUID(int=number), owner, EVERYONES)

    jobs = [job(A, 1), job(A, 2), job(A, 3), job(B, 4), job(C, 5), job(C, 6)]
    order = in_turn(jobs, [C, A, B], held={A: 1})
    assert [found.job_id.int for found in order] == [5, 4, 6, 1, 2, 3]
