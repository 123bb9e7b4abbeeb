"""Watches PostgreSQL over a connection of its own, and opens and closes the breaker before it.

A server that refuses is known at once. One that says nothing is found out by what waits for it: a
pool whose connections are in use, and of which none comes back, makes this one ask. What is slow
but answers here is not away, and what answers anywhere is not away either.

A server that takes no writes (a standby, a fenced primary) counts as down, but the breaker stays
closed: it can still be read. Each new connection looks for a server that takes writes.
"""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

import asyncpg
import structlog

from app.core.breaker import Breaker
from app.core.config import Database
from app.core.db import TAKES_NO_WRITES, GuardedPool, certificate, connect
from app.core.revisions import read_revisions
from app.core.tasks import Background, Loops, stop
from app.core.validity import show_certificate
from app.services.dependencies import Dependency

log = structlog.get_logger(__name__)

# Seconds between two looks at the pool (measured: 20 a second take 0.4% of a core).
TICK = 0.05

# Seconds in which no connection came back to the pool, until this one asks the server.
STALLED = 0.1

# Seconds without an answer, until only a few requests wait for connections that others hold.
SILENT = 0.2

# Seconds that the server has for an answer (two lost packets: 200 + 400 ms, or a node on which
# many pods start), or for a new connection (a process of its own, TLS, a password to hash), until
# the breaker opens.
ANSWER = 1.0
CONNECT = 1.5

# Seconds without an answer until statements under way are given up with their connections, and
# until this one tries another connection.
HOPELESS = 2.0
GIVE_UP = 4.0

# Seconds between questions that nothing calls for, while the schema is not there, and between
# attempts to connect.
EVERY = 5.0
EVERY_UNREADY = 1.0
RETRY = 0.25

# What a server that is away makes of a connection. Others are its own refusals: of a password, of
# one connection too many. Those that the pool has still work.
AWAY = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.exceptions.OperatorInterventionError,
    asyncpg.exceptions.TargetServerAttributeNotMatched,
)

READ_ONLY = "the server is read-only"

# asyncpg's status of a statement that found no row.
NO_ROW = "SELECT 0"

T = TypeVar("T")


class DatabaseWatch(Background):
    """`reached`: the server, with a schema that this code can work on, once since the start."""

    def __init__(self, database: Database, breaker: Breaker, pool: GuardedPool) -> None:
        super().__init__()
        self.reached = False
        self.dependency = Dependency("postgresql")
        self._database = database
        self._breaker = breaker
        self._pool = pool
        self._revisions = read_revisions()
        self._opened_at = 0.0
        self._read_only = False
        self._answered = False
        """Whether the server has answered on the current connection."""

    def _loops(self) -> Loops:
        return {"watch: postgresql": self._watch}

    async def _watch(self) -> NoReturn:
        while True:
            self._answered = False
            try:
                await self._stay_in_contact()
            except AWAY as error:
                if self._answered:
                    # Perhaps a timeout of idle sessions ended it: a new connection will show.
                    await asyncio.sleep(TICK)
                    continue
                self._is_away(str(error) or type(error).__name__)
            except asyncpg.PostgresError as error:
                self.dependency.is_down(str(error))
            except Exception as error:
                # Whatever it was, a watch that ends would leave the breaker as it is for ever.
                log.exception("watch interrupted")
                self.dependency.is_down(str(error))
            await asyncio.sleep(RETRY)

    async def _stay_in_contact(self) -> None:
        """Watch over one connection until it breaks or its server takes no writes."""
        self._breaker.suspected = self._breaker.silent = False
        connecting = connect(self._database, within=GIVE_UP)
        # A new connection may take longer than any answer: that it takes its time says nothing.
        connection = await self._patiently(connecting, patience=CONNECT, silent=CONNECT)
        show_certificate("postgresql", certificate(connection))
        try:
            while True:
                answer = await self._patiently(connection.execute(TAKES_NO_WRITES), patience=ANSWER)
                self._answered = True
                self._is_back()
                if not self.reached:
                    await self._look_at_schema(connection)
                if answer != NO_ROW:
                    self._is_read_only()
                    return
                self._takes_writes()
                await self._wait(connection)
        finally:
            connection.terminate()

    async def _look_at_schema(self, connection: asyncpg.Connection) -> None:
        try:
            asked = connection.fetchval("SELECT version_num FROM alembic_version")
            current = await self._patiently(asked, patience=ANSWER)
        except asyncpg.UndefinedTableError:
            current = None
        fault = self._revisions.fault(current)
        if fault is not None:
            self.dependency.is_down(fault, shown=fault)
            return
        self.reached = True
        log.info("ready", revision=current)

    async def _wait(self, connection: asyncpg.Connection) -> None:
        """Until it is time to ask again, or something seems wrong."""
        breaker = self._breaker
        asked_at = time.monotonic()
        due = asked_at + (EVERY if self.reached else EVERY_UNREADY)
        busy_since = asked_at
        while (now := time.monotonic()) < due:
            if self._pool.checkedout() == 0:
                busy_since = now
            stalled = now - max(busy_since, breaker.answered_at) > STALLED
            if stalled or breaker.suspected or connection.is_closed():
                breaker.suspected = False
                return
            await asyncio.sleep(TICK)

    async def _patiently(
        self, asking: Coroutine[Any, Any, T], *, patience: float, silent: float = SILENT
    ) -> T:
        """Its answer, however late.

        Without one, the breaker is silent after `silent` seconds, and opens after `patience`.
        Patience is counted in turns of the event loop: what comes late because this process was
        busy has come. Raises `TimeoutError` after `GIVE_UP`.
        """
        task = asyncio.create_task(asking)
        answered_at = self._breaker.answered_at
        began = time.monotonic()
        waited = 0.0
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=TICK / 2)
                waited += TICK / 2
                if self._breaker.answered_at > answered_at:
                    # Something else was answered: this is late, and no more.
                    answered_at = self._breaker.answered_at
                    waited = 0.0
                    self._is_back()
                elif waited > patience and not task.done():
                    self._is_away("no answer")
                elif waited > silent and not task.done():
                    self._breaker.silent = True
                if waited > GIVE_UP and time.monotonic() - began > GIVE_UP and not task.done():
                    raise TimeoutError(f"no answer within {GIVE_UP:g} s")
            return task.result()
        finally:
            await stop(task)

    def _is_away(self, why: str) -> None:
        now = time.monotonic()
        if not self._breaker.open:
            self._breaker.open = True
            self._opened_at = now
        elif now - self._opened_at > HOPELESS:
            self._breaker.end_statements()
        self.dependency.is_down(why)

    def _is_back(self) -> None:
        breaker = self._breaker
        breaker.silent = False
        if breaker.open:
            if time.monotonic() - self._opened_at > HOPELESS:
                breaker.epoch += 1
            breaker.open = False

    def _is_read_only(self) -> None:
        self._read_only = True
        self.dependency.is_down(READ_ONLY, shown=READ_ONLY)

    def _takes_writes(self) -> None:
        if self._read_only:
            # The pool's connections may still lead to a server that takes no writes.
            self._breaker.epoch += 1
            self._read_only = False
        if self.reached:
            self.dependency.is_up()
