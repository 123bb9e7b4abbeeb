"""Kills a child and all processes of its job, but never if the child has begun the next job."""

import time
from contextlib import suppress

import psutil

from worker.processes import GONE, descendants, is_tracker
from worker.slots import Assignment, Slots

# A child in the kernel stops when it leaves it; past this (seconds) the caller tries again later.
STOP_WITHIN = 1.0


def kill(slots: Slots, assignment: Assignment) -> bool:
    """Kill the child if it still does this assignment; False if it does not, or can't be stopped.

    It is stopped first and its slot read again: a stopped child changes nothing, so what is killed
    is what was read. (psutil refuses to signal another process that got the same pid.)
    """
    try:
        child = psutil.Process(assignment.pid)
        child.suspend()
        deadline = time.monotonic() + STOP_WITHIN
        while (status := child.status()) != psutil.STATUS_STOPPED:
            if status in GONE or time.monotonic() > deadline:
                break
            time.sleep(0.0005)
        if status == psutil.STATUS_STOPPED and slots.read(assignment.slot) == assignment:
            family = [child, *descendants(child.pid)]
            for process in family:
                with suppress(psutil.NoSuchProcess):
                    if not is_tracker(process):
                        process.kill()
            return True
        child.resume()
    except psutil.NoSuchProcess:
        pass
    return False
