"""Settings of the interpreter and of its process that a job may change."""

import decimal
import faulthandler
import gc
import locale
import os
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")


@dataclass(frozen=True, slots=True)
class Setting:
    """`write` takes what `read` has returned; it may raise if the process lacks the privilege."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]


def _attribute(module: Any, name: str) -> Setting:
    return Setting(
        f"{module.__name__}.{name}",
        lambda: getattr(module, name),
        lambda value: setattr(module, name, value),
    )


def _put_back_filters(filters: list[Any]) -> None:
    # This also invalidates what the interpreter remembers of the filters.
    warnings.resetwarnings()
    warnings.filters.extend(filters)  # type: ignore[attr-defined]


def _put_back_path(path: list[str]) -> None:
    sys.path[:] = path


def _collecting(enabled: bool) -> None:
    (gc.enable if enabled else gc.disable)()


# Call `tzset` after the environment is put back: it reads TZ.
SETTINGS: tuple[Setting, ...] = (
    Setting(
        "time zone",
        lambda: (time.tzname, time.timezone, time.altzone, time.daylight),
        lambda _: time.tzset(),
    ),
    Setting("socket timeout", socket.getdefaulttimeout, socket.setdefaulttimeout),
    Setting(
        "locale",
        lambda: locale.setlocale(locale.LC_ALL),
        lambda value: locale.setlocale(locale.LC_ALL, value),
    ),
    # Only root may lower it again.
    Setting(
        "niceness",
        lambda: os.getpriority(os.PRIO_PROCESS, 0),
        lambda value: os.setpriority(os.PRIO_PROCESS, 0, value),
    ),
    Setting("garbage collection", gc.isenabled, _collecting),
    Setting("garbage thresholds", gc.get_threshold, lambda value: gc.set_threshold(*value)),
    Setting("garbage debugging", gc.get_debug, gc.set_debug),
    Setting("switch interval", sys.getswitchinterval, sys.setswitchinterval),
    Setting("warning filters", lambda: [*warnings.filters], _put_back_filters),
    _attribute(warnings, "showwarning"),
    Setting("module path", lambda: [*sys.path], _put_back_path),
    _attribute(sys, "excepthook"),
    _attribute(sys, "unraisablehook"),
    _attribute(threading, "excepthook"),
)

if hasattr(os, "sched_setaffinity"):
    SETTINGS += (
        Setting(
            "processors",
            lambda: os.sched_getaffinity(0),
            lambda value: os.sched_setaffinity(0, value),
        ),
    )


class SavedSettings:
    def __init__(self) -> None:
        self._saved = [(setting, setting.read()) for setting in SETTINGS]

    def put_back(self) -> list[str]:
        """Put back all settings that have changed. Returns those that can't be put back."""
        return [setting.name for setting, saved in self._saved if not _put_back(setting, saved)]


def _put_back(setting: Setting, saved: object) -> bool:
    try:
        if setting.read() != saved:
            setting.write(saved)
        return bool(setting.read() == saved)
    except BaseException:
        return False


class Hooks:
    """Tracers, profilers and the recursion limit: they may raise in any later code."""

    def __init__(self) -> None:
        self._trace = sys.gettrace()
        self._profile = sys.getprofile()
        self._recursion_limit = sys.getrecursionlimit()
        self._threads_trace = threading.gettrace()
        self._threads_profile = threading.getprofile()

    def put_back(self) -> None:
        """May raise what such a hook raises; the interpreter then removes it, so try again."""
        # The limit first: each further call may be too deep.
        sys.setrecursionlimit(self._recursion_limit)
        sys.settrace(self._trace)
        sys.setprofile(self._profile)
        threading.settrace(self._threads_trace)
        threading.setprofile(self._threads_profile)
        faulthandler.cancel_dump_traceback_later()


def apart(
    function: Callable[Parameters, Returned],
    *arguments: Parameters.args,
    **named: Parameters.kwargs,
) -> Returned:
    """Call the function with context variables and a decimal context of its own."""

    def call() -> Returned:
        # The decimal context is an object that the copied variable would share.
        decimal.setcontext(decimal.getcontext().copy())
        return function(*arguments, **named)

    return copy_context().run(call)
