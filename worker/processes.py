"""Finds the descendants of a child: processes that its job has started, directly or not.

A child adopts its descendants when their own parents end, even after `setsid` or a double fork. The
worker's parent adopts those of a child that has ended. Both are subreapers (prctl(2)), which only
Linux has; elsewhere such a process escapes.
"""

import ctypes
import sys
from contextlib import suppress
from pathlib import Path

import psutil

PR_SET_CHILD_SUBREAPER = 36

GONE = frozenset({psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD})

# Errors of reading a process that has ended or belongs to another user.
UNREADABLE = (FileNotFoundError, NotADirectoryError, PermissionError, ProcessLookupError)

# The process that `multiprocessing` starts to free shared memory, which outlives processes, once
# all users of it have ended. It then ends by itself.
TRACKER = "multiprocessing.resource_tracker"


def become_subreaper() -> None:
    """Adopt the descendants of this process whose parents end."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() not in GONE
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        # It may not be looked at.
        return True


def is_tracker(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return any(TRACKER in argument for argument in process.cmdline())
    return False


def children(pid: int) -> list[int]:
    """The process's direct children, zombies too; empty for a process that has ended."""
    found: list[int] = []
    try:
        # Unlike psutil, this does not read the files of every process of the machine.
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(*UNREADABLE):
                found += map(int, (task / "children").read_text().split())
    except UNREADABLE:
        # The process or one of its threads has ended, or the kernel has no such files.
        with suppress(psutil.Error):
            return [child.pid for child in psutil.Process(pid).children()]
    return found


def descendants(pid: int) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    # Without recursion: a chain of processes may be longer than Python's recursion limit.
    looked_at = {pid}
    waiting = children(pid)
    while waiting:
        child = waiting.pop()
        if child in looked_at:
            continue
        looked_at.add(child)
        with suppress(psutil.Error):
            found.append(psutil.Process(child))
        waiting += children(child)
    return found


def own_memory(pid: int) -> int:
    """Resident bytes of the process, without file-backed and other shared pages."""
    try:
        memory = psutil.Process(pid).memory_info()
    except psutil.Error:
        return 0
    resident: int = memory.rss
    return resident - getattr(memory, "shared", 0)


def _proportional_memory(pid: int) -> int:
    """As `own_memory`, with each page divided by the number of processes that share it."""
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss_Anon:"):
                return int(line.split()[1]) << 10
    return own_memory(pid)


def family_memory(pid: int, *, limit: int) -> int:
    """Own memory of a process and its descendants, in bytes; exact where it exceeds the limit.

    Pages that forked processes share are counted once for each of them at first: to find these
    pages, the kernel walks through all of them.
    """
    family = [pid, *(process.pid for process in descendants(pid))]
    memory = sum(map(own_memory, family))
    if len(family) == 1 or memory <= limit:
        return memory
    return sum(map(_proportional_memory, family))
