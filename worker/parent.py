"""The worker's parent: it keeps its children's leases, and ends what must end.

Two threads beside Celery's own. The *watch* looks at the children and at the clock and never
waits for the database; the *scribe* alone talks to it: it beats, and writes what the watch has
ordered for children that can no longer write themselves.
"""

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from app.core.config import Settings
from app.core.db import sync_engine
from app.core.outages import Fault, fault, is_outage, reason
from app.core.telemetry import exporting, trace_of
from app.core.threads import kept
from app.services import ledger
from app.services.ledger import LEASE, Change, Lease, Origin, Retention
from worker import tracing
from worker.announce import Announcer
from worker.executor import timeout_detail
from worker.identity import Identity
from worker.kill import kill
from worker.processes import alive, family_memory
from worker.restarts import Restarts
from worker.slots import Assignment, Order, Slots

log = structlog.get_logger()

# A third of a lease: two beats may be lost.
BEAT = LEASE.total_seconds() / 3

# After a beat that found a row locked (seconds): whoever holds it has ten at most.
BEAT_AGAIN = 1.0

# Between the scribe's tries (seconds): doubled from the first to the last.
RETRY = (0.2, 2.0)

# One locked row holds up the writing of nothing else for longer (seconds).
LOCK_TIMEOUT = 2.0

WATCH = 0.25

# A beat is late that comes so long after it was due (seconds).
LATE = 5.0

# The watch looks four times a second, and the scribe turns at each beat: one that has not for so
# much longer (seconds) never will. A kubelet's three probes, 10 s apart, come on top.
WEDGED = 20.0

# An answer that the ledger owes for longer (seconds): it is away, whatever comes of it.
SLOW = 5.0

# Between a second SIGTERM, or the drain's end, and the kernel's SIGKILL, this much is kept for
# writing what was put back (seconds).
LAST_WRITES = 3.0


class Reason(Enum):
    """Why the parent ends an attempt for its child, and what it writes."""

    CANCELLED = "cancelled"
    TIMED_OUT = "timed out"
    OUT_OF_MEMORY = "out of memory"
    LOST = "lost its lease"
    RELEASED = "put back"
    DIED = "died"

    @property
    def label(self) -> str:
        return self.value.replace(" ", "-")


@dataclass(frozen=True, slots=True)
class Ending:
    assignment: Assignment
    reason: Reason
    at: float
    """In monotonic seconds."""
    detail: str = ""


def _whose(assignment: Assignment) -> dict[str, str | int]:
    """What all lines about a job say."""
    return {
        "job_id": str(assignment.job_id),
        "attempt": assignment.attempt,
        "trace_id": trace_of(assignment.traceparent),
    }


