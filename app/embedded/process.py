"""A server as a child of this process: it never outlives its parent."""

import ctypes
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PR_SET_PDEATHSIG = 1


class EmbeddedError(Exception):
    """One line that says why a server can't run here, and what to do."""


def _die_with_parent(sig: signal.Signals) -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, sig)

    return ask


class ServerProcess:
    """`command` in a session of its own, so that a Ctrl-C reaches only who is to stop it."""

    def __init__(
        self, command: list[str], *, log: Path, user: str | None = None, stop: signal.Signals
    ) -> None:
        self._stop = stop
        self.log = log
        with log.open("ab") as output:
            # preexec_fn is safe here: nothing else of this process runs threads that hold locks
            # that prctl would want.
            self._process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                user=user,
                start_new_session=True,
                preexec_fn=_die_with_parent(stop),  # noqa: PLW1509
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.poll()

    def wait_until(self, ready: Callable[[], bool], *, seconds: float) -> None:
        """Raise `EmbeddedError` with the log's last line if it exits or is not ready in time."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                lines = self.log.read_text(errors="replace").strip().splitlines()
                raise EmbeddedError(
                    f"{self._process.args[0]} did not start: {lines[-1] if lines else 'no output'}"  # type: ignore[index]
                )
            time.sleep(0.02)

    def signal(self, sig: signal.Signals) -> None:
        self._process.send_signal(sig)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self, *, seconds: float = 10) -> None:
        if self._process.poll() is not None:
            return
        self._process.send_signal(self._stop)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
