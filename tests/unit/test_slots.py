"""Slots in shared memory, written by one real process and read by another."""

import errno
import os
import signal
import sys
from uuid import uuid4

import psutil
import pytest

from app.core.telemetry import trace_of
from tests.children import Child
from worker.kill import kill
from worker.processes import alive, descendants, own_memory
from worker.slots import TRACE_AT, Order, Slots


def test_an_assignment_is_read_as_it_was_written() -> None:
    slots = Slots(2)
    job = uuid4()
    number = slots.take(1, job, 3, 60)
    (assignment,) = slots.assignments()
    assert assignment.held == (job, 3)
    assert (assignment.slot, assignment.number, assignment.timeout) == (1, number, 60)
    assert assignment.pid == os.getpid()
    slots.clear(1)
    assert slots.assignments() == []


def test_a_number_is_never_used_twice() -> None:
    slots = Slots(1)
    numbers = [slots.take(0, uuid4(), 1, 1) for _ in range(5)]
    slots.clear(0)
    numbers.append(slots.take(0, uuid4(), 1, 1))
    assert len(set(numbers)) == len(numbers)


def test_an_order_reaches_only_the_assignment_it_was_meant_for() -> None:
    slots = Slots(1)
    number = slots.take(0, uuid4(), 1, 1)
    (assignment,) = slots.assignments()
    slots.order(assignment, Order.CANCEL)
    slots.renew(assignment, 12.5)
    assert slots.order_for(0, number) is Order.CANCEL
    assert slots.renewed(0, number) == 12.5
    later = slots.take(0, uuid4(), 1, 1)
    assert slots.order_for(0, later) is Order.NONE
    assert slots.renewed(0, later) is None


def test_what_is_only_to_be_written_has_no_timeout_and_no_orders() -> None:
    slots = Slots(1)
    job = uuid4()
    slots.take(0, job, 2, 60)
    (working,) = slots.assignments()
    slots.order(working, Order.TIMEOUT)
    slots.finishing(0, job, 2)
    (finishing,) = slots.assignments()
    assert (finishing.held, finishing.timeout) == ((job, 2), float("inf"))
    assert slots.order_for(0, finishing.number) is Order.NONE


def test_a_slot_that_is_being_written_is_not_read() -> None:
    slots = Slots(1)
    slots.take(0, uuid4(), 1, 1)
    slots._memory[0:8] = (slots.read(0).number + 1).to_bytes(8, "little")  # type: ignore[union-attr]
    assert slots.read(0) is None


def test_there_are_as_many_slots_as_were_asked_for() -> None:
    with pytest.raises(IndexError):
        Slots(2).take(2, uuid4(), 1, 1)


def test_a_child_is_killed_for_what_it_does() -> None:
    slots = Slots(1)
    job = uuid4()
    child = Child(slots, [job])
    assignment = child.does(job)
    assert own_memory(child.pid) > 0
    assert kill(slots, assignment)
    assert child.exit_code() == -signal.SIGKILL
    assert not alive(child.pid)
    assert not kill(slots, assignment)
    assert own_memory(child.pid) == 0


def test_a_child_that_has_gone_on_to_another_job_lives() -> None:
    slots = Slots(1)
    first, second = uuid4(), uuid4()
    child = Child(slots, [first, second])
    earlier = child.does(first)
    child.go_on()
    child.does(second)
    assert not kill(slots, earlier)
    assert psutil.Process(child.pid).status() != psutil.STATUS_STOPPED
    child.go_on()
    assert child.exit_code() == 0


def test_a_child_is_killed_even_if_its_descendants_cannot_be_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(pid: int) -> list[psutil.Process]:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("worker.kill.descendants", broken)
    slots = Slots(1)
    job = uuid4()
    child = Child(slots, [job])
    assert kill(slots, child.does(job))
    assert child.exit_code() == -signal.SIGKILL


@pytest.mark.parametrize("call", ["suspend", "status"])
def test_a_child_that_may_not_be_looked_at_is_not_left_stopped(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(process: psutil.Process) -> str:
        raise psutil.AccessDenied(process.pid)

    slots = Slots(1)
    job = uuid4()
    child = Child(slots, [job])
    assignment = child.does(job)
    with monkeypatch.context() as patched:
        patched.setattr(psutil.Process, call, denied)
        assert not kill(slots, assignment)
    assert psutil.Process(child.pid).status() != psutil.STATUS_STOPPED
    child.go_on()
    assert child.exit_code() == 0


def test_a_chain_of_processes_longer_than_the_recursion_limit_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = os.getpid()
    longer = own + sys.getrecursionlimit() + 100
    monkeypatch.setattr(
        "worker.processes.children", lambda pid: [pid + 1] if pid < longer else [own]
    )
    monkeypatch.setattr("worker.processes.psutil.Process", lambda pid: pid)
    assert descendants(own) == list(range(own + 1, longer + 1))


def test_a_new_child_is_known_before_its_first_job() -> None:
    slots = Slots(1)
    assert slots.child(0) == 0
    slots.take(0, uuid4(), 1, 1)
    slots.enter(0)
    assert slots.child(0) == os.getpid()
    assert slots.assignments() == []
    assert slots.lives(0) == (1, 0)
    slots.leave(0, recycled=True)
    assert slots.lives(0) == (1, 1)


def test_what_a_child_left_behind_is_there_once_another_has_its_place() -> None:
    slots = Slots(2)
    job, later = uuid4(), uuid4()
    slots.enter(1)
    assert slots.left_behind() == []
    slots.take(1, job, 4, 60, "00-" + "a" * 52)
    (died,) = slots.assignments()
    slots.enter(1)
    assert slots.assignments() == []
    assert slots.left_behind() == [died]
    # One that leaves in peace leaves nothing, and does not hide it.
    slots.take(1, later, 1, 60)
    slots.clear(1)
    slots.enter(1)
    assert slots.left_behind() == [died]
    slots.take(1, later, 1, 60)
    slots.enter(1)
    assert [left.job_id for left in slots.left_behind()] == [later]
    assert slots.child(0) == 0


@pytest.mark.parametrize("trace", ["é" * 28, "\ud800" * 60, "x" * 1000])
def test_a_trace_that_cannot_be_decoded_hides_no_assignment(trace: str) -> None:
    slots = Slots(2)
    job, other = uuid4(), uuid4()
    slots.take(0, job, 1, 60, trace)
    slots.take(1, other, 1, 60)
    assert [found.job_id for found in slots.assignments()] == [job, other]
    # A foreign byte that was not written by `take`.
    slots._memory[slots._at(0, TRACE_AT)] = 0xFF
    assert [found.job_id for found in slots.assignments()] == [job, other]
    slots.enter(0)
    assert [found.job_id for found in slots.left_behind()] == [job]
    assert all(len(trace_of(found.traceparent)) <= 32 for found in slots.left_behind())
