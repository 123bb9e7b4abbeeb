"""The `JobContext` of a running attempt."""

import hashlib
import math
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import NoReturn, Self, SupportsFloat
from uuid import UUID, uuid4

import obstore
import structlog
from obstore.store import ObjectStore
from sqlalchemy import Engine, text

from app.core.file_names import plain_name
from app.core.scratch import remove_folder
from app.core.text import text_of
from app.jobs import (
    FileId,
    JobCancelled,
    JobContext,
    JobError,
    JobTimedOut,
    LeaseLost,
    RetryableJobError,
)
from app.models.job import JobState
from app.schemas.job import JobEvent
from app.services import ledger
from worker.announce import Announcer
from worker.persist import persist
from worker.slots import Order, Slots
from worker.surroundings import Surroundings

log = structlog.get_logger()

# At most two progress writes a second: a person sees no more, and the row is hot.
PROGRESS_INTERVAL = 0.5

# Characters of a progress message, which is one line of a list.
MAX_MESSAGE = 500

# A media type (RFC 9110, section 8.3.1), limited to characters and a length (our choice) that any
# response header can carry.
MEDIA_TYPE = re.compile(r"[\w.+!#$&^-]+/[\w.+!#$&^-]+([\t\x20]*;[\t\x20-\x7e]*)?", re.ASCII)

MAX_TYPE = 255

# Larger outputs go up in parts of this size.
CHUNK = 8 * 1024 * 1024

INPUT = text(
    """
    SELECT key FROM files
    WHERE id = :file_id AND owner_id = :owner_id AND state = 'ready'
      AND EXISTS (SELECT FROM job_files WHERE job_id = :job_id AND file_id = files.id)
    """
)


