"""Keeps a process working while a standard stream is closed or full."""

import io
import os
import sys
from contextlib import suppress
from typing import TextIO

from typing_extensions import Buffer, override

STDOUT, STDERR = 1, 2


def open_streams() -> None:
    """Open /dev/null in the place of each standard stream that is closed.

    The next file or socket would get the free descriptor, and printed text would go there.
    """
    for descriptor in (0, STDOUT, STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            # It gets the lowest free number, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


class _Kept(io.FileIO):
    """A stream that drops text which it can't write."""

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
    """Let no print of a server, a library or a job raise because its stream is closed or full.

    billiard flushes the streams before it forks, and would fail as well. Call this after
    `configure_logging`, which counts the lines that a missing stdout loses.
    """
    sys.stdout = _kept(STDOUT)
    sys.stderr = _kept(STDERR)


def complain(reason: object) -> None:
    """Write one line to stderr, if possible: the exit code reports the failure as well."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(" ".join(["heavylift:", *str(reason).split()]) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        # The interpreter flushes again when it ends, and would exit with its own code (120).
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDERR)
