"""What a running job may ask of the machinery around it."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol
from uuid import UUID

from app.jobs.files import FileId


class JobContext(Protocol):
    """Handed to a kind's function with its specification; valid until that function returns.

    Call its methods only in the thread and the process that the function was called in; a process
    that the function has forked can call `check` only.

    The function may start processes (`subprocess`, `multiprocessing`, `concurrent.futures`, with
    any start method): they count in the job's memory, and they are killed when the attempt ends,
    however it ends. It may fork as well: a forked process exits where the function would return.
    Signal handlers, timers, limits, the current folder, the umask, the environment and the standard
    streams are restored after each attempt.

    Every method raises `JobInterrupted` (`JobCancelled`, `LeaseLost`) when the attempt is over.
    """

    @property
    def id(self) -> UUID: ...

    @property
    def attempt(self) -> int:
        """The fencing token: 1 for the first attempt, and only ever grows."""
        ...

    @property
    def scratch(self) -> Path:
        """A private folder on local disk, removed when the attempt ends."""
        ...

    @property
    def threads(self) -> int:
        """How many threads this job may keep busy: a slot's honest share of the machine."""
        ...

    def progress(self, fraction: float, message: str = "") -> None:
        """Publish the `fraction` that is done, 0 to 1, and a message to the job's watchers.

        Call it as often as is natural: at most two calls a second reach the ledger. A number out
        of range is clamped, NaN leaves the fraction as it was, a message is cut at 500 characters.

        Raises `TypeError` for a fraction that is not a number.
        """
        ...

    def check(self) -> None:
        """Return at once, or raise if the attempt is over. Cheap enough for an inner loop."""
        ...

    def input(self, file: FileId) -> Path:
        """A local copy of one of the job's input files, in the scratch folder."""
        ...

    def output(self, path: Path, *, name: str, content_type: str) -> FileId:
        """Store a file of the scratch folder as one of the job's outputs.

        It becomes the owner's file in the transaction that makes the job succeed, and is
        removed if the job does not succeed. `name` follows the rule of uploads: a plain file name
        of at most 255 bytes in UTF-8, without path separators and control characters.

        Raises `JobError` with `output-name-invalid` or `output-type-invalid`.
        """
        ...

    def effect(self) -> AbstractContextManager[None]:
        """Hold this open round anything that can't be taken back: a mail, a call to a third party.

        Entering waits until the lease has been renewed within its own length, so that an attempt
        which lost touch with the ledger starts nothing new.
        """
        ...
