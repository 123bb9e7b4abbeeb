"""The standard streams, so that one that is closed or full stops nothing."""

import io
import os
import sys
from contextlib import suppress
from typing import TextIO

from typing_extensions import Buffer, override

STDOUT, STDERR = 1, 2


def open_streams() -> None:
    """Open /dev/null in the place of each standard stream that is closed.

    A free descriptor goes to the next file or socket, and what is printed would be sent there.
    """
    for descriptor in (0, STDOUT, STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


class _Kept(io.FileIO):
    """A stream of which what can't be written is dropped."""

    @override
    def write(self, data: Buffer, /) -> int:
        length = memoryview(data).nbytes
        with suppress(OSError):
            super().write(data)
        return length


def _kept(descriptor: int) -> TextIO:
    raw = _Kept(descriptor, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), errors="backslashreplace", line_buffering=True)


def keep_streams() -> None:
    """Let nothing that a server, a library or a job prints raise for the state of its stream.

    Whoever forks flushes them first (billiard does), and would fail as well. Call it after
    `configure_logging`, which counts the lines that a missing stdout loses.
    """
    sys.stdout = _kept(STDOUT)
    sys.stderr = _kept(STDERR)


def complain(reason: object) -> None:
    """One line on stderr, if it can be written: the exit code says the rest."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(" ".join(["heavylift:", *str(reason).split()]) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        # The interpreter tries again when it ends, and would exit with a code of its own (120).
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDERR)
