"""Turns by key, with a bounded queue for each key."""

import anyio
import pytest

from app.core.turns import QueueFull, Turns

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("waiting", [0, 1, 3])
async def test_a_turn_is_refused_only_while_the_queue_of_its_key_is_full(waiting: int) -> None:
    turns = Turns(waiting=waiting)
    done: list[int] = []

    async def take(number: int) -> None:
        async with turns.take("ada"):
            done.append(number)

    async with turns.take("ada"), anyio.create_task_group() as tasks:
        for number in range(waiting):
            tasks.start_soon(take, number)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(QueueFull):
            await take(waiting)
        async with turns.take("bob"):
            assert done == []
        tasks.cancel_scope.cancel()
    async with turns.take("ada"):
        pass
    assert turns._locks == {}
