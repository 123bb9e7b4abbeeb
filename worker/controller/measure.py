"""Counts tallies into totals, and reads every few seconds what a scrape then shows."""

from collections.abc import Sequence

import structlog
from sqlalchemy import Engine

from app.core.config import Settings
from app.core.db import takes_writes
from app.core.redis_client import WRITE_PROBE, client
from app.jobs import load_kinds
from app.services import demand, pools, survey, tallies
from worker.controller.ledger_families import KnownKind, Reading
from worker.controller.metrics import LedgerMetrics
from worker.controller.rescue import Contact

log = structlog.get_logger()

# Seconds between turns.
COUNT_INTERVAL = 1.0
MEASURE_INTERVAL = 3.0
SURVEY_INTERVAL = 30.0
REDIS_INTERVAL = 5.0

# Tallies of one transaction: some 30 ms of the database's time.
BATCH = 5_000


def known_kinds(settings: Settings) -> list[KnownKind]:
    """Those that are installed here: they have series before anybody submits one.

    A package that can't be loaded stops the API, which needs it; a controller does without.
    """
    try:
        return [
            KnownKind(
                kind.name,
                kind.pool,
                kind.timeout,
                kind.wait_target or settings.jobs.wait_target,
            )
            for kind in load_kinds().values()
        ]
    except Exception as error:
        log.warning("kinds can't be loaded, their metrics begin with their use", error=str(error))
        return []


class Count:
    """Adds up what the ledger's statements have said."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def turn(self) -> bool:
        """Whether there may be more."""
        with self._engine.begin() as connection:
            return tallies.count(connection, limit=BATCH) == BATCH


class Measure:
    """Reads the ledger. Each statement costs what there are of pools, kinds and workers."""

    def __init__(
        self,
        engine: Engine,
        metrics: LedgerMetrics,
        contact: Contact,
        names: Sequence[str],
        *,
        limit: int,
    ) -> None:
        """`names` are the pools; jobs are counted no further than `limit`."""
        self._engine = engine
        self._metrics = metrics
        self._contact = contact
        self._names = names
        self._limit = limit

    def turn(self) -> None:
        try:
            with self._engine.begin() as connection:
                reading = Reading(
                    writable=takes_writes(connection),
                    totals=tallies.totals(connection),
                    pools=demand.load(connection, self._names, limit=self._limit),
                    shares=pools.shares(connection, self._names, limit=self._limit),
                    versions=pools.versions(connection, self._names),
                    unrunnable=pools.unrunnable(connection, self._names, limit=self._limit),
                )
        except Exception:
            self._contact.broken()
            self._metrics.unreadable()
            raise
        if not reading.writable:
            # New connections may reach a server that takes writes.
            self._engine.dispose()
        self._metrics.show(reading)
        self._contact.heard()


class TakeSurvey:
    """Reads what changes slowly. A lock on a table (`VACUUM FULL`) holds up this loop alone."""

    def __init__(self, engine: Engine, metrics: LedgerMetrics) -> None:
        self._engine = engine
        self._metrics = metrics

    def turn(self) -> None:
        with self._engine.begin() as connection:
            self._metrics.show_survey(survey.survey(connection))


class PingRedis:
    """Measures whether Redis takes writes, for the metric only."""

    def __init__(self, settings: Settings, metrics: LedgerMetrics) -> None:
        self._metrics = metrics
        self._redis = client(settings.redis)

    def turn(self) -> None:
        try:
            self._redis.execute_command(*WRITE_PROBE)  # type: ignore[no-untyped-call]
        except Exception:
            self._metrics.dependency("redis", up=False)
            raise
        self._metrics.dependency("redis", up=True)

    def close(self) -> None:
        self._redis.close()
