"""A child process: in a session of its own, stopped step by step, never outliving its parent."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Thread

import psutil

from app.core.mendable import Mendable

PR_SET_PDEATHSIG = 1

# Signals in turn, each with the seconds that it has; what is left after the last gets SIGKILL.
StopPlan = Sequence[tuple[signal.Signals, float]]

# The kernel takes a process's parent to be the *thread* that forked it, and signals the child when
# that thread ends (prctl(2)). So one thread forks all of them and lives as long as this process.
_forker = ThreadPoolExecutor(1, thread_name_prefix="forker")


class EmbeddedError(Mendable):
    """One line that says why it can't run here, and what to do."""


def _die_with_parent(sig: signal.Signals) -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, sig)
        if os.getppid() != parent:  # it ended between the fork and the line above
            os._exit(1)

    return ask


class ChildProcess:
    """`command`, started; Ctrl-C in the terminal does not reach it.

    `output` is a file to append to, or is called with each line from a thread of its own.
    `orphaned` is the signal it gets when this process ends without stopping it (Linux only).
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        output: Path | Callable[[str], None],
        stop: StopPlan,
        orphaned: signal.Signals,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
        descriptors: Sequence[int] = (),
    ) -> None:
        self._command = command
        self._stop_plan = stop
        self._log = output if isinstance(output, Path) else None
        self._reader: Thread | None = None

        def start(stdout: int) -> subprocess.Popen[bytes]:
            # preexec_fn is safe here, threads or not: it calls two functions that are already
            # loaded and takes no lock that another thread could have held at the fork.
            return subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.STDOUT,
                env=environment,
                # PostgreSQL's own user may not be let into ours.
                cwd=self._log.parent if self._log else None,
                user=user,
                pass_fds=descriptors,
                start_new_session=True,
                preexec_fn=_die_with_parent(orphaned),  # noqa: PLW1509
            )

        if isinstance(output, Path):
            with output.open("ab") as file:
                self._process = _forker.submit(start, file.fileno()).result()
        else:
            self._process = _forker.submit(start, subprocess.PIPE).result()
            self._reader = Thread(target=self._read, args=[output], daemon=True)
            self._reader.start()

    def _read(self, line: Callable[[str], None]) -> None:
        assert self._process.stdout is not None  # noqa: S101
        with self._process.stdout as stdout:
            for raw in stdout:
                # Whatever happens to the listener, the pipe is emptied: full, it stops the child.
                with suppress(OSError, ValueError):
                    line(raw.decode(errors="replace").rstrip("\r\n"))

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Wait until the process has ended, and kill the rest of its session."""
        code = self._process.wait()
        self._ended()
        return code

    def _ended(self) -> None:
        # By session, since a worker's children lead their own process groups.
        for pid in psutil.pids():
            with suppress(ProcessLookupError, PermissionError):
                if os.getsid(pid) == self.pid:
                    os.kill(pid, signal.SIGKILL)
        if self._reader is not None:
            self._reader.join(1)

    def wait_until(self, ready: Callable[[], bool], *, seconds: float) -> None:
        """Raise `EmbeddedError` with the output's last line if it ends or is not ready in time."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self.poll() is not None or time.monotonic() > deadline:
                self.stop()
                lines = self._log.read_text(errors="replace").split("\n") if self._log else []
                last = next((line for line in reversed(lines) if line.strip()), "no output")
                raise EmbeddedError(f"{self._command[0]} did not start: {last.strip()}")
            time.sleep(0.02)

    def signal(self, sig: signal.Signals) -> None:
        self._process.send_signal(sig)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._ended()

    def stop(self) -> None:
        for sig, seconds in self._stop_plan:
            self.signal(sig)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
                self._ended()
                return
        self.kill()
