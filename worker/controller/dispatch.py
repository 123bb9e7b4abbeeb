"""Dispatch: fills each pool's window, late and fairly, and replaces messages that were lost."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import structlog
from sqlalchemy import Connection, Engine, text

from app.services import ledger
from app.services.ledger import Change, Message, Room
from worker.controller.publisher import Publisher
from worker.controller.shares import shares

log = structlog.get_logger()

# A turn takes no more than this: other pools, and other controllers, get theirs.
TURN = 100

# A message on its way is not yet a lost one (seconds).
UNCLAIMED_AFTER = timedelta(seconds=5)

# Rows that one turn of a loop moves at most.
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


def free_places(room: Room, *, window_per_slot: int, queued: int) -> int:
    """How many messages the window still takes.

    `queued` is what Redis holds, stale messages (of cancelled jobs) included: whatever there is
    of either kind, no more than the window is ever out.
    """
    window = room.slots * window_per_slot
    return max(0, min(window - max(room.dispatched, queued), TURN))


def fill(
    connection: Connection, pool: str, *, window_per_slot: int, queued: int
) -> tuple[list[Message], bool]:
    """Count, pick and mark in the caller's transaction.

    What to publish once it has committed, and whether another turn would find more to do.
    """
    room = ledger.room(connection, pool)
    if room is None:
        return [], False
    free = free_places(room, window_per_slot=window_per_slot, queued=queued)
    if free == 0:
        return [], False
    # Enough owners that those who already hold something do not hide those who hold nothing.
    waiting = ledger.waiting_owners(
        connection, pool, cursor=room.cursor, limit=free + len(room.held)
    )
    if not waiting:
        return [], False
    quotas = shares(free, waiting, room.held)
    messages, parked = ledger.dispatch(connection, pool, quotas, cursor=list(quotas)[-1])
    # Short of the plan: an owner had less than its quota, or somebody else held the rows.
    return messages, parked > 0 or 0 < len(messages) < free or free == TURN


class Dispatch:
    def __init__(
        self, engine: Engine, publisher: Publisher, pools: Sequence[str], *, window_per_slot: int
    ) -> None:
        self._engine = engine
        self._publisher = publisher
        self._pools = pools
        self._window_per_slot = window_per_slot

    def turn(self) -> None:
        for pool in self._pools:
            while self._fill(pool):
                pass

    def _fill(self, pool: str) -> bool:
        with self._engine.begin() as connection:
            builds = ledger.builds(connection, pool)
        queued = self._publisher.length(pool, builds)
        with self._engine.begin() as connection:
            messages, more = fill(
                connection, pool, window_per_slot=self._window_per_slot, queued=queued
            )
        self._publisher.publish(messages)
        return more


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
                unclaimed = ledger.unclaimed(connection, pool, after=UNCLAIMED_AFTER, limit=BATCH)
                builds = ledger.builds(connection, pool)
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
    """Queues what has become due, and what a worker has come for."""

    def __init__(
        self, engine: Engine, announce: Callable[[Change], None], wake: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._announce = announce
        self._wake = wake

    def turn(self) -> None:
        while True:
            with self._engine.begin() as connection:
                due = ledger.promote(connection, limit=BATCH)
            with self._engine.begin() as connection:
                unparked = ledger.unpark(connection, limit=BATCH)
            if due or unparked:
                self._wake()
            for change in due:
                self._announce(change)
            if max(len(due), unparked) < BATCH:
                return
