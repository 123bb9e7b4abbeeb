"""Writes log lines to stdout. A line that can't be written is dropped and counted; it raises
nothing, so that the work that it reports on goes on."""

import codecs
import mmap
import os
import struct
import sys
import threading
from collections import deque

from app.core.masking import loggable

COUNT = struct.Struct("=Q")

# Counters in one page of memory: a process uses the one that its pid selects.
CELLS = mmap.PAGESIZE // COUNT.size


class Lines:
    """Writes each line to stdout in one call, so that lines of threads and processes do not mix.

    structlog's PrintLogger writes the line's end separately, and its lock does not survive a fork:
    a child that the worker's parent forked while another thread wrote a line blocked forever at its
    own first line. Here a fork waits until the line is written.

    The descriptor is a copy of stdout's. A job that closes its stdout frees a number that the next
    socket gets, and lines must not be sent there.
    """

    def __init__(self) -> None:
        self._descriptor = _copy_of_stdout()
        self._encoding = _encoding_of_stdout()
        # Whether the last line was cut off: the next one then begins with a line break.
        self._cut = False
        # Shared with forked processes.
        self._dropped = mmap.mmap(-1, CELLS * COUNT.size)
        # A signal's handler or a finalizer may write a line while its own thread writes one: it
        # leaves the line here, and the interrupted call writes it next.
        self._waiting: deque[bytes] = deque()
        self._writing = False
        self._lock = threading.RLock()
        os.register_at_fork(
            before=self._fork_begins,
            after_in_parent=self._fork_ended,
            after_in_child=self._new_lock,
        )

    def _fork_begins(self) -> None:
        self._lock.acquire()

    def _fork_ended(self) -> None:
        self._lock.release()

    def _new_lock(self) -> None:
        self._lock = threading.RLock()

    @property
    def dropped(self) -> int:
        """The lines that this process and its children could not write."""
        return sum(count for (count,) in COUNT.iter_unpack(self._dropped[:]))

    def write(self, line: str) -> None:
        """Write a line, which includes its end, or drop it."""
        try:
            # Masked here because all lines pass here: requests, tracebacks, libraries.
            encoded = loggable(line).encode(self._encoding, "backslashreplace")
        except Exception:
            self.drop()
            return
        with self._lock:
            self._waiting.append(encoded)
            while self._waiting and not self._writing:
                self._writing = True
                try:
                    if not self._write(self._waiting.popleft()):
                        self._count()
                finally:
                    self._writing = False

    def msg(self, message: str) -> None:
        self.write(f"{message}\n")

    debug = info = warning = error = critical = msg

    def drop(self) -> None:
        """Count a line that was lost before `write`."""
        with self._lock:
            self._count()

    def _write(self, line: bytes) -> bool:
        if self._descriptor is None:
            return False
        whole = b"\n" + line if self._cut else line
        left = memoryview(whole)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            # Full (the disk, or a pipe that does not block), closed at its other end, or broken.
            return False
        finally:
            # Also after an exception that a signal's handler raised.
            self._cut = bool(left) and (self._cut or len(left) < len(whole))
        return True

    def _count(self) -> None:
        cell = os.getpid() % CELLS * COUNT.size
        COUNT.pack_into(self._dropped, cell, COUNT.unpack_from(self._dropped, cell)[0] + 1)


def _copy_of_stdout() -> int | None:
    if sys.stdout is None:
        # Closed when this process began: by now the descriptor may be another file's.
        return None
    try:
        return os.dup(sys.stdout.fileno())
    except (OSError, ValueError):
        # Not a file, or closed by now.
        return None


def _encoding_of_stdout() -> str:
    name = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        return codecs.lookup(name).name
    except LookupError:
        return "utf-8"
