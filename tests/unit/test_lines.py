"""Lines that interrupt other lines of the same thread."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from app.core.lines import Lines


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], bytes]]:
    """Read what `Lines` has written so far."""
    reader, writer = os.pipe()
    monkeypatch.setattr("app.core.lines._copy_of_stdout", lambda: writer)
    yield lambda: os.read(reader, 65536)
    os.close(reader)
    os.close(writer)


@contextmanager
def interrupted(monkeypatch: pytest.MonkeyPatch, handler: Callable[[], object]) -> Iterator[None]:
    """Call the handler once, in the thread that writes, when half of the line is written."""
    write = os.write
    handlers = [handler]

    def half(descriptor: int, line: memoryview) -> int:
        written = write(descriptor, line[: max(len(line) // 2, 1)])
        if handlers:
            handlers.pop()()
        return written

    with monkeypatch.context() as patched:
        patched.setattr("app.core.lines.os.write", half)
        yield


def finishes(call: Callable[[], object]) -> bool:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(5)
    return not thread.is_alive()


def test_a_line_of_a_signal_handler_follows_the_line_that_it_interrupts(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[], bytes]
) -> None:
    lines = Lines()
    with interrupted(monkeypatch, lambda: lines.msg("inner")):
        assert finishes(lambda: lines.msg("outer"))
    assert read() == b"outer\ninner\n"
    assert lines.dropped == 0


def test_a_line_after_a_handler_that_raised_begins_on_a_new_line(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[], bytes]
) -> None:
    lines = Lines()

    def second(descriptor: int, line: memoryview) -> int:
        raise KeyboardInterrupt

    def raises() -> None:
        monkeypatch.setattr("app.core.lines.os.write", second)

    with interrupted(monkeypatch, raises), pytest.raises(KeyboardInterrupt):
        lines.msg("outer")
    monkeypatch.undo()
    lines.msg("later")
    assert read() == b"out\nlater\n"


def test_a_fork_by_a_handler_can_write_lines(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[], bytes]
) -> None:
    lines = Lines()
    # The hooks around a fork, without one: its child would be a copy of pytest.
    hooks: dict[str, Callable[[], object]] = {}
    monkeypatch.setattr("app.core.lines.os.register_at_fork", lambda **given: hooks.update(given))
    forked = Lines()

    def fork() -> None:
        hooks["before"]()
        hooks["after_in_child"]()

    with interrupted(monkeypatch, fork):
        assert finishes(lambda: forked.msg("outer"))
    assert finishes(lambda: forked.msg("later"))
    assert finishes(lambda: lines.msg("another"))
    assert read() == b"outer\nlater\nanother\n"
