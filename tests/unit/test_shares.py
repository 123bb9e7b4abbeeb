"""The plan of a dispatch turn."""

from uuid import UUID

import pytest

from worker.controller.shares import shares

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
