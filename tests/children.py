"""Children of a worker, without the worker: real processes that hold slots."""

import os
import signal
from uuid import UUID

from tests.processes import until
from worker.slots import Assignment, Slots


class Child:
    """A real process that takes one job after the other, going on when it is told to."""

    def __init__(self, slots: Slots, jobs: list[UUID], *, slot: int = 0) -> None:
        told, self._tell = os.pipe()
        self._slots = slots
        self._slot = slot
        self._dead = False
        self.pid = os.fork()
        if self.pid == 0:
            try:
                for job in jobs:
                    slots.take(slot, job, 1, 60)
                    os.read(told, 1)
                    slots.clear(slot)
            finally:
                os._exit(0)
        os.close(told)

    def does(self, job: UUID) -> Assignment:
        def look() -> Assignment | None:
            assignment = self._slots.read(self._slot)
            return assignment if assignment is not None and assignment.job_id == job else None

        return until(look, seconds=10, what="the child takes the job")

    def go_on(self) -> None:
        os.write(self._tell, b".")

    def exit_code(self) -> int:
        os.close(self._tell)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def die(self) -> None:
        """If it has not yet."""
        if not self._dead:
            self._dead = True
            os.kill(self.pid, signal.SIGKILL)
            self.exit_code()
