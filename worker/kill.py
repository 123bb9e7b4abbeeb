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
    except psutil.Error:
        return False
    if _stops(child) and slots.read(assignment.slot) == assignment:
        _kill_family(child)
        return True
    with suppress(psutil.Error):
        child.resume()
    return False


def _stops(child: psutil.Process) -> bool:
    deadline = time.monotonic() + STOP_WITHIN
    with suppress(psutil.Error):
        while (status := child.status()) not in GONE and time.monotonic() < deadline:
            if status == psutil.STATUS_STOPPED:
                return True
            time.sleep(0.0005)
    return False


def _kill_family(child: psutil.Process) -> None:
    family = [child]
    # The child must not stay stopped. The reaper kills the descendants that are not found here.
    with suppress(Exception):
        family += descendants(child.pid)
    for process in family:
        with suppress(psutil.Error):
            if not is_tracker(process):
                process.kill()
