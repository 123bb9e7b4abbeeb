"""Kills and reaps the processes that a job has left running after its child has ended."""

import os
import sys
import threading
import time
from contextlib import suppress

import psutil
import structlog

from app.core.threads import kept
from worker.processes import GONE, become_subreaper, children, is_tracker
from worker.slots import Slots

log = structlog.get_logger()

# Seconds between two checks.
EVERY = 0.25

# Seconds that a tracker of shared memory has to free it.
PATIENCE = 2.0


class Reaper:
    """Finds orphans in the worker's parent. Each child enters its slot, then leads its own group.

    A process in another group and in no slot is therefore an orphan. It was adopted from a child
    that has ended or, if this is PID 1, from anywhere in the container. A child that has just
    started is still in the parent's group. Celery waits for its children: they, and their zombies,
    are left to it. Children from before this process became a worker are left alone.
    """

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._others = set(children(os.getpid()))
        self._trackers: dict[psutil.Process, float] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=kept(self._run, self._stopped), name="reaper", daemon=True
        )

    def start(self) -> None:
        # Other systems have no subreapers, so no orphan comes here.
        if sys.platform == "linux":
            become_subreaper()
            self._thread.start()

    def close(self) -> None:
        """Kill all remaining orphans; call it once the children have ended."""
        self._stopped.set()
        if self._thread.ident is None:
            return
        self._thread.join(PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while self._look() and time.monotonic() < deadline:
            time.sleep(0.02)

    def _run(self) -> None:
        while not self._stopped.wait(EVERY):
            self._look()

    def _look(self) -> int:
        """Kill or reap the orphans. Returns how many there were."""
        orphans = self._orphans()
        self._trackers = {known: at for known, at in self._trackers.items() if known in orphans}
        for orphan in orphans:
            with suppress(psutil.Error, ChildProcessError):
                if orphan.status() in GONE:
                    os.waitpid(orphan.pid, os.WNOHANG)
                elif not self._is_waited_for(orphan):
                    log.warning("orphan killed", pid=orphan.pid, name=orphan.name())
                    orphan.kill()
        return len(orphans)

    def _is_waited_for(self, orphan: psutil.Process) -> bool:
        if not is_tracker(orphan):
            return False
        now = time.monotonic()
        return now - self._trackers.setdefault(orphan, now) < PATIENCE

    def _orphans(self) -> list[psutil.Process]:
        group = os.getpgrp()
        orphans = []
        # The group is checked first: a child enters its slot before it leaves the group.
        for pid in set(children(os.getpid())) - self._others:
            with suppress(ProcessLookupError, psutil.Error):
                if os.getpgid(pid) != group and not self._is_child(pid):
                    orphans.append(psutil.Process(pid))
        return orphans

    def _is_child(self, pid: int) -> bool:
        return any(self._slots.child(slot) == pid for slot in range(self._slots.count))
