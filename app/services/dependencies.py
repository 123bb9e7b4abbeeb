"""What this process depends on, as it last found it."""

import asyncio
import os
from datetime import UTC, datetime
from typing import NoReturn
from uuid import uuid4

import obstore
import structlog
from obstore.exceptions import PermissionDeniedError
from obstore.store import LocalStore, ObjectStore

from app.core.masking import loggable
from app.core.storage import PREFIXES, STORE_ERRORS
from app.core.tasks import Background, Loops
from app.schemas.health import Dependencies, DependencyHealth
from app.services.dispatch_hint import DispatchHint

log = structlog.get_logger(__name__)

# Seconds between two looks at what Redis's own task found, and between two requests to the store,
# which may cost money; and how long such a request may take.
LOOK = 1.0
STORE_EVERY = 15
STORE_TIMEOUT = 5.0

# Of one line: a store's errors go on with a dump of what it answered.
MAX_DETAIL = 200

# Probes are public: messages of a server or the file system go to the log only.
SEE_LOG = "it can't be used; the log of this process says why"


class Dependency:
    def __init__(self, name: str) -> None:
        self.name = name
        self.health = DependencyHealth(state="unknown", since=datetime.now(UTC), detail=None)

    @property
    def up(self) -> bool:
        return self.health.state == "up"

    def is_up(self) -> None:
        if not self.up:
            was = self.health
            self.health = DependencyHealth(state="up", since=datetime.now(UTC), detail=None)
            if was.state == "down":
                seconds = round((self.health.since - was.since).total_seconds(), 1)
                log.info("dependency is back", dependency=self.name, away_seconds=seconds)

    def is_down(self, why: str, *, shown: str = SEE_LOG) -> None:
        """Log `why`, and show `shown`, which quotes no server, to everybody."""
        why = loggable(why.partition("\n")[0])[:MAX_DETAIL]
        since = self.health.since
        if self.health.state != "down":
            since = datetime.now(UTC)
        # Not again when only the server's message has changed.
        if (self.health.state, self.health.detail) != ("down", shown):
            log.warning("dependency is away", dependency=self.name, error=why)
        self.health = DependencyHealth(state="down", since=since, detail=shown)


class DependencyWatch(Background):
    """Looks at Redis and at the store; `DatabaseWatch` looks at PostgreSQL."""

    def __init__(self, postgresql: Dependency, hint: DispatchHint, store: ObjectStore) -> None:
        super().__init__()
        self.postgresql = postgresql
        self.redis = Dependency("redis")
        self.storage = Dependency("storage")
        self._hint = hint
        self._store = store

    @property
    def all(self) -> tuple[Dependency, ...]:
        return self.postgresql, self.redis, self.storage

    def health(self) -> Dependencies:
        return Dependencies.model_validate({one.name: one.health for one in self.all})

    def _loops(self) -> Loops:
        return {"watch: redis": self._watch_redis, "watch: storage": self._watch_storage}

    async def _watch_redis(self) -> NoReturn:
        """It has a connection already, which is used every few seconds."""
        while True:
            if self._hint.fault is not None:
                self.redis.is_down(self._hint.fault)
            elif self._hint.told:
                self.redis.is_up()
            await asyncio.sleep(LOOK)

    async def _watch_storage(self) -> NoReturn:
        while True:
            try:
                async with asyncio.timeout(STORE_TIMEOUT):
                    await _ask(self._store)
            except STORE_ERRORS as error:
                self.storage.is_down(str(error) or type(error).__name__)
            else:
                self.storage.is_up()
            await asyncio.sleep(STORE_EVERY)


async def _ask(store: ObjectStore) -> None:
    """Raises one of `STORE_ERRORS`."""
    if isinstance(store, LocalStore) and store.prefix is not None:
        if not await asyncio.to_thread(os.access, store.prefix, os.W_OK):
            raise PermissionError(f"can't write in {store.prefix}")
        return
    try:
        await obstore.head_async(store, f"{PREFIXES[0]}/{uuid4()}")
    except (FileNotFoundError, PermissionDeniedError):
        # It answers. (Whoever may not list is not told what is missing: a 403 for a 404.)
        return
