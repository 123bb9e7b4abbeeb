"""What each child is doing, in memory that it shares with its parent.

A child writes its side after a claim and clears it before its next one; the parent reads it, and
writes its own side: when the lease was last renewed, and what it orders. Each assignment has a
number that is never used twice in a slot, so that whatever the parent means for one job can't
reach the next. The child's number is odd while it writes (a seqlock: Lameter, "Effective
synchronization on Linux/NUMA systems", 2005): a reader that meets one, or two that differ, reads
again.
"""

import mmap
import os
import struct
import time
from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID

SIZE = 192

# A slot has two places: its child's, and one for the last assignment of a child that died.
PLACES = 2

NUMBER = struct.Struct("=Q")
# pid, job, attempt, started (monotonic seconds), timeout (seconds; 0 when idle)
CHILD = struct.Struct("=I16sIdd")
# the number that the order is for, the order
ORDER = struct.Struct("=QQ")
# the number that the renewal is for, monotonic seconds
RENEWED = struct.Struct("=Qd")
# the children that have had this slot, and those of them that were recycled
LIVES = struct.Struct("=QQ")
# the span that sent the job, as a traceparent
TRACE = struct.Struct("=55s")

NUMBER_AT = 0
CHILD_AT = 8
ORDER_AT = 64
RENEWED_AT = 96
LIVES_AT = 112
TRACE_AT = 128

IDLE = UUID(int=0)


class Order(IntEnum):
    """What the parent wants of the child's job; a greater one outranks a lesser."""

    NONE = 0
    CANCEL = 1
    TIMEOUT = 2
    DROP = 3
    """The lease is lost: write nothing more."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A child and its job, as read at one moment. `started` is in monotonic seconds."""

    slot: int
    number: int
    pid: int
    job_id: UUID
    attempt: int
    started: float
    timeout: float
    traceparent: str | None = None

    @property
    def held(self) -> tuple[UUID, int]:
        return self.job_id, self.attempt


