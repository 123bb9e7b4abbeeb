"""Dispatch: fills each pool's window, late and fairly, and replaces messages that were lost."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy import Connection, Engine, text

from app.core.telemetry import exporting
from app.services import ledger
from app.services.ledger import Change, Message, Origin
from worker.controller.plan import Window, in_turn, shares
from worker.controller.publisher import Publisher

log = structlog.get_logger()

# A turn takes no more than this: other pools, and other controllers, get theirs.
TURN = 100

# A message on its way is not yet a lost one (seconds).
UNCLAIMED_AFTER = timedelta(seconds=5)

# Rows that one transaction moves at most.
BATCH = 500


def register_pools(engine: Engine, pools: Sequence[str]) -> None:
    """A row for each pool: its lock, and its place in the round robin."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO pools (name) SELECT unnest(CAST(:pools AS text[]))"
                " ON CONFLICT (name) DO NOTHING"
            ),
            {"pools": list(pools)},
        )


def fill(
    connection: Connection,
    pool: str,
    *,
    window_per_slot: int,
    queued: Mapping[str | None, int],
) -> tuple[list[Message], bool]:
    """Count, pick and mark in the caller's transaction.

    `queued` is what Redis holds, by build. Returns what to publish once the transaction has
    committed, and whether another turn would find more to do.
    """
    room = ledger.room(connection, pool)
    if room is None:
        return [], False
    # Redis may hold stale messages (of cancelled jobs), the ledger some that were lost.
    out = {
        build: max(room.unclaimed.get(build, 0), queued.get(build, 0))
        for build in {*room.unclaimed, *queued}
    }
    window = Window(room.builds, per_slot=window_per_slot, out=out)
    if window.free == 0:
        return [], False
    needs = [need for need in ledger.needs(connection, pool) if window.takes(need)]
    if not needs:
        return [], False
    free = min(window.free, TURN)
    # Enough owners that those who already hold something do not hide those who hold nothing.
    owners = ledger.waiting_owners(
        connection, pool, needs, cursor=room.cursor, limit=free + len(room.held)
    )
    quotas = shares(free, owners, room.held)
    picked = ledger.pick(connection, pool, needs, quotas)
    placed = {
        job: window.place(job.need)
        for job in in_turn(picked, list(quotas), room.held)
        if window.takes(job.need)
    }
    served = {job.owner_id for job in placed}
    messages = ledger.dispatch(
        connection,
        pool,
        {job.job_id: build for job, build in placed.items()},
        cursor=next((owner for owner in reversed(quotas) if owner in served), room.cursor),
    )
    # Short of the plan: an owner had less than its quota, or a build no room for all of it.
    return messages, bool(messages) and window.free > 0


class Dispatch:
    def __init__(
        self, engine: Engine, publisher: Publisher, pools: Sequence[str], *, window_per_slot: int
    ) -> None:
        self._engine = engine
        self._publisher = publisher
        self._pools = pools
        self._window_per_slot = window_per_slot

    def turn(self) -> bool:
        """Once for each pool: a large one holds up no other. Whether there is more to do."""
        unfilled = [pool for pool in self._pools if self._fill(pool)]
        return bool(unfilled)

    def _fill(self, pool: str) -> bool:
        with self._engine.begin() as connection:
            builds = [build.name for build in ledger.builds(connection, pool)]
        queued = self._publisher.lengths(pool, builds)
        with self._engine.begin() as connection:
            messages, more = fill(
                connection, pool, window_per_slot=self._window_per_slot, queued=queued
            )
        self._publisher.publish(messages, self._origins(messages))
        return more

    def _origins(self, messages: Sequence[Message]) -> Mapping[UUID, Origin]:
        """Only for spans, and no lock is held for those."""
        if not messages or not exporting():
            return {}
        with self._engine.begin() as connection:
            return ledger.origins(connection, [message.job_id for message in messages])


class Redispatch:
    """Compares rows that nobody claimed with the queues themselves: what is in none was lost.

    So was what waits for a build that has no live worker any more.
    """

    def __init__(
        self,
        engine: Engine,
        publisher: Publisher,
        pools: Sequence[str],
        wake: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._publisher = publisher
        self._pools = pools
        self._wake = wake

    def turn(self) -> None:
        for pool in self._pools:
            with self._engine.begin() as connection:
                unclaimed = ledger.unclaimed(connection, pool, after=UNCLAIMED_AFTER)
                builds = [build.name for build in ledger.builds(connection, pool)]
            if not unclaimed:
                continue
            queued = self._publisher.queued(pool, builds)
            lost = [message for message in unclaimed if message.task_id not in queued]
            if not lost:
                continue
            with self._engine.begin() as connection:
                again = ledger.redispatch(connection, lost)
            log.info("messages lost, to be sent again", pool=pool, count=again)
            self._wake()


class Schedule:
    """Queues what has become due."""

    def __init__(
        self, engine: Engine, announce: Callable[[Change], None], wake: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._announce = announce
        self._wake = wake

    def turn(self) -> bool:
        """Whether there may be more."""
        with self._engine.begin() as connection:
            due = ledger.promote(connection, limit=BATCH)
        if due:
            self._wake()
        for change in due:
            self._announce(change)
        return len(due) == BATCH
