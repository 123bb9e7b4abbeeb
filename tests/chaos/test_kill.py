"""A kill that is asked for while the child changes jobs hits nobody's next job."""

import mmap
import os
import random
import signal
import struct
import time
from uuid import UUID

from worker.kill import kill
from worker.slots import Assignment, Slots

KILLS = 1000


def change_jobs(slots: Slots, record: mmap.mmap, first: int) -> int:
    """A child that takes job after job as fast as it can, and says which one it is in.

    The record stands for all that a job does: it names the job from its first instruction to its
    last, so that after a death it names the victim.
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        job = first
        while True:
            job += 1
            slots.take(0, UUID(int=job), 1, 60)
            struct.pack_into("=Q", record, 0, job)
            # Shorter than a kill takes (microseconds), or longer: with one kind alone, a machine
            # with a core to spare spares all of them.
            for _ in range(random.randrange(random.choice((50, 50_000)))):
                pass
            struct.pack_into("=Q", record, 0, 0)
            slots.clear(0)
    finally:
        os._exit(1)


def test_no_innocent_dies() -> None:
    slots = Slots(1)
    record = mmap.mmap(-1, 8)
    killed = spared = 0
    pid = change_jobs(slots, record, 0)
    last = 0
    try:
        while killed + spared < KILLS:
            assignment: Assignment | None = None
            while assignment is None:
                assignment = slots.read(0)
            # Anywhere between this job's middle and another one's.
            for _ in range(random.randrange(200)):
                pass
            if not kill(slots, assignment):
                spared += 1
                assert os.waitpid(pid, os.WNOHANG) == (0, 0), "an innocent died"
                continue
            killed += 1
            _, status = os.waitpid(pid, 0)
            assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
            (victim,) = struct.unpack_from("=Q", record, 0)
            # 0: it had done its work, and was about to say so.
            assert victim in (0, assignment.job_id.int), "an innocent died"
            last = max(last, assignment.job_id.int)
            # Its successor may die before it says anything.
            struct.pack_into("=Q", record, 0, 0)
            pid = change_jobs(slots, record, last)
            deadline = time.monotonic() + 10
            while (now := slots.read(0)) is None or now.pid != pid:
                assert time.monotonic() < deadline
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    # Both ways round, or the test shows nothing.
    assert killed > KILLS / 50, (killed, spared)
    assert spared > KILLS / 50, (killed, spared)