class Parent:
    def __init__(
        self,
        settings: Settings,
        identity: Identity,
        slots: Slots,
        *,
        memory_per_slot: int,
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._slots = slots
        self._memory_per_slot = memory_per_slot
        self._keep = Retention.configured(settings)
        self._engine = sync_engine(settings.database, lock_timeout=LOCK_TIMEOUT)
        self._announcer = Announcer(settings)
        # Written by a signal's handler: plain values, since a handler must take no lock.
        self._drain_signals = 0
        self._drain_deadline = float("inf")
        # Read by the signals' threads: plain values too.
        self.restarts = Restarts(
            slots, [reason.label for reason in Reason if reason is not Reason.DIED]
        )
        self.beats = 0
        self.late_beats = 0
        self._beaten: float | None = None
        self._waiting: str | None = None
        self._looked = time.monotonic()
        self._turned = self._looked
        self._asked: float | None = None
        self._ledger_answers: bool | None = None
        self._next_beat = 0.0
        self._unwatched = threading.Event()
        self._stopped = threading.Event()
        self._wake = threading.Event()
        self._endings: deque[Ending] = deque()
        self._written = threading.Condition()
        # Only for the watch: the assignment last seen in each slot, the number of the last one that
        # was ended for its child, and since when an assignment has an order to stop.
        self._seen: dict[int, Assignment] = {}
        self._ended = [0] * slots.count
        self._ordered: dict[Assignment, float] = {}
        self._watching = threading.Thread(
            target=kept(self._watch, self._unwatched), name="watch", daemon=True
        )
        self._writing = threading.Thread(
            target=kept(self._scribe, self._stopped), name="scribe", daemon=True
        )

    # --- called by the signals' threads

    @property
    def memory_per_slot(self) -> int:
        return self._memory_per_slot

    @property
    def beat_age(self) -> float | None:
        """Seconds since the last heartbeat that the ledger took; None before the first."""
        beaten = self._beaten
        return None if beaten is None else time.monotonic() - beaten

    @property
    def ledger_up(self) -> bool | None:
        """Whether it answered when it was last asked; None before the first answer."""
        asked = self._asked
        if asked is not None and time.monotonic() - asked >= SLOW:
            return False
        return self._ledger_answers

    def wedged(self) -> str | None:
        """Why only a new process can help, if that is so: a dependency that is away is no reason.

        A scribe that waits for the ledger is at work, however long it waits.
        """
        if self._watching.ident is None or self._unwatched.is_set():
            return None
        if not (self._watching.is_alive() and self._writing.is_alive()):
            return "the watch or the scribe has died"
        now = time.monotonic()
        if (silent := now - self._looked) > WEDGED:
            return f"the watch has not looked for {silent:.0f} s"
        if self._asked is None and (silent := now - self._turned) > BEAT + WEDGED:
            return f"the scribe has not turned for {silent:.0f} s"
        return None

    def unready(self) -> str | None:
        """Why it takes no jobs; nothing outside of this process changes it once it has beaten."""
        if self._drain_signals:
            return "draining"
        if self._beaten is None:
            return self._waiting or "not registered with the ledger yet"
        return self.wedged()

    def wait(self, why: str) -> None:
        """It has not started yet, for this reason."""
        self._waiting = why

    # --- called by Celery's thread

    def start(self) -> None:
        self._looked = self._turned = time.monotonic()
        self._watching.start()
        self._writing.start()

    def drain(self) -> None:
        """The first SIGTERM starts the drain's clock; a second one ends it at once."""
        patience = self._settings.worker.drain if self._drain_signals == 0 else 0.0
        self._drain_deadline = min(self._drain_deadline, time.monotonic() + patience)
        self._drain_signals += 1
        # Dispatch learns at once that this worker takes no more.
        self._next_beat = 0.0

    def stop(self) -> None:
        """The children are gone: write what is left to write, within `LAST_WRITES`, and leave."""
        if self._watching.ident is None:
            # Told to stop before Redis was there, it never started.
            return
        deadline = time.monotonic() + LAST_WRITES

        def left() -> float:
            return max(0.1, deadline - time.monotonic())

        # The watch first: what is to be written grows no more while it is waited for.
        self._unwatched.set()
        self._watching.join(left())
        with self._written:
            self._written.wait_for(lambda: not self._endings, left())
        self._stopped.set()
        self._wake.set()
        self._writing.join(left())

    # --- the watch

    def _watch(self) -> None:
        signals = 0
        over = False
        while not over:
            # One more look when it is: at what ended since the last one.
            over = self._unwatched.wait(WATCH)
            if signals != self._drain_signals:
                signals = self._drain_signals
                left = max(0.0, self._drain_deadline - time.monotonic())
                log.info("draining", seconds=round(left, 1))
                self._wake.set()
            self._looked = time.monotonic()
            try:
                self._look()
            except BaseException:
                # One child's trouble (it vanished between two looks, say) is no reason to leave
                # the others unwatched.
                log.exception("watch")

    def _look(self) -> None:
        now = time.monotonic()
        self.restarts.look()
        held = self._slots.assignments()
        current = {a.slot: a for a in held if alive(a.pid)}
        # Even if it was never seen alive: a job may end its child as soon as it has begun.
        known = {*self._seen.values(), *held, *self._slots.left_behind()}
        for assignment in sorted(known, key=lambda a: a.number):
            if assignment.number > self._ended[assignment.slot] and not alive(assignment.pid):
                self._died(assignment)
        self._seen = current
        orders = {a: self._slots.order_for(a.slot, a.number) for a in current.values()}
        self._ordered = {
            a: self._ordered.get(a, now) for a, order in orders.items() if order is not Order.NONE
        }
        for assignment, order in orders.items():
            self._judge(assignment, order, now)

    def _died(self, assignment: Assignment) -> None:
        # Otherwise the child had cleared its slot and ended normally.
        if assignment in (self._slots.read(assignment.slot), *self._slots.left_behind()):
            log.warning("child died", pid=assignment.pid, **_whose(assignment))
        self._end(assignment, Reason.DIED)

    def _judge(self, assignment: Assignment, order: Order, now: float) -> None:
        if now >= self._drain_deadline:
            self._kill(assignment, Reason.RELEASED)
            return
        memory = family_memory(assignment.pid, limit=self._memory_per_slot)
        if memory > self._memory_per_slot:
            detail = f"it took {memory >> 20} MiB and may take {self._memory_per_slot >> 20}"
            self._kill(assignment, Reason.OUT_OF_MEMORY, detail)
            return
        if now - assignment.started > assignment.timeout:
            self._tell(assignment, Order.TIMEOUT)
        if now - self._ordered.get(assignment, now) > self._settings.worker.cancel_grace:
            match order:
                case Order.CANCEL:
                    self._kill(assignment, Reason.CANCELLED)
                case Order.TIMEOUT:
                    self._kill(assignment, Reason.TIMED_OUT, timeout_detail(assignment.timeout))
                case Order.DROP:
                    self._kill(assignment, Reason.LOST)

    def _tell(self, assignment: Assignment, order: Order) -> None:
        """Ask first: the child's next `check` raises, and the watch counts its grace from there."""
        if self._slots.order_for(assignment.slot, assignment.number) < order:
            self._slots.order(assignment, order)

    def _kill(self, assignment: Assignment, reason: Reason, detail: str = "") -> None:
        if kill(self._slots, assignment):
            log.warning(
                "child killed", pid=assignment.pid, reason=reason.value, **_whose(assignment)
            )
            del self._seen[assignment.slot]
            self.restarts.killed(assignment.slot, reason.label)
            self._end(assignment, reason, detail)

    def _end(self, assignment: Assignment, reason: Reason, detail: str = "") -> None:
        self._ended[assignment.slot] = assignment.number
        self._endings.append(Ending(assignment, reason, time.monotonic(), detail))
        self._wake.set()

    # --- the scribe

    def _scribe(self) -> None:
        delay = RETRY[0]
        while not self._stopped.is_set():
            self._turned = time.monotonic()
            try:
                # First: an ending that can't be written costs nobody else a lease.
                if time.monotonic() >= self._next_beat:
                    self._next_beat = time.monotonic() + BEAT
                    self._beat()
                self._write_endings()
                delay = RETRY[0]
            except BaseException as error:
                # Whatever it was: a worker whose parent no longer beats loses every job it takes.
                if is_outage(error):
                    log.warning(
                        "the ledger is unavailable, or a row of it locked", error=reason(error)
                    )
                else:
                    log.exception("scribe")
                self._next_beat = 0.0
                self._stopped.wait(delay)
                delay = min(delay * 2, RETRY[1])
                continue
            self._wake.wait(max(0.0, self._next_beat - time.monotonic()))
            self._wake.clear()
        self._deregister()

    def _beat(self) -> None:
        # What holds a slot but is dead is not among them: its lease may run out.
        working = [a for a in self._slots.assignments() if alive(a.pid)]
        beat = ledger.Beat(
            worker_id=self._identity.id,
            pool=self._identity.pool,
            hostname=socket.gethostname(),
            version=self._identity.version,
            build=self._identity.build,
            kinds=list(self._identity.kinds),
            slots=self._slots.count,
            draining=self._drain_signals > 0,
            held=[assignment.held for assignment in working],
        )
        asked = time.monotonic()
        with self._transaction() as connection:
            held = ledger.heartbeat(connection, beat)
        self._count_beat()
        for assignment in working:
            match held[assignment.held]:
                case Lease.RENEWED:
                    self._slots.renew(assignment, asked)
                case Lease.CANCELLED:
                    self._slots.renew(assignment, asked)
                    self._tell(assignment, Order.CANCEL)
                case Lease.LOST:
                    self._tell(assignment, Order.DROP)
                case Lease.UNKNOWN:
                    # The child keeps what it may well still hold.
                    self._next_beat = min(self._next_beat, time.monotonic() + BEAT_AGAIN)

    def _count_beat(self) -> None:
        now = time.monotonic()
        if self._beaten is not None and now - self._beaten > BEAT + LATE:
            self.late_beats += 1
        self.beats += 1
        self._beaten = now

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        self._asked = time.monotonic()
        try:
            with self._engine.begin() as connection:
                yield connection
            self._ledger_answers = True
        except SQLAlchemyError as error:
            # A ledger that only reports a locked row is working.
            self._ledger_answers = fault(error) is not Fault.UNAVAILABLE
            raise
        finally:
            # The scribe's next step may take its time again.
            self._turned = time.monotonic()
            self._asked = None

    def _write_endings(self) -> None:
        while self._endings:
            ending = self._endings[0]
            try:
                with self._transaction() as connection:
                    change = self._statement(ending)(connection)
                    origin = self._origin(ending, connection)
            except Exception:
                # To the end: what can't be written now holds up none of the others.
                self._endings.rotate(-1)
                raise
            with self._written:
                self._endings.popleft()
                self._written.notify_all()
            if change is not None:
                self._trace(ending, change, origin)
                self._announcer.change(change)
                self._announcer.room(self._identity.pool)

    def _origin(self, ending: Ending, connection: Connection) -> Origin | None:
        if not exporting():
            return None
        job_id = ending.assignment.job_id
        return ledger.origins(connection, [job_id]).get(job_id)

    def _trace(self, ending: Ending, change: Change, origin: Origin | None) -> None:
        """What the child can't say any more; of what is lost, rescue says it."""
        if origin is not None:
            tracing.run_ended_by_parent(
                origin,
                ending.assignment.attempt,
                ending.assignment.traceparent,
                seconds=ending.at - ending.assignment.started,
                how=tracing.outcome(change),
                error=ending.reason.label,
            )

    def _statement(self, ending: Ending) -> Callable[[Connection], Change | None]:
        job_id, attempt = ending.assignment.held

        def forfeit(connection: Connection) -> None:
            ledger.forfeit(connection, job_id, attempt)

        def put_back(connection: Connection) -> Change | None:
            return ledger.release(connection, job_id, attempt, keep=self._keep)

        def fail(connection: Connection) -> Change | None:
            timed_out = ending.reason is Reason.TIMED_OUT
            return ledger.fail(
                connection,
                job_id,
                attempt,
                code="timeout" if timed_out else "out-of-memory",
                detail=ending.detail,
                # More time may help where the machine was busy; memory is what the input takes.
                retryable=timed_out,
                keep=self._keep,
            )

        match ending.reason:
            case Reason.DIED | Reason.LOST:
                return forfeit
            case Reason.CANCELLED | Reason.RELEASED:
                return put_back
            case Reason.TIMED_OUT | Reason.OUT_OF_MEMORY:
                return fail

    def _deregister(self) -> None:
        try:
            with self._transaction() as connection:
                ledger.deregister(connection, self._identity.id)
        except SQLAlchemyError as error:
            log.warning("still registered until the lease ends", error=reason(error))
        self._engine.dispose()
