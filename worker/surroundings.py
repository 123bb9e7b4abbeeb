"""Restores what a job has changed in its process, or has the process replaced: the next job may
belong to another owner."""

import os
import resource
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

import psutil
import structlog

from app.core.logging import SavedLogging
from worker.interpreter import Hooks, SavedSettings
from worker.processes import is_tracker, own_memory

log = structlog.get_logger()

LIMITS = tuple(
    sorted(getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_"))
)
TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)

SIGNALS = tuple(sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}))

STREAMS = ("stdin", "stdout", "stderr")

# A hook or a handler that a job has left may raise once in each try to remove it.
TRIES = 100


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _folder() -> str | None:
    try:
        return str(Path.cwd())
    except OSError:
        # It was removed.
        return None


def _identity(descriptor: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _own_processes() -> set[psutil.Process]:
    if sys.platform == "linux":
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            # There are none: this takes one call, reading all processes takes milliseconds.
            return set()
    return set(psutil.Process().children(recursive=True))


class Surroundings:
    """Saves and restores one child's state.

    Make it just before the child's first job: Celery sets signals up as it starts.

    `spoilt` says that a job has left something that can't be put back: a process or a thread that
    ran on, memory, or a limit that only root may raise. The child then takes no further job.
    """

    def __init__(self, *, memory_limit: int) -> None:
        """`memory_limit`: bytes that this process and what a job starts may take."""
        self.spoilt = False
        self._hooks = Hooks()
        self._logging = SavedLogging()
        self._settings = SavedSettings()
        own = own_memory(os.getpid())
        # Three quarters of the room that the limit leaves. Models stay loaded for the next job on
        # purpose: those of `text.extract` take 440 MiB.
        self._memory = own + max(memory_limit - own, 0) * 3 // 4
        self._handlers = {number: signal.getsignal(number) for number in SIGNALS}
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._limits = {limit: resource.getrlimit(limit) for limit in LIMITS}
        self._umask = _umask()
        self._folder = _folder()
        self._environment = dict(os.environ)
        self._streams = {name: getattr(sys, name) for name in STREAMS}
        # Copies with other numbers, which no program that a job starts inherits.
        self._descriptors = {n: os.dup(n) for n in range(3) if _identity(n) is not None}
        self._threads: set[threading.Thread] = set()
        self._processes: set[psutil.Process] = set()

    def attempt_begins(self) -> None:
        self._threads = set(threading.enumerate())
        self._processes = _own_processes()

    def quiet(self) -> None:
        """Remove what the job has left that may raise in later code or end this process.

        Call it directly after foreign code. Raises nothing.
        """
        for _ in range(TRIES):
            try:
                self._hooks.put_back()
                self._stop_timers()
                self._silence_signals()
                self._logging.put_back()
            except BaseException:  # noqa: S112 - the hook that raised is removed
                continue
            return
        self.spoil("it keeps raising")

    def attempt_ended(self) -> None:
        """End what the job has left running and put back what it has changed. Raises nothing."""
        self.quiet()
        for step in (
            # First: with few descriptors, processes can't be found.
            self._put_back_limits,
            self._end_processes,
            self._look_at_threads,
            self._put_back_signals,
            self._put_back_files,
            self._put_back_streams,
            self._put_back_settings,
            self._look_at_memory,
        ):
            try:
                step()
            except BaseException as error:
                self.spoil("could not be put back", error=repr(error))

    def spoil(self, reason: str, **details: object) -> None:
        """Have this child replaced, and log why."""
        self.spoilt = True
        log.warning("the job's process is replaced", reason=reason, **details)

    def _end_processes(self) -> None:
        killed: set[psutil.Process] = set()
        while left := _own_processes() - self._processes:
            self.spoilt = True
            to_kill = [process for process in left if not is_tracker(process)]
            if not to_kill:
                # The tracker frees the job's shared memory once this process has ended.
                break
            for process in to_kill:
                try:
                    if process not in killed and process.status() != psutil.STATUS_ZOMBIE:
                        process.kill()
                        killed.add(process)
                except psutil.AccessDenied:
                    # It belongs to another user, and ends with the container.
                    self._processes.add(process)
                    continue
                except psutil.NoSuchProcess:
                    pass
                # If it is not a child of this process, its parent reaps it, or it comes here.
                with suppress(ChildProcessError):
                    os.waitpid(process.pid, 0)
        if killed:
            self.spoil("processes ran on", pids=sorted(process.pid for process in killed))

    def _look_at_threads(self) -> None:
        left = [
            thread.name
            for thread in set(threading.enumerate()) - self._threads
            if thread.is_alive()
        ]
        if left:
            self.spoil("threads ran on", threads=sorted(left))

    def _stop_timers(self) -> None:
        for timer in TIMERS:
            signal.setitimer(timer, 0)

    def _silence_signals(self) -> None:
        """Ignore the signals that the job has handled: by default, most would end this process."""
        for number, handler in self._handlers.items():
            if handler is not None and signal.getsignal(number) is not handler:
                lethal = handler is signal.SIG_DFL and number != signal.SIGCHLD
                signal.signal(number, signal.SIG_IGN if lethal else handler)

    def _put_back_signals(self) -> None:
        for number in signal.sigpending() - self._mask:
            # This discards it. It would be delivered as soon as the mask is put back.
            signal.signal(number, signal.SIG_IGN)
        for number, handler in self._handlers.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _put_back_limits(self) -> None:
        for limit, before in self._limits.items():
            if resource.getrlimit(limit) != before:
                resource.setrlimit(limit, before)

    def _put_back_files(self) -> None:
        os.umask(self._umask)
        if self._folder is not None and _folder() != self._folder:
            os.chdir(self._folder)
        if os.environ != self._environment:
            for name in os.environ.keys() - self._environment.keys():
                del os.environ[name]
            os.environ.update(self._environment)

    def _put_back_streams(self) -> None:
        for number, copy in self._descriptors.items():
            if _identity(number) != _identity(copy):
                os.dup2(copy, number, inheritable=True)
        for name, stream in self._streams.items():
            if getattr(sys, name) is not stream:
                setattr(sys, name, stream)
            if stream is not None and stream.closed:
                self.spoil("a standard stream was closed", stream=name)

    def _put_back_settings(self) -> None:
        if lasting := self._settings.put_back():
            self.spoil("settings could not be put back", settings=lasting)

    def _look_at_memory(self) -> None:
        memory = own_memory(os.getpid())
        if memory > self._memory:
            self.spoil("memory was left", mebibytes=memory >> 20, most=self._memory >> 20)
