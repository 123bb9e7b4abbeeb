"""Lets a forked process tell its parent what is wrong with the settings."""

import logging
import os
from contextlib import suppress

from app.core.config import ConfigurationError


class Refusal:
    """Carries a worker's configuration error to the arbiter; the error of one worker is enough.

    It is a pipe, made before the workers are forked; its content stays until it is read.
    """

    # Bytes that a pipe takes in one piece (PIPE_BUF on Linux); nobody reads a longer line.
    LONGEST = 4096

    def __init__(self) -> None:
        self._arbiter = os.getpid()
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._reason: str | None = None

    def tell(self, error: ConfigurationError) -> None:
        with suppress(BlockingIOError):  # the pipe is full: other workers have told
            os.write(self._write, f"{error}\0".encode()[: self.LONGEST])

    @property
    def reason(self) -> str | None:
        if self._reason is None:
            with suppress(BlockingIOError):
                told = os.read(self._read, self.LONGEST)
                self._reason = told.partition(b"\0")[0].decode(errors="replace")
        return self._reason

    def is_unsaid(self, _: logging.LogRecord) -> bool:
        """Filter the arbiter's log: after a refusal its lines add nothing."""
        return os.getpid() != self._arbiter or self.reason is None
