"""A controller's loop, with turns that a test looks into."""

import threading
from collections.abc import Callable

import pytest
import structlog

from worker.controller import loop as module
from worker.controller.loop import Loop

# Nothing of these tests waits for a turn of its own accord.
NEVER = 3600.0


def run(turn: Callable[[], bool], *, until: threading.Event) -> None:
    """A loop from its start to its end."""
    loop = Loop("test", turn, interval=NEVER)
    loop.start()
    assert until.wait(10)
    loop.stop()
    loop.join(10)
    assert not loop.alive


def test_a_turn_that_left_more_to_do_is_followed_at_once() -> None:
    left = [True, True, False]
    waiting = threading.Event()

    def turn() -> bool:
        more = left.pop(0)
        if not more:
            waiting.set()
        return more

    run(turn, until=waiting)
    assert left == []


def test_a_loop_that_always_has_more_to_do_stops_when_it_is_told_to() -> None:
    turning = threading.Event()

    def turn() -> bool:
        turning.set()
        return True

    run(turn, until=turning)


class NamelessError(Exception):
    def __repr__(self) -> str:
        raise ValueError("no repr")

    __str__ = __repr__


@pytest.mark.parametrize(
    "error", [SystemExit(0), KeyboardInterrupt(), GeneratorExit(), MemoryError(), NamelessError()]
)
def test_a_loop_goes_on_whatever_its_turn_raises(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BACKOFF", (0.0,))
    turned = threading.Event()
    errors = [error]

    def turn() -> bool:
        if errors:
            raise errors.pop()
        turned.set()
        return False

    with structlog.testing.capture_logs() as logs:
        run(turn, until=turned)
    assert [line["exc_info"] for line in logs] == [error]


def test_a_failure_is_told_once_though_turns_in_between_went_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BACKOFF", (0.0,))
    away, gone = OSError("away"), OSError("gone")
    failures = [away, None, away, None, gone, away, None]
    ended = threading.Event()

    def turn() -> bool:
        failure = failures.pop(0)
        if not failures:
            ended.set()
            return False
        if failure:
            raise failure
        return True

    with structlog.testing.capture_logs() as logs:
        run(turn, until=ended)
    assert [line["exc_info"] for line in logs] == [away, gone]
