"""Surroundings: a change that a job makes to its process is put back, or spoils it."""

import gc
import locale
import os
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from decimal import Decimal, getcontext, setcontext

import pytest

from worker.interpreter import SETTINGS, apart
from worker.processes import own_memory
from worker.surroundings import Surroundings


@pytest.fixture
def surroundings() -> Iterator[Surroundings]:
    surroundings = Surroundings(memory_limit=1 << 40)
    surroundings.attempt_begins()
    yield surroundings
    surroundings.attempt_ended()


def move_to_tokyo() -> None:
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()


def hook(*_: object) -> None:
    pass


CHANGES: dict[str, Callable[[], object]] = {
    "time zone": move_to_tokyo,
    "socket timeout": lambda: socket.setdefaulttimeout(0.001),
    "locale": lambda: locale.setlocale(locale.LC_ALL, "C.UTF-8"),
    "garbage collection": gc.disable,
    "garbage thresholds": lambda: gc.set_threshold(1, 1, 1),
    "garbage debugging": lambda: gc.set_debug(gc.DEBUG_STATS),
    "switch interval": lambda: sys.setswitchinterval(3),
    "warning filters": lambda: warnings.simplefilter("once", BytesWarning),
    "warnings.showwarning": lambda: setattr(warnings, "showwarning", hook),
    "module path": lambda: sys.path.insert(0, "/tmp/elsewhere"),
    "sys.excepthook": lambda: setattr(sys, "excepthook", hook),
    "sys.unraisablehook": lambda: setattr(sys, "unraisablehook", hook),
    "threading.excepthook": lambda: setattr(threading, "excepthook", hook),
    "processors": lambda: os.sched_setaffinity(0, {max(os.sched_getaffinity(0))}),
}


def test_each_setting_but_the_niceness_has_a_change() -> None:
    assert CHANGES.keys() == {setting.name for setting in SETTINGS} - {"niceness"}


@pytest.mark.parametrize("name", CHANGES)
def test_a_setting_that_a_job_has_changed_is_put_back(
    name: str, surroundings: Surroundings
) -> None:
    (setting,) = (setting for setting in SETTINGS if setting.name == name)
    before = setting.read()
    CHANGES[name]()
    changed = setting.read()
    surroundings.attempt_ended()
    assert setting.read() == before
    assert not surroundings.spoilt
    if name != "processors" or len(before) > 1:
        assert changed != before


def test_a_setting_that_only_root_may_put_back_spoils_the_process(
    surroundings: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "getpriority", lambda *_: 19)
    monkeypatch.setattr(os, "setpriority", refuse)
    surroundings.attempt_ended()
    assert surroundings.spoilt


def test_a_signal_that_waits_behind_the_mask_is_discarded(surroundings: Surroundings) -> None:
    """By default it would end the process as soon as the mask is put back."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGRTMIN})
    signal.raise_signal(signal.SIGALRM)
    signal.raise_signal(signal.SIGRTMIN)
    signal.raise_signal(signal.SIGRTMIN)
    surroundings.attempt_ended()
    assert signal.sigpending() == set()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


def test_a_daemon_thread_that_runs_on_spoils_the_process(surroundings: Surroundings) -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait, daemon=True)
    thread.start()
    try:
        surroundings.attempt_ended()
        assert surroundings.spoilt
    finally:
        over.set()
        thread.join()


def test_a_daemon_thread_from_before_the_job_spoils_nothing(surroundings: Surroundings) -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait, daemon=True)
    thread.start()
    try:
        surroundings.attempt_begins()
        surroundings.attempt_ended()
        assert not surroundings.spoilt
    finally:
        over.set()
        thread.join()


def test_much_memory_that_a_job_leaves_spoils_the_process() -> None:
    # Much more than Python may free in the meantime.
    room = 128 << 20
    surroundings = Surroundings(memory_limit=own_memory(os.getpid()) + room)
    surroundings.attempt_begins()
    surroundings.attempt_ended()
    assert not surroundings.spoilt
    left = bytearray(b"x") * (room * 7 // 8)
    surroundings.attempt_ended()
    assert surroundings.spoilt
    assert len(left) == room * 7 // 8


def test_a_decimal_context_ends_with_the_function() -> None:
    def change() -> Decimal:
        getcontext().prec = 3
        return Decimal(1) / 3

    setcontext(getcontext().copy())
    before = getcontext().prec
    assert apart(change) == Decimal("0.333")
    assert getcontext().prec == before
