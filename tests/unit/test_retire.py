"""When a child of the worker ends so that another takes its place."""

import os
from typing import cast

import pytest

from worker.executor import Executor
from worker.main import retire


class Begun:
    """As many attempts as an executor has begun, and what a job has left."""

    def __init__(self, attempts: int, *, spoilt: bool | BaseException) -> None:
        self.attempts = attempts
        self._spoilt = spoilt

    @property
    def spoilt(self) -> bool:
        if isinstance(self._spoilt, BaseException):
            raise self._spoilt
        return self._spoilt


@pytest.mark.parametrize(
    ("begun", "ends"),
    [
        (Begun(1, spoilt=False), False),
        (Begun(2, spoilt=False), True),
        (Begun(1, spoilt=True), True),
        # A thread that a job has left may raise in the child at any moment.
        (Begun(1, spoilt=KeyboardInterrupt()), True),
    ],
    ids=["neither", "attempts", "spoilt", "unknown"],
)
def test_a_child_ends_after_its_attempts_or_once_it_is_spoilt(
    begun: Begun, ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    exits: list[int] = []
    monkeypatch.setattr(os, "_exit", exits.append)
    monkeypatch.setattr("worker.main.signals.worker_process_shutdown.send", lambda **_: None)
    retire(cast("Executor", begun), after=2)
    assert bool(exits) is ends
