"""Messages into Redis, and what is in there: the controller's alone, never on an event loop."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar, cast
from uuid import UUID

import redis
import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from app.core.config import Settings
from app.core.redis_client import client, is_wrong_type
from app.core.spaced import Spaced
from app.services.ledger import Message, Origin
from worker.celery import create_celery, queue
from worker.controller.metrics import FOREIGN_DROPPED
from worker.messages import (
    DROP_UNLESS_LIST,
    HEADER,
    TASK,
    Foreign,
    queue_key,
    queue_name,
    read,
)
from worker.tracing import sending

log = structlog.get_logger()

NO_ORIGINS: Mapping[UUID, Origin] = MappingProxyType({})

T = TypeVar("T")

# Seconds between two log lines about messages that could not be sent.
SPACING = 60.0

# Elements of a queue that are read at once.
PAGE = 100


class Publisher:
    """Sends and reads messages for one loop.

    Raises `redis.RedisError` or kombu's `OperationalError` while Redis does not serve it.
    """

    def __init__(self, settings: Settings) -> None:
        self._celery: Celery = create_celery(settings, settings.jobs.pools)
        self._redis = client(settings.redis)
        self._drop_unless_list = self._redis.register_script(DROP_UNLESS_LIST)
        self._foreign = Foreign()
        self._unsent = Spaced(SPACING)

    def publish(
        self, messages: Sequence[Message], origins: Mapping[UUID, Origin] = NO_ORIGINS
    ) -> None:
        """Send all, or stop at the first that fails: redispatch finds what is missing.

        `origins` has those jobs' whose messages are to have spans.
        """
        with self._celery.producer_pool.acquire(block=True) as producer:
            for message in messages:
                try:
                    with sending(message, origins.get(message.job_id)) as context:
                        self._celery.send_task(
                            TASK,
                            args=[str(message.job_id)],
                            task_id=message.task_id,
                            queue=queue(queue_name(message.pool, message.build)),
                            headers={} if context is None else {HEADER: context},
                            producer=producer,
                            retry=False,
                        )
                except (OperationalError, redis.RedisError, OSError) as error:
                    if self._unsent.due():
                        log.warning("redis takes no messages, jobs wait", error=str(error))
                    return

    def lengths(self, pool: str, builds: Sequence[str]) -> dict[str | None, int]:
        """How many messages wait in the pool's queues, by build; None is the one they share."""
        return {
            build: self._of_list(queue_name(pool, build), self._redis.llen, empty=0)
            for build in (None, *builds)
        }

    def queued(self, pool: str, builds: Sequence[str]) -> set[str]:
        """The task ids in the pool's queues, which are short by design."""
        found: set[str] = set()
        for build in (None, *builds):
            found |= self._of_list(queue_name(pool, build), self._task_ids, empty=found)
        return found

    def _task_ids(self, key: str) -> set[str]:
        """The task ids in a queue. Foreign elements have none; workers drop them."""
        found: set[str] = set()
        start = 0
        # Messages enter at the front: new ones push the others back, so that none is missed.
        while elements := cast("list[bytes]", self._redis.lrange(key, start, start + PAGE - 1)):
            found.update(message.task_id for message in map(read, elements) if message is not None)
            start += PAGE
        return found

    def _of_list(self, queue: str, ask: Callable[[str], T], *, empty: T) -> T:
        """Query a queue; a key of another type is deleted, since it would block every pool."""
        key = queue_key(queue)
        try:
            return ask(key)
        except redis.ResponseError as error:
            if not is_wrong_type(error):
                raise
        # Another process may have done it already.
        if self._drop_unless_list(keys=[key]):
            self._foreign(queue, "key")
            FOREIGN_DROPPED.inc()
        return empty

    def close(self) -> None:
        self._redis.close()
        self._celery.close()
