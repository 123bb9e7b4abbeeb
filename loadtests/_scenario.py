"""What all scenarios have in common.

**How latency is counted.** Each user has a schedule: a journey begins every `period` seconds,
however long the one before it took. A user whose journey took longer begins the next at once, and
goes on so until it is back on its schedule; no start is ever left out, or moved. An answer's time
counts from when its request *would have been sent* had the user been on schedule: what its journey
began too late is added to each of the journey's requests. So a server that stands still for 2 s
gets 2 s, 1 s, ... into the statistics for every start that fell due meanwhile, as real users would
have felt it, and not one slow request per user (which is "coordinated omission": the load
generator waits politely with the server). The same goes for a generator that is itself too slow:
its report says so, in latencies.

**What is counted.** A request is a success only when it has the very status and content that the
scenario wants. All else is a failure of one kind (`loadtests._failures`), with its time; the
journey ends there. A request that is cut off when the run ends is one as well: those are waited
for (`--stop-timeout`, at least LOADTEST_TIMEOUT).

Names in the statistics are `<scenario> <route template>`. Beside requests there are `JOB`, from a
submit's intended start until the user knows the job to be done, and `QUEUE`, from its acceptance
to its start by the server's own times.
"""

import random
import time
from collections.abc import Callable, Iterator
from functools import wraps
from itertools import cycle
from typing import Any, ClassVar, TypeVar

import gevent
from gevent import GreenletExit
from locust import FastHttpUser, tag, task
from locust.env import Environment
from locust.exception import StopUser
from typing_extensions import override

from loadtests import _hooks
from loadtests._failures import Failure, Unfinished
from loadtests._metrics import Recorder
from loadtests._mix import MIX
from loadtests._schedule import Schedule
from loadtests._seeding import Seeded
from loadtests._session import Account, Session
from loadtests._settings import load_settings

User = TypeVar("User", bound="Scenario")

_hooks.listen()


class Scenario(FastHttpUser):
    abstract = True

    makes_jobs: ClassVar[bool] = False
    for_admins: ClassVar[bool] = False

    period: ClassVar[float]

    recorder: ClassVar[Recorder | None] = None
    """Where metrics are asked for."""

    _seeded: ClassVar[Iterator[Seeded]] = iter(())

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if share := MIX.get(cls.__name__):
            cls.weight, cls.period = share

    @staticmethod
    def share_out(seeded: list[Seeded]) -> None:
        """Users get these accounts, in turn."""
        Scenario._seeded = cycle(seeded)

    def __init__(self, environment: Environment) -> None:
        self.settings = load_settings()
        self.network_timeout = self.connection_timeout = self.settings.timeout
        super().__init__(environment)
        self.api = Session(self.client, scenario=type(self).__name__, late=lambda: self.late)
        self.late = 0.0
        every = self.period / self.settings.rate
        # Users that come together do not all begin together.
        first = time.perf_counter() + random.uniform(0, every)  # noqa: S311
        self._schedule = Schedule(first, every)
        self._asked_to_stop = False

    @override
    def on_start(self) -> None:
        seeded = next(self._seeded, None)
        if seeded is None or (self.for_admins and self.settings.admin_email is None):
            # Why, has been said. Raised here, Locust would tell of it with a traceback.
            self._asked_to_stop = True
            return
        self.seeded = seeded
        if self.recorder is not None:
            self.recorder.follow(type(self).__name__, self._schedule)
        gevent.sleep(self._schedule.wait(time.perf_counter()))

    @override
    def stop(self, force: bool = False) -> bool:
        self._asked_to_stop = True
        self._schedule.end(time.perf_counter())
        stopped: bool = super().stop(force)
        return stopped

    def begin(self) -> None:
        # Locust kills a user that waits, but one whose wait is over by then has sent a request yet.
        if self._asked_to_stop:
            raise StopUser
        self.late = self._schedule.begin(time.perf_counter())

    def ended(self, result: str) -> None:
        if self.recorder is not None:
            self.recorder.ended(type(self).__name__, result)

    @override
    def wait_time(self) -> float:
        return self._schedule.wait(time.perf_counter())

    @property
    def account(self) -> Account:
        return self.seeded.account

    @property
    def bearer(self) -> dict[str, str]:
        """The header of whoever is logged in, as this user."""
        return self.api.bearer(self.account)


def journey(
    *tags: str, weight: int = 1
) -> Callable[[Callable[[User], None]], Callable[[User], None]]:
    """What a user does at each of its starts; the tags are for `--tags`."""

    def decorate(steps: Callable[[User], None]) -> Callable[[User], None]:
        @wraps(steps)
        def run(user: User) -> None:
            user.begin()
            result = "error"
            try:
                steps(user)
                result = "ok"
            except Failure as failure:
                # It has been counted, and what would come next makes no sense.
                result = failure.result
            except GreenletExit:
                result = Unfinished.result
                raise
            finally:
                user.ended(result)

        weighted: Callable[[User], None] = task(weight)(tag(*tags)(run))
        return weighted

    return decorate