def _share(value: object, last: float) -> float:
    """Clamp a number to a share of the work, from 0 to 1; for NaN, return the last share."""
    if not isinstance(value, SupportsFloat):
        raise TypeError(f"job.progress() takes a number from 0 to 1, not {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:  # an int too large for a float
        number = math.copysign(math.inf, 1 if value > 0 else -1)  # type: ignore[operator]
    return last if math.isnan(number) else min(max(number, 0.0), 1.0)


def _described(name: object, content_type: object) -> tuple[str, str]:
    """An output's name and type, if they can be stored and sent. Raises `JobError`."""
    try:
        if not isinstance(name, str):
            raise ValueError(f"a text, not {type(name).__name__}")
        plain_name(name)
    except ValueError as error:
        raise JobError("output-name-invalid", f"job.output(name={name!a:.300}): {error}") from error
    if not (
        isinstance(content_type, str)
        and len(content_type) <= MAX_TYPE
        and MEDIA_TYPE.fullmatch(content_type)
    ):
        raise JobError(
            "output-type-invalid",
            f"job.output(content_type={content_type!a:.300}): write it as text/plain",
        )
    return name, content_type


class Attempt(JobContext):
    """One attempt, in the child that runs it.

    Progress is written by a thread of its own, so that a ledger that is away stops nobody's work
    and what the ledger answers is there at the next call.
    """

    def __init__(
        self,
        claim: ledger.Claim,
        *,
        engine: Engine,
        store: Callable[[], ObjectStore],
        announcer: Announcer,
        slots: Slots,
        slot: int,
        number: int,
        scratch: Path,
        threads: int,
        pending_ttl: timedelta,
        surroundings: Surroundings,
    ) -> None:
        self.claim = claim
        self._engine = engine
        self._store = store
        self._announcer = announcer
        self._slots = slots
        self._slot = slot
        self._number = number
        self._scratch = scratch
        self._threads = threads
        self._pending_ttl = pending_ttl
        self._surroundings = surroundings
        self._process = os.getpid()
        self._cancelled = False
        self._lost = False
        self._told = Order.NONE
        self._latest: tuple[float, str] | None = None
        self._news = threading.Event()
        self._over = threading.Event()
        # In the attempt's context: its lines and its spans are this attempt's too.
        write = partial(copy_context().run, self._write_progress)
        self._writer = threading.Thread(target=write, name="progress", daemon=True)

    @property
    def id(self) -> UUID:
        return self.claim.job_id

    @property
    def attempt(self) -> int:
        return self.claim.attempt

    @property
    def scratch(self) -> Path:
        return self._scratch

    @property
    def threads(self) -> int:
        return self._threads

    def __enter__(self) -> Self:
        self._scratch.mkdir(parents=True)
        self._start_writer()
        # After its own thread: a thread that begins later is the job's.
        self._surroundings.attempt_begins()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        if os.getpid() != self._process:
            _end_fork(error)
        self._over.set()
        self._news.set()
        # First, since a process may still write to the scratch folder.
        self._surroundings.attempt_ended()
        remove_folder(self._scratch)

    def _start_writer(self) -> None:
        """Start it with signals blocked: it would take those that the job blocks or waits for."""
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._writer.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def ordered(self) -> Order:
        """The order that ends the attempt, if there is one; once given, it is never withdrawn."""
        told = self._slots.order_for(self._slot, self._number)
        if self._lost:
            told = Order.DROP
        elif self._cancelled:
            told = max(told, Order.CANCEL)
        self._told = max(self._told, told)
        return self._told

    def _only_in_its_process(self) -> None:
        """Refuse calls in a fork, which the ledger's connection and the store do not survive."""
        if os.getpid() != self._process:
            raise RuntimeError(
                "a process that the job has started can't use the job's context, but for check(): "
                "return what it has found to the job's function"
            )

    def check(self) -> None:
        match self.ordered():
            case Order.DROP:
                raise LeaseLost
            case Order.TIMEOUT:
                raise JobTimedOut
            case Order.CANCEL:
                raise JobCancelled

    def _lease_lost(self) -> LeaseLost:
        self._lost = True
        return LeaseLost()

    def progress(self, fraction: float, message: str = "") -> None:
        self._only_in_its_process()
        self.check()
        last = 0.0 if self._latest is None else self._latest[0]
        self._latest = (_share(fraction, last), text_of(message or "", MAX_MESSAGE))
        self._news.set()

    def _write_progress(self) -> None:
        while not self._over.is_set():
            self._news.wait()
            self._news.clear()
            if self._over.is_set() or self._latest is None:
                return
            fraction, message = self._latest
            try:
                self._report(fraction, message)
            except Exception as error:
                # The job goes on; the next report, or the result, will get through.
                log.warning("progress not written", error=str(error).partition("\n")[0])
                self._over.wait(1)
                self._news.set()
                continue
            if self._lost:
                return
            self._over.wait(PROGRESS_INTERVAL)

    def _report(self, fraction: float, message: str) -> None:
        with self._engine.begin() as connection:
            written = ledger.progress(
                connection, self.id, self.attempt, fraction=fraction, message=message
            )
        if written is None:
            self._lost = True
            return
        seq, cancelled = written
        self._cancelled = self._cancelled or cancelled
        self._announcer.event(
            JobEvent(
                job_id=self.id,
                seq=seq,
                state=JobState.RUNNING,
                attempt=self.attempt,
                progress=fraction,
                message=message,
            )
        )

    def input(self, file: FileId) -> Path:
        self._only_in_its_process()
        self.check()
        parameters = {"file_id": file, "owner_id": self.claim.owner_id, "job_id": self.id}
        key = persist(
            self._engine,
            lambda connection: connection.execute(INPUT, parameters).scalar_one_or_none(),
        )
        if key is None:
            # The run holds its inputs: without the hold there is no run any more.
            raise self._lease_lost()
        path = self._scratch / f"input-{file}"
        with path.open("wb") as local:
            for chunk in obstore.get(self._store(), key).stream(min_chunk_size=CHUNK):
                self.check()
                local.write(chunk)
        return path

    def output(self, path: Path, *, name: str, content_type: str) -> FileId:
        self._only_in_its_process()
        self.check()
        name, content_type = _described(name, content_type)
        with path.open("rb") as local:
            sha256 = hashlib.file_digest(local, "sha256").digest()
        # The attempt fences the key; the random part keeps it apart should a restored database
        # count the same attempts again.
        key = f"outputs/{self.id}/{self.attempt}-{uuid4().hex}"
        size = path.stat().st_size
        file = persist(
            self._engine,
            lambda connection: ledger.reserve_output(
                connection,
                self.id,
                self.attempt,
                key=key,
                name=name,
                content_type=content_type,
                size=size,
                sha256=sha256,
                pending_ttl=self._pending_ttl,
            ),
        )
        if file is None:
            raise self._lease_lost()
        obstore.put(self._store(), key, path, chunk_size=CHUNK)
        self.check()
        return FileId(int=file.int)

    @contextmanager
    def effect(self) -> Iterator[None]:
        self._only_in_its_process()
        deadline = time.monotonic() + 2 * ledger.LEASE.total_seconds()
        while True:
            self.check()
            renewed = self._slots.renewed(self._slot, self._number)
            since = self.claimed_at if renewed is None else renewed
            if time.monotonic() - since < ledger.LEASE.total_seconds():
                break
            if time.monotonic() > deadline:
                raise RetryableJobError("lease-stale", "the ledger could not be reached in time")
            time.sleep(0.2)
        yield

    @property
    def claimed_at(self) -> float:
        """When this attempt began, in monotonic seconds."""
        assignment = self._slots.read(self._slot)
        return assignment.started if assignment is not None else 0.0


def _end_fork(error: BaseException | None) -> NoReturn:
    """End a process that the job has forked, at the end of the job's function.

    Only its parent goes on to write the outcome and to take the next job.
    """
    code = 0
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        log.error("a process that the job has forked raised", exc_info=error)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code & 0xFF)