class Slots:
    """`count` slots. Make it in the parent, before the children are forked."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._memory = mmap.mmap(-1, count * PLACES * SIZE)

    def _at(self, slot: int, offset: int) -> int:
        if not 0 <= slot < self.count:
            raise IndexError(f"no slot {slot} of {self.count}")
        return slot * PLACES * SIZE + offset

    # --- the child's side

    def _write(
        self, slot: int, job: UUID, attempt: int, timeout: float, trace: str | None = None
    ) -> int:
        number: int = NUMBER.unpack_from(self._memory, self._at(slot, NUMBER_AT))[0]
        writing = number + 1 if number % 2 == 0 else number
        NUMBER.pack_into(self._memory, self._at(slot, NUMBER_AT), writing)
        CHILD.pack_into(
            self._memory,
            self._at(slot, CHILD_AT),
            os.getpid(),
            job.bytes,
            attempt,
            time.monotonic(),
            timeout,
        )
        if trace is not None:
            encoded = trace.encode("ascii", "replace")
            TRACE.pack_into(self._memory, self._at(slot, TRACE_AT), encoded)
        NUMBER.pack_into(self._memory, self._at(slot, NUMBER_AT), writing + 1)
        return writing + 1

    def take(
        self, slot: int, job: UUID, attempt: int, timeout: float, traceparent: str | None = None
    ) -> int:
        """Say what this child does from now on; returns the assignment's number."""
        return self._write(slot, job, attempt, timeout, traceparent or "")

    def finishing(self, slot: int, job: UUID, attempt: int) -> None:
        """Say that the work is done and only its outcome is to be written, however long that takes.

        No timeout applies any more, nor an order that was meant for the work; the lease is renewed
        as before.
        """
        self._write(slot, job, attempt, float("inf"))

    def clear(self, slot: int) -> None:
        """Say that this child does nothing."""
        self._write(slot, IDLE, 0, 0)

    def enter(self, slot: int) -> None:
        """Say that a new child is there and does nothing.

        The last assignment of a child that died is kept for the parent, which may not have seen it:
        a job may end its child before the parent looks.
        """
        if self.read(slot) is not None:
            self._leave_behind(slot)
        self.clear(slot)
        children, recycled = self.lives(slot)
        LIVES.pack_into(self._memory, self._at(slot, LIVES_AT), children + 1, recycled)

    def _leave_behind(self, slot: int) -> None:
        place, left = self._at(slot, 0), self._at(slot, SIZE)
        # Odd while it is written, as in `_write`.
        NUMBER.pack_into(self._memory, left, 1)
        rest = NUMBER.size
        self._memory[left + rest : left + SIZE] = self._memory[place + rest : place + SIZE]
        self._memory[left : left + rest] = self._memory[place : place + rest]

    def leave(self, slot: int, *, recycled: bool) -> None:
        """What a child says last, and whether it leaves because it has done its share."""
        children, before = self.lives(slot)
        LIVES.pack_into(self._memory, self._at(slot, LIVES_AT), children, before + recycled)

    def order_for(self, slot: int, number: int) -> Order:
        meant, order = ORDER.unpack_from(self._memory, self._at(slot, ORDER_AT))
        return Order(order) if meant == number else Order.NONE

    def renewed(self, slot: int, number: int) -> float | None:
        """When the parent last renewed this assignment's lease, in monotonic seconds."""
        meant, moment = RENEWED.unpack_from(self._memory, self._at(slot, RENEWED_AT))
        return moment if meant == number else None

    # --- the parent's side

    def child(self, slot: int) -> int:
        """The pid of the slot's last child; 0 before its first."""
        pid: int = CHILD.unpack_from(self._memory, self._at(slot, CHILD_AT))[0]
        return pid

    def lives(self, slot: int) -> tuple[int, int]:
        """How many children the slot has had, and how many of them were recycled."""
        children, recycled = LIVES.unpack_from(self._memory, self._at(slot, LIVES_AT))
        return children, recycled

    def read(self, slot: int) -> Assignment | None:
        """The slot's child and what it does; None while it does nothing or is changing."""
        return self._read(slot, self._at(slot, 0))

    def left_behind(self) -> list[Assignment]:
        """The last assignment of the child that died in each slot, once another has its place."""
        left = (self._read(slot, self._at(slot, SIZE)) for slot in range(self.count))
        return [found for found in left if found is not None]

    def _read(self, slot: int, place: int) -> Assignment | None:
        before: int = NUMBER.unpack_from(self._memory, place + NUMBER_AT)[0]
        pid, job, attempt, started, timeout = CHILD.unpack_from(self._memory, place + CHILD_AT)
        encoded: bytes = TRACE.unpack_from(self._memory, place + TRACE_AT)[0]
        after: int = NUMBER.unpack_from(self._memory, place + NUMBER_AT)[0]
        if before % 2 or before != after or attempt == 0:
            return None
        # Foreign text: the watch reads all slots, so one that can't be decoded must not raise.
        trace = encoded.rstrip(b"\0").decode("ascii", "replace")
        return Assignment(
            slot, before, pid, UUID(bytes=job), attempt, started, timeout, trace or None
        )

    def assignments(self) -> list[Assignment]:
        return [found for slot in range(self.count) if (found := self.read(slot)) is not None]

    def order(self, assignment: Assignment, order: Order) -> None:
        # The order before the number that gives it meaning; each is one aligned word.
        base = self._at(assignment.slot, ORDER_AT)
        NUMBER.pack_into(self._memory, base, 0)
        NUMBER.pack_into(self._memory, base + 8, order)
        NUMBER.pack_into(self._memory, base, assignment.number)

    def renew(self, assignment: Assignment, moment: float) -> None:
        base = self._at(assignment.slot, RENEWED_AT)
        NUMBER.pack_into(self._memory, base, 0)
        struct.pack_into("=d", self._memory, base + 8, moment)
        NUMBER.pack_into(self._memory, base, assignment.number)
