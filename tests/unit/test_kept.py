"""Threads and tasks that others count on go on, whatever they run into."""

import asyncio
import subprocess
import sys
import threading
from typing import NoReturn

import pytest
import structlog
from typing_extensions import override

from app.core import tasks, threads
from app.core.tasks import Background, Loops
from app.core.threads import kept

ERRORS = [ValueError("x"), SystemExit(1), KeyboardInterrupt(), MemoryError()]


def test_a_kept_thread_goes_on_whatever_it_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "AGAIN", 0.0)
    errors = list(ERRORS)

    def loop() -> None:
        if errors:
            raise errors.pop(0)

    with structlog.testing.capture_logs() as logs:
        thread = threading.Thread(target=kept(loop, threading.Event()), name="kept")
        thread.start()
        thread.join(10)
    assert not thread.is_alive()
    assert [(line["loop"], line["exc_info"]) for line in logs] == [("kept", e) for e in ERRORS]


def test_a_kept_thread_is_not_begun_again_once_it_is_stopped() -> None:
    stopped = threading.Event()
    stopped.set()
    begun = []

    def loop() -> None:
        begun.append(1)
        raise ValueError

    kept(loop, stopped)()
    assert begun == [1]


class Failing(Background):
    def __init__(self) -> None:
        super().__init__()
        self.errors: list[BaseException] = [*ERRORS, asyncio.CancelledError()]
        self.went_on = asyncio.Event()

    @override
    def _loops(self) -> Loops:
        return {"failing": self._fail}

    async def _fail(self) -> NoReturn:
        if self.errors:
            raise self.errors.pop(0)
        self.went_on.set()
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.anyio
async def test_a_task_goes_on_whatever_it_raises_and_ends_when_it_is_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "AGAIN", 0.0)
    failing = Failing()
    with structlog.testing.capture_logs() as logs:
        async with failing:
            await asyncio.wait_for(failing.went_on.wait(), 10)
            (task,) = failing._tasks
    assert task.cancelled()
    assert [type(line["exc_info"]) for line in logs] == [
        *map(type, ERRORS),
        asyncio.CancelledError,
    ]


UNSAYABLE = """
import threading
from app.core import threads
class Mute:
    def critical(self, *_, **__):
        raise MemoryError
threads.log = Mute()
def loop():
    raise ValueError
threading.Thread(target=threads.kept(loop, threading.Event())).start()
threading.Event().wait()
"""


@pytest.mark.slow
def test_a_process_whose_thread_can_not_go_on_ends() -> None:
    ended = subprocess.run([sys.executable, "-c", UNSAYABLE], timeout=60, check=False)
    assert ended.returncode == threads.BROKEN
