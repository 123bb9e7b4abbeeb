"""Kills a child for the job that it does, and never for the one that it does next."""

import time

import psutil

from worker.slots import Assignment, Slots

# A child in the kernel stops when it leaves it; past this (seconds) the caller tries again later.
STOP_WITHIN = 1.0

GONE = frozenset({psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD})


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() not in GONE
    except psutil.NoSuchProcess:
        return False


def own_memory(pid: int) -> int:
    """Resident bytes that are the process's own, less what files back and others may share."""
    try:
        memory = psutil.Process(pid).memory_info()
    except psutil.NoSuchProcess:
        return 0
    resident: int = memory.rss
    return resident - getattr(memory, "shared", 0)


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
            child.kill()
            return True
        child.resume()
    except psutil.NoSuchProcess:
        pass
    return False
